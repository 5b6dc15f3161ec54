// What processes that share a training step do together: libtorch's own c10d, with Gloo.
#include "Operations.h"

#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif

using namespace shim;

namespace {

#ifdef USE_C10D_GLOO

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
};

Group &at_handle(ct_group group) { return *reinterpret_cast<Group *>(group); }

Group *open_group(const char *host, uint16_t port, bool hosts_store, int rank, int ranks, double seconds) {
  const std::chrono::milliseconds timeout(static_cast<int64_t>(seconds * 1000));
  c10d::TCPStoreOptions options;
  options.port = port;
  options.isServer = hosts_store;
  options.numWorkers = ranks;
  options.timeout = timeout;
  auto group = std::make_unique<Group>();
  // torchrun's own agent may keep its notes in the same store.
  group->store = c10::make_intrusive<c10d::PrefixStore>("mvar", c10::make_intrusive<c10d::TCPStore>(host, options));
  group->backend = c10::make_intrusive<c10d::ProcessGroupGloo>(
      group->store, rank, ranks, c10d::ProcessGroupGloo::Options::create_default(timeout));
  return group.release();
}

/// Tensors that travel as one, and the message that they make.
struct Bucket {
  std::vector<at::Tensor> tensors;
  std::vector<at::Tensor> message;
  c10::intrusive_ptr<c10d::Work> work;

  void send(c10d::Backend &backend) {
    std::vector<at::Tensor> flat;
    for (const auto &tensor : tensors) flat.push_back(tensor.reshape(-1));
    // Gloo works in the CPU's memory.
    message = {at::cat(flat).cpu()};
    work = backend.allreduce(message);
  }

  void receive() {
    work->wait();
    int64_t start = 0;
    for (auto &tensor : tensors) {
      tensor.copy_(message[0].narrow(0, start, tensor.numel()).view(tensor.sizes()));
      start += tensor.numel();
    }
  }
};

/// All buckets are under way before the first is waited for.
void sum(Group &group, const std::vector<at::Tensor> &tensors, size_t bucket_bytes) {
  std::vector<Bucket> buckets;
  size_t bytes = bucket_bytes;
  for (const auto &tensor : tensors) {
    if (bytes >= bucket_bytes) {
      buckets.emplace_back();
      bytes = 0;
    }
    buckets.back().tensors.push_back(tensor);
    bytes += tensor.nbytes();
  }
  for (auto &bucket : buckets) bucket.send(*group.backend);
  for (auto &bucket : buckets) bucket.receive();
}

#endif

}  // namespace

namespace ops {

#ifdef USE_C10D_GLOO
OP(group_open,
   (const char *host, uint16_t port, bool hosts_store, int32_t rank, int32_t ranks, double timeout, ct_group *out),
   *out = reinterpret_cast<ct_group>(open_group(host, port, hosts_store, rank, ranks, timeout)))
OP(group_close, (ct_group group), delete &at_handle(group))
OP(group_sum, (ct_group group, const ct_tensor *xs, size_t count, size_t bucket_bytes),
   at::NoGradGuard no_gradient; sum(at_handle(group), list(xs, count), bucket_bytes))
OP(group_barrier, (ct_group group), at_handle(group).backend->barrier()->wait())
#else
#define WITHOUT_GLOO \
  TORCH_CHECK(false, "this build has no collectives; run `make setup`, which installs libgloo-dev, and build again")
OP(group_open, (const char *, uint16_t, bool, int32_t, int32_t, double, ct_group *), WITHOUT_GLOO)
OP(group_close, (ct_group), WITHOUT_GLOO)
OP(group_sum, (ct_group, const ct_tensor *, size_t, size_t), WITHOUT_GLOO)
OP(group_barrier, (ct_group), WITHOUT_GLOO)
#endif

}  // namespace ops
