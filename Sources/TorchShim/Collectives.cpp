// What processes that share a training step do together: libtorch's own c10d, with Gloo for what lies in the CPU's
// memory and, where it was handed over, NCCL for what lies on GPUs.
#include "Collectives.h"

#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif

using namespace shim;

namespace {

#ifdef USE_C10D_GLOO

/// libtorch notes every collective for its debugger. The notes of several ranks in one process are made without a lock, which
/// ends the process at times. What the user has set stays.
void keep_no_notes() {
  static const int once = setenv("TORCH_FR_BUFFER_SIZE", "0", 0);
  (void)once;
}

Group *open_group(const char *host, uint16_t port, bool hosts_store, int rank, int ranks, double seconds) {
  keep_no_notes();
  const std::chrono::milliseconds timeout(static_cast<int64_t>(seconds * 1000));
  c10d::TCPStoreOptions options;
  options.port = port;
  options.isServer = hosts_store;
  options.numWorkers = ranks;
  options.timeout = timeout;
  auto group = std::make_unique<Group>();
  // torchrun's own agent may keep its notes in the same store, which outlives processes that it starts again.
  const char *restarts = getenv("TORCHELASTIC_RESTART_COUNT");
  group->store = c10::make_intrusive<c10d::PrefixStore>(
      std::string("mvar/") + (restarts ? restarts : "0"), c10::make_intrusive<c10d::TCPStore>(host, options));
  group->cpu = c10::make_intrusive<c10d::ProcessGroupGloo>(
      group->store, rank, ranks, c10d::ProcessGroupGloo::Options::create_default(timeout));
  return group.release();
}

/// All buckets are under way before the first is waited for.
void sum_all(Group &group, const std::vector<at::Tensor> &tensors, size_t bucket_bytes) {
  std::vector<Bucket> buckets;
  for (const auto &range : bucket_ranges(tensors, bucket_bytes)) {
    buckets.emplace_back(std::vector<at::Tensor>(tensors.begin() + range.first, tensors.begin() + range.second));
    buckets.back().send(group);
  }
  for (auto &bucket : buckets) {
    bucket.receive();
    bucket.unpack();
  }
}

/// Some tensors of every process, which all of them get.
class Exchange {
 public:
  /// - Parameter parts: Those of each process.
  explicit Exchange(std::vector<std::vector<at::Tensor>> parts) : parts(std::move(parts)) {}

  void send(Group &group) {
    const auto &like = first();
    int64_t length = 0;
    for (const auto &part : parts) length = std::max(length, elements(part));
    const auto options = like.options().device(group.takes(like) ? like.device() : at::Device(at::kCPU));
    // The shorter ones are padded, as all have to be of one length.
    sent = at::empty({length}, options);
    std::vector<at::Tensor> rows;
    for (const auto &tensor : parts[group.rank()]) rows.push_back(tensor.reshape(-1));
    auto filled = sent.narrow(0, 0, elements(parts[group.rank()]));
    if (!rows.empty() && group.takes(like)) {
      at::cat_out(filled, rows);
    } else if (!rows.empty()) {
      filled.copy_(at::cat(rows));
    }
    received = at::empty({group.ranks() * length}, options);
    work = group.backend(received)._allgather_base(received, sent);
  }

  void receive(Group &group) {
    work->wait();
    const int64_t length = sent.numel();
    std::vector<at::Tensor> targets, sources;
    for (int64_t rank = 0; rank < group.ranks(); rank++) {
      if (rank == group.rank()) continue;
      int64_t start = rank * length;
      for (const auto &tensor : parts[rank]) {
        targets.push_back(tensor);
        sources.push_back(received.narrow(0, start, tensor.numel()).view(tensor.sizes()));
        start += tensor.numel();
      }
    }
    if (!targets.empty()) at::_foreach_copy_(targets, sources);
  }

 private:
  std::vector<std::vector<at::Tensor>> parts;
  at::Tensor sent, received;
  c10::intrusive_ptr<c10d::Work> work;

  static int64_t elements(const std::vector<at::Tensor> &tensors) {
    int64_t count = 0;
    for (const auto &tensor : tensors) count += tensor.numel();
    return count;
  }

  const at::Tensor &first() const {
    for (const auto &part : parts)
      if (!part.empty()) return part.front();
    TORCH_CHECK(false, "nothing to exchange");
  }
};

/// Every process takes of its own in turn, as much as a bucket holds; two exchanges are under way at a time, so that
/// one is unpacked while the next travels.
void share(Group &group, const std::vector<at::Tensor> &tensors, const int32_t *owners, size_t bucket_bytes) {
  std::vector<std::vector<at::Tensor>> owned(group.ranks());
  for (size_t i = 0; i < tensors.size(); i++) owned.at(owners[i]).push_back(tensors[i]);
  std::vector<std::vector<std::pair<size_t, size_t>>> ranges;
  size_t rounds = 0;
  for (const auto &part : owned) {
    ranges.push_back(bucket_ranges(part, bucket_bytes));
    rounds = std::max(rounds, ranges.back().size());
  }
  std::optional<Exchange> before;
  for (size_t round = 0; round < rounds; round++) {
    std::vector<std::vector<at::Tensor>> parts(owned.size());
    for (size_t rank = 0; rank < owned.size(); rank++) {
      if (round >= ranges[rank].size()) continue;
      const auto [start, end] = ranges[rank][round];
      parts[rank].assign(owned[rank].begin() + start, owned[rank].begin() + end);
    }
    Exchange exchange(std::move(parts));
    exchange.send(group);
    if (before) before->receive(group);
    before = std::move(exchange);
  }
  if (before) before->receive(group);
}

/// What a process told under a key; nullopt before it has.
std::optional<std::string> ask(Group &group, const char *key) {
  if (!group.store->check({key})) return std::nullopt;
  const auto bytes = group.store->get(key);
  return std::string(bytes.begin(), bytes.end());
}

void tell(Group &group, const char *key, const char *text) {
  const std::string value(text);
  group.store->set(key, std::vector<uint8_t>(value.begin(), value.end()));
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
   at::NoGradGuard no_gradient; sum_all(at_handle(group), list(xs, count), bucket_bytes))
OP(group_barrier, (ct_group group), at_handle(group).cpu->barrier()->wait())
OP(group_store, (ct_group group, void **out), *out = at_handle(group).store.get())
OP(group_use, (ct_group group, void *backend),
   at_handle(group).gpu = c10::intrusive_ptr<c10d::Backend>::reclaim(static_cast<c10d::Backend *>(backend)))
OP(group_check, (ct_group group), at_handle(group).check())
OP(group_share, (ct_group group, const ct_tensor *xs, const int32_t *owners, size_t count, size_t bucket_bytes),
   at::NoGradGuard no_gradient; share(at_handle(group), list(xs, count), owners, bucket_bytes))
OP(group_tell, (ct_group group, const char *key, const char *text), tell(at_handle(group), key, text))
OP(group_ask, (ct_group group, const char *key, char **out), const auto text = ask(at_handle(group), key);
   *out = text ? strdup(text->c_str()) : nullptr)
#else
OP(group_open, (const char *, uint16_t, bool, int32_t, int32_t, double, ct_group *), WITHOUT_GLOO)
OP(group_close, (ct_group), WITHOUT_GLOO)
OP(group_sum, (ct_group, const ct_tensor *, size_t, size_t), WITHOUT_GLOO)
OP(group_barrier, (ct_group), WITHOUT_GLOO)
OP(group_store, (ct_group, void **), WITHOUT_GLOO)
OP(group_use, (ct_group, void *), WITHOUT_GLOO)
OP(group_check, (ct_group), WITHOUT_GLOO)
OP(group_share, (ct_group, const ct_tensor *, const int32_t *, size_t, size_t), WITHOUT_GLOO)
OP(group_tell, (ct_group, const char *, const char *), WITHOUT_GLOO)
OP(group_ask, (ct_group, const char *, char **), WITHOUT_GLOO)
#endif

}  // namespace ops
