// Attention inside segments of one row of tokens: FlashAttention as libtorch has it, forward and backward.
#include <ATen/Context.h>

#include "Operations.h"

using namespace shim;

namespace {

/// Has libtorch add up in a fixed order while it lives.
class FixedOrder {
 public:
  explicit FixedOrder(bool wanted)
      : was(at::globalContext().deterministicAlgorithms()),
        warned(at::globalContext().deterministicAlgorithmsWarnOnly()),
        filled(at::globalContext().deterministicFillUninitializedMemory()) {
    if (!wanted) return;
    // Where libtorch is only to warn, it warns and does not.
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  }
  ~FixedOrder() {
    at::globalContext().setDeterministicAlgorithms(was, warned);
    at::globalContext().setDeterministicFillUninitializedMemory(filled);
  }

 private:
  bool was, warned, filled;
};

/// Keys that one block of the backward kernel has; two blocks add to a gradient of queries in either order alike.
constexpr int64_t KEYS_OF_BLOCK = 128;

}  // namespace

namespace ops {

OP(segment_attention,
   (ct_tensor q, ct_tensor k, ct_tensor v, ct_tensor ends, int64_t longest, double scale, ct_tensor *out,
    ct_tensor *logs),
   auto result = at::_flash_attention_forward(
       view(q), view(k), view(v), view(ends), view(ends), longest, longest, 0.0, false, false, scale);
   *out = give(std::get<0>(result)); *logs = give(std::get<1>(result)))
OP(segment_attention_backward,
   (ct_tensor gradient, ct_tensor q, ct_tensor k, ct_tensor v, ct_tensor out, ct_tensor logs, ct_tensor ends,
    int64_t longest, double scale, ct_tensor *dq, ct_tensor *dk, ct_tensor *dv),
   const FixedOrder order(longest > 2 * KEYS_OF_BLOCK);
   // There is no dropout, whose random state these two are.
   const auto none = at::empty({0}, view(q).options().dtype(at::kLong));
   auto [a, b, c] = at::_flash_attention_backward(
       view(gradient), view(q), view(k), view(v), view(out), view(logs), view(ends), view(ends), longest, longest, 0.0,
       false, none, none, scale);
   *dq = give(a); *dk = give(b); *dv = give(c))

}  // namespace ops
