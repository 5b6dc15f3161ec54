// Automatic differentiation, and what training does to all parameters at once.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "Operations.h"

using namespace shim;
using torch::autograd::variable_list;

namespace {

/// An operation whose gradient the caller computes.
struct CallerNode final : torch::autograd::Node {
  CallerNode(ct_backward backward, ct_release release, void *context)
      : backward(backward), release(release), context(context) {}
  ~CallerNode() override { release_variables(); }

  variable_list apply(variable_list &&gradients) override {
    TORCH_CHECK(context, "this graph was freed by the backward pass before; keep it with keepingGraph");
    std::vector<ct_tensor> lent(gradients.size(), nullptr), returned(num_outputs(), nullptr);
    for (size_t i = 0; i < gradients.size(); i++)
      if (gradients[i].defined()) lent[i] = reinterpret_cast<ct_tensor>(gradients[i].unsafeGetTensorImpl());
    char *message = backward(context, lent.data(), lent.size(), returned.data(), returned.size());
    if (message) {
      std::string text(message);
      free(message);
      TORCH_CHECK(false, text);
    }
    variable_list result;
    for (ct_tensor handle : returned)
      result.push_back(
          handle ? at::Tensor(c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>::reclaim(
                       reinterpret_cast<at::TensorImpl *>(handle)))
                 : at::Tensor());
    return result;
  }

  void release_variables() override {
    if (context) release(context);
    context = nullptr;
  }

  std::string name() const override { return "CallerNode"; }

 private:
  ct_backward backward;
  ct_release release;
  void *context;
};

}  // namespace

namespace ops {

OP(set_gradient_mode, (bool enabled, bool *previous), *previous = at::GradMode::is_enabled();
   at::GradMode::set_enabled(enabled))
OP(requires_gradient, (ct_tensor x, bool *out), *out = view(x).requires_grad())
OP(set_requires_gradient, (ct_tensor x, bool value), view(x).set_requires_grad(value))
OP(gradient, (ct_tensor x, ct_tensor *out), auto gradient = view(x).grad();
   *out = gradient.defined() ? give(gradient) : nullptr)
OP(set_gradient, (ct_tensor x, ct_tensor gradient),
   view(x).mutable_grad() = gradient ? view(gradient) : at::Tensor())
OP(backward, (ct_tensor x, ct_tensor gradient, bool keeps_graph),
   torch::autograd::backward({view(x)}, gradient ? variable_list{view(gradient)} : variable_list{}, keeps_graph))
OP(gradients_of,
   (ct_tensor x, ct_tensor gradient, const ct_tensor *inputs, size_t count, bool keeps_graph, ct_tensor *outs),
   auto gradients = torch::autograd::grad(
       {view(x)}, list(inputs, count), gradient ? variable_list{view(gradient)} : variable_list{}, keeps_graph,
       false, true);
   for (size_t i = 0; i < count; i++) outs[i] = gradients[i].defined() ? give(gradients[i]) : nullptr)
OP(detach, (ct_tensor x, ct_tensor *out), *out = give(view(x).detach()))
OP(alias, (ct_tensor x, ct_tensor *out), *out = give(view(x)))
OP(custom_gradient,
   (const ct_tensor *inputs, size_t input_count, const ct_tensor *outputs, size_t output_count, ct_backward backward,
    ct_release release, void *context),
   std::shared_ptr<CallerNode> node(new CallerNode(backward, release, context), torch::autograd::deleteNode);
   node->set_next_edges(torch::autograd::collect_next_edges(list(inputs, input_count)));
   for (size_t i = 0; i < output_count; i++) torch::autograd::set_history(view(outputs[i]), node))
OP(cross_entropy, (ct_tensor logits, ct_tensor targets, double smoothing, ct_tensor *out),
   *out = give(at::cross_entropy_loss(view(logits), view(targets), {}, at::Reduction::None, -100, smoothing)))
OP(bernoulli, (const int64_t *shape, size_t rank, double probability, uint64_t seed, ct_tensor *out),
   auto generator = at::detail::createCPUGenerator(seed);
   *out = give(at::empty(ints(shape, rank), at::kFloat).bernoulli_(probability, generator)))
OP(is_finite, (ct_tensor x, ct_tensor *out), *out = give(at::isfinite(view(x))))

OP(norms_of_all, (const ct_tensor *xs, size_t count, ct_tensor *out),
   *out = give(at::stack(at::_foreach_norm(list(xs, count), 2))))
OP(multiply_all, (const ct_tensor *xs, size_t count, ct_tensor factor),
   at::_foreach_mul_(list(xs, count), view(factor)))
OP(lerp_all, (const ct_tensor *xs, const ct_tensor *ends, size_t count, double weight),
   at::_foreach_lerp_(list(xs, count), list(ends, count), weight))
OP(adamw,
   (const ct_tensor *xs, const ct_tensor *gradients, const ct_tensor *means, const ct_tensor *squares, size_t count,
    ct_tensor step, const ct_adamw *settings, ct_tensor skip),
   // The number of steps is one for all, so that each parameter's is the same tensor.
   std::vector<at::Tensor> steps(count, view(step));
   at::_fused_adamw_(
       list(xs, count), list(gradients, count), list(means, count), list(squares, count), {}, steps, settings->rate,
       settings->beta1, settings->beta2, settings->weight_decay, settings->epsilon, false, false, std::nullopt,
       optional(skip)))

}  // namespace ops
