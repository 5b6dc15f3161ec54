// A group of processes, and tensors that travel between them as one message.
#pragma once

#include "Operations.h"

#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#else
#define WITHOUT_GLOO \
  TORCH_CHECK(false, "this build has no collectives; run `make setup`, which installs libgloo-dev, and build again")
#endif

namespace shim {

#ifdef USE_C10D_GLOO

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  /// Gloo.
  c10::intrusive_ptr<c10d::Backend> cpu;
  /// NCCL; null where there is none, and what lies on a GPU goes through the CPU's memory.
  c10::intrusive_ptr<c10d::Backend> gpu;

  int64_t rank() const { return cpu->getRank(); }
  int64_t ranks() const { return cpu->getSize(); }

  /// Whether a tensor can be sent from where it is.
  bool takes(const at::Tensor &x) const { return x.is_cpu() || gpu; }

  c10d::Backend &backend(const at::Tensor &x) { return x.is_cpu() ? *cpu : *gpu; }

  /// What NCCL met while nobody waited: work on a GPU does not throw.
  void check() const {
    if (!gpu) return;
    const auto error = gpu->getError();
    TORCH_CHECK(error != c10d::ErrorType::TIMEOUT, "NCCL waited in vain");
    TORCH_CHECK(error == c10d::ErrorType::SUCCESS, "NCCL lost its connection");
  }

  /// Aborts what is under way, for without the others it would never end.
  ~Group() {
    if (!gpu) return;
    try {
      gpu->abort();
    } catch (const std::exception &) {
      // Nothing is left to do for a group that ends.
    }
  }
};

inline Group &at_handle(ct_group group) { return *reinterpret_cast<Group *>(group); }

/// Tensors that are summed as one message.
struct Bucket {
  std::vector<at::Tensor> tensors;
  /// All of them in a row, where they lie; the tensor itself where it is the only one.
  at::Tensor flat;
  /// `flat`, or a copy of it in the CPU's memory.
  std::vector<at::Tensor> message;
  c10::intrusive_ptr<c10d::Work> work;

  explicit Bucket(std::vector<at::Tensor> tensors) : tensors(std::move(tensors)) {}

  void send(Group &group) {
    std::vector<at::Tensor> rows;
    for (const auto &tensor : tensors) rows.push_back(tensor.reshape(-1));
    flat = rows.size() == 1 ? rows.front() : at::cat(rows);
    message = {group.takes(flat) ? flat : flat.cpu()};
    work = group.backend(message.front()).allreduce(message);
  }

  /// On a GPU it is the stream that waits.
  void receive() {
    work->wait();
    if (!message.front().is_same(flat)) flat.copy_(message.front());
  }

  /// The parts of `flat` that belong to each tensor, in the tensors' shapes.
  std::vector<at::Tensor> parts() const {
    std::vector<at::Tensor> parts;
    int64_t start = 0;
    for (const auto &tensor : tensors) {
      parts.push_back(flat.narrow(0, start, tensor.numel()).view(tensor.sizes()));
      start += tensor.numel();
    }
    return parts;
  }

  void unpack() {
    if (tensors.size() == 1 && tensors.front().is_contiguous()) return;
    const auto sums = parts();
    for (size_t i = 0; i < tensors.size(); i++) tensors[i].copy_(sums[i]);
  }
};

#endif

/// Cuts a row of tensors into ranges of at least so many bytes, the last one maybe smaller.
inline std::vector<std::pair<size_t, size_t>> bucket_ranges(const std::vector<at::Tensor> &tensors, size_t bytes) {
  std::vector<std::pair<size_t, size_t>> ranges;
  size_t start = 0, held = 0;
  for (size_t i = 0; i < tensors.size(); i++) {
    held += tensors[i].nbytes();
    if (held < bytes && i + 1 < tensors.size()) continue;
    ranges.emplace_back(start, i + 1);
    start = i + 1;
    held = 0;
  }
  return ranges;
}

}  // namespace shim
