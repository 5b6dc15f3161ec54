// Gradients that are summed over processes while the backward pass still computes others.
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <exception>
#include <mutex>

#include "Collectives.h"

using namespace shim;

#ifdef USE_C10D_GLOO

/// Leaves in buckets. A bucket is sent when the gradients of all its leaves are there and the bucket before has been
/// sent, so that all processes send in one order.
struct ct_gradient_sum_impl {
  ct_gradient_sum_impl(Group &group, std::vector<at::Tensor> leaves, size_t bucket_bytes)
      : group(group), leaves(std::move(leaves)), ranges(bucket_ranges(this->leaves, bucket_bytes)) {
    for (size_t bucket = 0; bucket < ranges.size(); bucket++)
      for (size_t i = ranges[bucket].first; i < ranges[bucket].second; i++) bucket_of.push_back(bucket);
    for (size_t i = 0; i < this->leaves.size(); i++)
      torch::autograd::impl::set_post_acc_grad_hooks(this->leaves[i], std::make_unique<Arrival>(*this, i));
  }

  ~ct_gradient_sum_impl() {
    for (const auto &leaf : leaves) torch::autograd::impl::set_post_acc_grad_hooks(leaf, nullptr);
  }

  /// The backward pass that comes completes the gradients.
  void begin() {
    const std::lock_guard<std::mutex> lock(mutex);
    sent.clear();
    failure = nullptr;
    arrived.assign(leaves.size(), false);
    missing.clear();
    for (const auto &range : ranges) missing.push_back(range.second - range.first);
    is_listening = true;
  }

  /// What another process has done to this one is told at the end, where whoever waits for the others hears it.
  void arrive(size_t leaf) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!is_listening) return;
    try {
      note(leaf);
    } catch (const c10::OutOfMemoryError &) {
      is_listening = false;
      throw;
    } catch (...) {
      is_listening = false;
      failure = std::current_exception();
    }
  }

  /// Sends what no backward pass has completed, and waits for all.
  void end() {
    const std::lock_guard<std::mutex> lock(mutex);
    is_listening = false;
    if (failure) std::rethrow_exception(failure);
    while (sent.size() < ranges.size()) send_next();
    for (auto &bucket : sent) bucket.receive();
    sent.clear();
  }

 private:
  /// Called by autograd when a leaf's gradient is there.
  struct Arrival final : torch::autograd::PostAccumulateGradHook {
    Arrival(ct_gradient_sum_impl &sum, size_t leaf) : sum(sum), leaf(leaf) {}
    void operator()(const at::Tensor &) override { sum.arrive(leaf); }

    ct_gradient_sum_impl &sum;
    size_t leaf;
  };

  void note(size_t leaf) {
    const size_t bucket = bucket_of[leaf];
    TORCH_CHECK(bucket >= sent.size(), "a gradient grew after it was sent to the other processes");
    if (arrived[leaf]) return;
    arrived[leaf] = true;
    missing[bucket]--;
    while (sent.size() < ranges.size() && missing[sent.size()] == 0) send_next();
  }

  /// The gradients become parts of the message, where their sums will be.
  void send_next() {
    at::NoGradGuard no_gradient;
    const auto [start, end] = ranges[sent.size()];
    std::vector<at::Tensor> gradients;
    for (size_t i = start; i < end; i++) {
      TORCH_CHECK(leaves[i].grad().defined(), "a leaf has no gradient to sum");
      gradients.push_back(leaves[i].grad());
    }
    sent.emplace_back(std::move(gradients));
    sent.back().send(group);
    const auto parts = sent.back().parts();
    for (size_t i = start; i < end; i++) leaves[i].mutable_grad() = parts[i - start];
    // What was packed is not needed any more.
    sent.back().tensors.clear();
  }

  Group &group;
  const std::vector<at::Tensor> leaves;
  const std::vector<std::pair<size_t, size_t>> ranges;
  std::vector<size_t> bucket_of;
  std::mutex mutex;
  bool is_listening = false;
  std::exception_ptr failure;
  std::vector<bool> arrived;
  std::vector<size_t> missing;
  std::vector<Bucket> sent;
};

#endif

namespace ops {

#ifdef USE_C10D_GLOO
OP(gradient_sum_open, (ct_group group, const ct_tensor *leaves, size_t count, size_t bucket_bytes, ct_gradient_sum *out),
   *out = new ct_gradient_sum_impl(at_handle(group), list(leaves, count), bucket_bytes))
OP(gradient_sum_begin, (ct_gradient_sum sum), sum->begin())
OP(gradient_sum_end, (ct_gradient_sum sum), sum->end())
OP(gradient_sum_close, (ct_gradient_sum sum), delete sum)
#else
OP(gradient_sum_open, (ct_group, const ct_tensor *, size_t, size_t, ct_gradient_sum *), WITHOUT_GLOO)
OP(gradient_sum_begin, (ct_gradient_sum), WITHOUT_GLOO)
OP(gradient_sum_end, (ct_gradient_sum), WITHOUT_GLOO)
OP(gradient_sum_close, (ct_gradient_sum), WITHOUT_GLOO)
#endif

}  // namespace ops
