// Tensor operations: each an entry of the table in CTorchOperations.inc, in the same order.
#include "Operations.h"

#include <ATen/core/dispatch/Dispatcher.h>

using namespace shim;
using std::nullopt;

namespace ops {

// Creation and inspection
OP(empty, (const int64_t *shape, size_t rank, ct_dtype dtype, ct_device where, ct_tensor *out),
   *out = give(at::empty(ints(shape, rank), options(dtype, where))))
OP(full, (const int64_t *shape, size_t rank, double value, ct_dtype dtype, ct_device where, ct_tensor *out),
   *out = give(at::full(ints(shape, rank), value, options(dtype, where))))
OP(arange, (double start, double end, double step, ct_dtype dtype, ct_device where, ct_tensor *out),
   *out = give(at::arange(start, end, step, options(dtype, where))))
OP(from_memory,
   (void *data, const int64_t *shape, const int64_t *strides, size_t rank, ct_dtype dtype, ct_release release,
    void *context, ct_tensor *out),
   auto builder = at::for_blob(data, ints(shape, rank));
   builder.options(at::TensorOptions().dtype(type(dtype)));
   if (strides) builder.strides(ints(strides, rank));
   if (release) builder.context(context, release);
   *out = give(builder.make_tensor()))
OP(randn, (const int64_t *shape, size_t rank, uint64_t seed, ct_tensor *out),
   auto generator = at::detail::createCPUGenerator(seed);
   *out = give(at::randn(ints(shape, rank), generator, at::kFloat)))
OP(shape, (ct_tensor x, int64_t *shape, size_t capacity, size_t *rank),
   auto sizes = reinterpret_cast<at::TensorImpl *>(x)->sizes();
   *rank = sizes.size();
   for (size_t i = 0; i < sizes.size() && i < capacity; i++) shape[i] = sizes[i])
OP(strides, (ct_tensor x, int64_t *strides, size_t capacity),
   auto values = reinterpret_cast<at::TensorImpl *>(x)->strides();
   for (size_t i = 0; i < values.size() && i < capacity; i++) strides[i] = values[i])
OP(dtype, (ct_tensor x, ct_dtype *out), *out = static_cast<ct_dtype>(view(x).scalar_type()))
OP(device, (ct_tensor x, ct_device *out), auto where = view(x).device();
   out->index = where.is_cuda() ? where.index() : -1)
OP(layout, (ct_tensor x, ct_layout *out), auto tensor = view(x); out->contiguous = tensor.is_contiguous();
   out->channels_last = tensor.dim() == 4 && tensor.is_contiguous(at::MemoryFormat::ChannelsLast))
OP(read, (ct_tensor x, void *destination, size_t byte_count), auto tensor = view(x).cpu().contiguous();
   TORCH_CHECK(tensor.nbytes() == byte_count, "the tensor has ", tensor.nbytes(), " bytes, not ", byte_count);
   std::memcpy(destination, tensor.const_data_ptr(), byte_count))
OP(data, (ct_tensor x, void **out), *out = view(x).data_ptr())
OP(item, (ct_tensor x, double *out), *out = view(x).item().toDouble())

// Conversion and layout
OP(to, (ct_tensor x, ct_dtype dtype, ct_device where, bool copy, ct_tensor *out),
   *out = give(view(x).to(place(where), type(dtype), false, copy)))
OP(contiguous, (ct_tensor x, bool channels_last, ct_tensor *out),
   *out = give(view(x).contiguous(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous)))
OP(clone, (ct_tensor x, ct_tensor *out), *out = give(view(x).clone()))
OP(copy_into, (ct_tensor destination, ct_tensor source, bool non_blocking),
   view(destination).copy_(view(source), non_blocking))
OP(fill, (ct_tensor x, double value), view(x).fill_(value))
OP(view_as_dtype, (ct_tensor x, ct_dtype dtype, ct_tensor *out), *out = give(view(x).view(type(dtype))))

// Shape
OP(reshape, (ct_tensor x, const int64_t *shape, size_t rank, ct_tensor *out),
   *out = give(view(x).reshape(ints(shape, rank))))
OP(permute, (ct_tensor x, const int64_t *axes, size_t rank, ct_tensor *out),
   *out = give(view(x).permute(ints(axes, rank))))
OP(transpose, (ct_tensor x, int64_t a, int64_t b, ct_tensor *out), *out = give(view(x).transpose(a, b)))
OP(expand, (ct_tensor x, const int64_t *shape, size_t rank, ct_tensor *out),
   *out = give(view(x).expand(ints(shape, rank))))
OP(unsqueeze, (ct_tensor x, int64_t axis, ct_tensor *out), *out = give(view(x).unsqueeze(axis)))
OP(squeeze, (ct_tensor x, int64_t axis, ct_tensor *out), *out = give(view(x).squeeze(axis)))
OP(select, (ct_tensor x, int64_t axis, int64_t index, ct_tensor *out), *out = give(view(x).select(axis, index)))
OP(narrow, (ct_tensor x, int64_t axis, int64_t start, int64_t count, ct_tensor *out),
   *out = give(view(x).narrow(axis, start, count)))
OP(repeat, (ct_tensor x, const int64_t *counts, size_t rank, ct_tensor *out),
   *out = give(view(x).repeat(ints(counts, rank))))

OP(cat, (const ct_tensor *xs, size_t count, int64_t axis, ct_tensor *out), *out = give(at::cat(list(xs, count), axis)))
OP(stack, (const ct_tensor *xs, size_t count, int64_t axis, ct_tensor *out),
   *out = give(at::stack(list(xs, count), axis)))
OP(pad, (ct_tensor x, const int64_t *amounts, size_t count, double value, ct_tensor *out),
   *out = give(at::constant_pad_nd(view(x), ints(amounts, count), value)))
OP(triu, (ct_tensor x, int64_t diagonal, ct_tensor *out), *out = give(at::triu(view(x), diagonal)))
OP(tril, (ct_tensor x, int64_t diagonal, ct_tensor *out), *out = give(at::tril(view(x), diagonal)))

// Arithmetic
// libtorch refuses a fractional factor of whole numbers, even if it is 1.0.
OP(add, (ct_tensor a, ct_tensor b, double alpha, ct_tensor *out),
   const bool is_whole = alpha == static_cast<double>(static_cast<int64_t>(alpha));
   *out = give(at::add(view(a), view(b), is_whole ? at::Scalar(static_cast<int64_t>(alpha)) : at::Scalar(alpha))))
OP(mul, (ct_tensor a, ct_tensor b, ct_tensor *out), *out = give(at::mul(view(a), view(b))))
OP(div, (ct_tensor a, ct_tensor b, ct_tensor *out), *out = give(at::div(view(a), view(b))))
OP(add_scalar, (ct_tensor a, double b, ct_tensor *out), *out = give(at::add(view(a), b)))
OP(mul_scalar, (ct_tensor a, double b, ct_tensor *out), *out = give(at::mul(view(a), b)))
OP(pow_scalar, (ct_tensor a, double b, ct_tensor *out), *out = give(at::pow(view(a), b)))
OP(addcmul, (ct_tensor x, ct_tensor a, ct_tensor b, double value, ct_tensor *out),
   *out = give(at::addcmul(view(x), view(a), view(b), value)))
OP(add_in_place, (ct_tensor x, ct_tensor b, double alpha), view(x).add_(view(b), alpha))
OP(mul_in_place, (ct_tensor x, ct_tensor b), view(x).mul_(view(b)))
OP(add_scalar_in_place, (ct_tensor x, double b), view(x).add_(b))
OP(mul_scalar_in_place, (ct_tensor x, double b), view(x).mul_(b))
OP(addcmul_in_place, (ct_tensor x, ct_tensor a, ct_tensor b, double value), view(x).addcmul_(view(a), view(b), value))
OP(silu_in_place, (ct_tensor x), auto tensor = view(x); at::silu_(tensor))
OP(clamp_in_place, (ct_tensor x, double low, double high), view(x).clamp_(low, high))
OP(neg, (ct_tensor x, ct_tensor *out), *out = give(at::neg(view(x))))
OP(abs, (ct_tensor x, ct_tensor *out), *out = give(at::abs(view(x))))
OP(exp, (ct_tensor x, ct_tensor *out), *out = give(at::exp(view(x))))
OP(log, (ct_tensor x, ct_tensor *out), *out = give(at::log(view(x))))
OP(rsqrt, (ct_tensor x, ct_tensor *out), *out = give(at::rsqrt(view(x))))
OP(sigmoid, (ct_tensor x, ct_tensor *out), *out = give(at::sigmoid(view(x))))
OP(silu, (ct_tensor x, ct_tensor *out), *out = give(at::silu(view(x))))
OP(gelu_tanh, (ct_tensor x, ct_tensor *out), *out = give(at::gelu(view(x), "tanh")))
OP(softplus, (ct_tensor x, ct_tensor *out), *out = give(at::softplus(view(x))))
OP(clamp, (ct_tensor x, double low, double high, ct_tensor *out), *out = give(at::clamp(view(x), low, high)))

// Comparison and selection
template <typename Right>
static at::Tensor compared(const at::Tensor &a, const Right &b, int32_t relation) {
  switch (relation) {
    case 0: return at::lt(a, b);
    case 1: return at::le(a, b);
    case 2: return at::eq(a, b);
    case 3: return at::ge(a, b);
    case 4: return at::gt(a, b);
    default: return at::ne(a, b);
  }
}

OP(compare, (ct_tensor a, ct_tensor b, int32_t relation, ct_tensor *out),
   *out = give(compared(view(a), view(b), relation)))
OP(compare_scalar, (ct_tensor a, double b, int32_t relation, ct_tensor *out),
   *out = give(compared(view(a), at::Scalar(b), relation)))
OP(where, (ct_tensor condition, ct_tensor a, ct_tensor b, ct_tensor *out),
   *out = give(at::where(view(condition), view(a), view(b))))
OP(masked_fill, (ct_tensor x, ct_tensor mask, double value, ct_tensor *out),
   *out = give(at::masked_fill(view(x), view(mask), value)))
OP(gather, (ct_tensor x, int64_t axis, ct_tensor index, ct_tensor *out),
   *out = give(at::gather(view(x), axis, view(index))))
OP(scatter, (ct_tensor x, int64_t axis, ct_tensor index, ct_tensor source, ct_tensor *out),
   *out = give(at::scatter(view(x), axis, view(index), view(source))))
OP(index_select, (ct_tensor x, int64_t axis, ct_tensor index, ct_tensor *out),
   *out = give(at::index_select(view(x), axis, view(index))))
OP(embedding, (ct_tensor weight, ct_tensor index, ct_tensor *out),
   *out = give(at::embedding(view(weight), view(index))))
OP(topk, (ct_tensor x, int64_t count, int64_t axis, ct_tensor *values, ct_tensor *indices),
   auto [v, i] = at::topk(view(x), count, axis); *values = give(v); *indices = give(i))
OP(searchsorted, (ct_tensor x, ct_tensor values, ct_tensor *out),
   *out = give(at::searchsorted(view(x), view(values), false, true)))
OP(sort, (ct_tensor x, int64_t axis, bool descending, ct_tensor *values, ct_tensor *indices),
   auto [v, i] = at::sort(view(x), axis, descending); *values = give(v); *indices = give(i))

// Reduction
OP(sum, (ct_tensor x, const int64_t *axes, size_t count, bool keep, ct_tensor *out),
   *out = give(at::sum(view(x), ints(axes, count), keep)))
OP(mean, (ct_tensor x, const int64_t *axes, size_t count, bool keep, ct_tensor *out),
   *out = give(at::mean(view(x), ints(axes, count), keep)))
OP(amax, (ct_tensor x, const int64_t *axes, size_t count, bool keep, ct_tensor *out),
   *out = give(at::amax(view(x), ints(axes, count), keep)))
OP(amin, (ct_tensor x, const int64_t *axes, size_t count, bool keep, ct_tensor *out),
   *out = give(at::amin(view(x), ints(axes, count), keep)))
OP(argmax, (ct_tensor x, int64_t axis, bool keep, ct_tensor *out), *out = give(at::argmax(view(x), axis, keep)))
OP(argmin, (ct_tensor x, int64_t axis, bool keep, ct_tensor *out), *out = give(at::argmin(view(x), axis, keep)))
OP(cumsum, (ct_tensor x, int64_t axis, ct_tensor *out), *out = give(at::cumsum(view(x), axis)))
OP(equal, (ct_tensor a, ct_tensor b, bool *out), *out = at::equal(view(a), view(b)))

// Networks
OP(matmul, (ct_tensor a, ct_tensor b, ct_tensor *out), *out = give(at::matmul(view(a), view(b))))
OP(baddbmm, (ct_tensor x, ct_tensor a, ct_tensor b, double beta, double alpha, ct_tensor *out),
   *out = give(at::baddbmm(view(x), view(a), view(b), beta, alpha)))
OP(addmm, (ct_tensor x, ct_tensor a, ct_tensor b, double beta, double alpha, ct_tensor *out),
   *out = give(at::addmm(view(x), view(a), view(b), beta, alpha)))
OP(linear_gelu, (ct_tensor x, ct_tensor weight, ct_tensor bias, ct_tensor *out),
   const auto rows = view(x).flatten(0, -2); auto shape = view(x).sizes().vec(); shape.back() = view(weight).size(0);
   *out = give(at::_addmm_activation(view(bias), rows, view(weight).t(), 1, 1, true).view(shape)))
OP(linear, (ct_tensor x, ct_tensor weight, ct_tensor bias, ct_tensor *out),
   *out = give(at::linear(view(x), view(weight), optional(bias))))
OP(conv2d, (ct_tensor x, ct_tensor weight, ct_tensor bias, int64_t stride, int64_t padding, ct_tensor *out),
   *out = give(at::conv2d(view(x), view(weight), optional(bias), stride, padding)))
OP(conv1d, (ct_tensor x, ct_tensor weight, ct_tensor bias, int64_t padding, int64_t groups, ct_tensor *out),
   *out = give(at::conv1d(view(x), view(weight), optional(bias), 1, padding, 1, groups)))
OP(layer_norm, (ct_tensor x, ct_tensor weight, ct_tensor bias, int64_t width, double epsilon, ct_tensor *out),
   *out = give(at::layer_norm(view(x), {width}, optional(weight), optional(bias), epsilon)))
OP(group_norm, (ct_tensor x, int64_t groups, ct_tensor weight, ct_tensor bias, double epsilon, ct_tensor *out),
   *out = give(at::group_norm(view(x), groups, optional(weight), optional(bias), epsilon)))
OP(rms_norm, (ct_tensor x, ct_tensor weight, double epsilon, ct_tensor *out), auto gain = view(weight);
   *out = give(at::rms_norm(view(x), gain.sizes(), gain, epsilon)))
OP(normalize, (ct_tensor x, ct_tensor *out), auto tensor = view(x);
   auto length = at::linalg_vector_norm(tensor, 2, -1, true, at::kFloat).clamp_min(1e-12);
   *out = give(at::div(tensor, length).to(tensor.scalar_type())))
OP(softmax, (ct_tensor x, int64_t axis, ct_tensor *out), *out = give(at::softmax(view(x), axis)))
OP(attention, (ct_tensor q, ct_tensor k, ct_tensor v, ct_tensor mask, double scale, ct_tensor *out),
   *out = give(at::scaled_dot_product_attention(view(q), view(k), view(v), optional(mask), 0.0, false, scale)))
OP(resize_bicubic, (ct_tensor x, int64_t height, int64_t width, ct_tensor *out),
   *out = give(at::upsample_bicubic2d(view(x), {height, width}, false)))
OP(resize_area, (ct_tensor x, int64_t height, int64_t width, ct_tensor *out),
   *out = give(at::adaptive_avg_pool2d(view(x), {height, width})))
OP(resize_nearest, (ct_tensor x, int64_t height, int64_t width, ct_tensor *out),
   *out = give(at::upsample_nearest2d(view(x), {height, width})))

// Products of 8-bit numbers (e4m3) with a scale for each row. Their bits travel as uint8, as little else can be done with
// such tensors.
OP(quantize_rows, (ct_tensor x, ct_tensor *values, ct_tensor *scales), auto rows = view(x).to(at::kFloat);
   auto factors = at::amax(rows.abs(), {-1}, true).clamp_min_(1e-12).div_(448);
   *values = give(rows.div_(factors).to(at::kFloat8_e4m3fn).view(at::kByte)); *scales = give(factors))
OP(scaled_linear, (ct_tensor x, ct_tensor x_scales, ct_tensor weight, ct_tensor weight_scales, ct_tensor bias, ct_dtype dtype, ct_tensor *out),
   auto shape = view(x).sizes().vec(); shape.back() = view(weight).size(0);
   const auto rows = view(x).flatten(0, -2).view(at::kFloat8_e4m3fn);
   *out = give(at::_scaled_mm(rows, view(weight).view(at::kFloat8_e4m3fn).t(), view(x_scales), view(weight_scales).t(),
                              optional(bias), std::nullopt, type(dtype), true).view(shape)))

// oneDNN's own operators, which keep a weight in the layout that its kernels want and fuse the activation.
OP(pack_linear, (ct_tensor weight, int64_t rows, ct_tensor *out),
   static const auto pack =
       c10::Dispatcher::singleton()
           .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
           .typed<at::Tensor(const at::Tensor &, std::optional<c10::SymInt>)>();
   *out = give(pack.call(view(weight), rows > 0 ? std::optional<c10::SymInt>(rows) : nullopt)))
OP(packed_linear, (ct_tensor x, ct_tensor weight, ct_tensor bias, const char *activation, ct_tensor *out),
   static const auto linear =
       c10::Dispatcher::singleton()
           .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
           .typed<at::Tensor(const at::Tensor &, const at::Tensor &, const std::optional<at::Tensor> &,
                             std::string_view, c10::List<std::optional<at::Scalar>>,
                             std::optional<std::string_view>)>();
   bool gelu = std::strcmp(activation, "gelu_tanh") == 0;
   *out = give(linear.call(view(x), view(weight), optional(bias), gelu ? "gelu" : activation,
                           c10::List<std::optional<at::Scalar>>(),
                           gelu ? std::optional<std::string_view>("tanh") : nullopt)))

}  // namespace ops
