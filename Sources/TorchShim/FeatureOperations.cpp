// Feature networks and the statistics of their features.
#include <ATen/Context.h>
#include <c10/core/GradMode.h>

#include "Operations.h"

using namespace shim;

namespace {

/// Runs on the tensor's device, and on the CPU where that has no solver (libtorch looks for its GPU solvers in a library
/// of its own, which may be missing).
template <typename Body>
auto solved(const at::Tensor &x, Body body) {
  if (!x.is_cuda()) return body(x);
  try {
    return body(x);
  } catch (const c10::Error &) {
    return body(x.cpu());
  }
}

/// Convolution, bias and ReLU in one kernel of cuDNN; one after the other where it has none for these sizes.
at::Tensor convolved_relu(
    const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias, at::IntArrayRef stride,
    at::IntArrayRef padding) {
  const int64_t dilation[] = {1, 1};
  try {
    return at::cudnn_convolution_relu(x, weight, bias, stride, padding, ints(dilation, 2), 1);
  } catch (const c10::Error &) {
    return at::conv2d(x, weight, bias, stride, padding).relu_();
  }
}

}  // namespace

namespace ops {

OP(conv2d_act,
   (ct_tensor x, ct_tensor weight, ct_tensor bias, const int64_t *stride, const int64_t *padding, int64_t groups,
    bool relu, ct_tensor *out),
   const auto input = view(x); const auto kernel = view(weight);
   const bool fused = relu && bias && input.is_cuda() && groups == 1 && !c10::GradMode::is_enabled();
   if (fused) {
     *out = give(convolved_relu(input, kernel, view(bias), ints(stride, 2), ints(padding, 2)));
   } else {
     auto y = at::conv2d(input, kernel, optional(bias), ints(stride, 2), ints(padding, 2), 1, groups);
     *out = give(!relu ? y : c10::GradMode::is_enabled() ? at::relu(y) : at::relu_(y));
   })
OP(batch_norm,
   (ct_tensor x, ct_tensor weight, ct_tensor bias, ct_tensor mean, ct_tensor variance, double epsilon, ct_tensor *out),
   *out = give(at::batch_norm(view(x), view(weight), view(bias), view(mean), view(variance), false, 0, epsilon, false)))
OP(relu, (ct_tensor x, ct_tensor *out), *out = give(at::relu(view(x))))
OP(max_pool2d, (ct_tensor x, int64_t kernel, int64_t stride, int64_t padding, ct_tensor *out),
   *out = give(at::max_pool2d(view(x), kernel, stride, padding)))
OP(avg_pool2d,
   (ct_tensor x, int64_t kernel, int64_t stride, int64_t padding, bool count_padding, ct_tensor *out),
   *out = give(at::avg_pool2d(view(x), kernel, stride, padding, false, count_padding)))
OP(resize_bilinear, (ct_tensor x, int64_t height, int64_t width, bool antialias, ct_tensor *out),
   const int64_t size[] = {height, width};
   *out = give(antialias ? at::_upsample_bilinear2d_aa(view(x), ints(size, 2), false)
                         : at::upsample_bilinear2d(view(x), ints(size, 2), false)))
OP(log_softmax, (ct_tensor x, int64_t axis, ct_tensor *out), *out = give(at::log_softmax(view(x), axis)))
OP(smallest, (ct_tensor x, int64_t count, int64_t axis, ct_tensor *values, ct_tensor *indices),
   auto [v, i] = at::topk(view(x), count, axis, false); *values = give(v); *indices = give(i))
OP(sqrt, (ct_tensor x, ct_tensor *out), *out = give(at::sqrt(view(x))))
OP(diagonal, (ct_tensor x, ct_tensor *out), *out = give(at::diagonal(view(x), 0, -2, -1)))
OP(eigh, (ct_tensor x, ct_tensor *values, ct_tensor *vectors), const auto matrix = view(x);
   auto [v, w] = solved(matrix, [](const at::Tensor &m) { return at::linalg_eigh(m); });
   *values = give(v.to(matrix.device())); *vectors = give(w.to(matrix.device())))
OP(eigvalsh, (ct_tensor x, ct_tensor *out), const auto matrix = view(x);
   *out = give(solved(matrix, [](const at::Tensor &m) { return at::linalg_eigvalsh(m); }).to(matrix.device())))
OP(upload, (ct_tensor x, ct_device where, ct_tensor *out),
   *out = give(where.index < 0 ? view(x) : view(x).pin_memory().to(place(where), view(x).scalar_type(), true)))
OP(exchange_tf32, (bool convolutions, bool products, bool *old_convolutions, bool *old_products),
   auto &context = at::globalContext(); *old_convolutions = context.allowTF32CuDNN(at::Float32Op::CONV);
   *old_products = context.allowTF32CuBLAS(); context.setAllowTF32CuDNN(convolutions);
   context.setAllowTF32CuBLAS(products))

}  // namespace ops
