// libtorch's c10d over NCCL, for processes that have a GPU each.
//
// What the backend sends and when is decided in TorchShim, which gets it as an abstract `c10d::Backend`.
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "Operations.h"

using c10d::ProcessGroupNCCL;

namespace {

/// A failure has to come back as an error of the next call. By default a watchdog of libtorch's ends the process
/// instead, after a minute of waiting for its own debugger. What the user has set stays.
void prefer_errors_to_aborting() {
  // Aborts what is under way, and nothing more.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", 0);
  setenv("TORCH_NCCL_RETHROW_CUDA_ERRORS", "0", 0);
  setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 0);
  setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", 0);
  setenv("TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "0", 0);
}

/// libtorch fills in the options, whose layout depends on the NCCL that it was built with.
void check_layout() {
  alignas(ProcessGroupNCCL::Options) unsigned char room[4 * sizeof(ProcessGroupNCCL::Options)];
  auto *options = new (room) ProcessGroupNCCL::Options(false);
  const size_t size = options->config.size;
  TORCH_CHECK(
      size == sizeof(ncclConfig_t),
      "this libtorch was built with another NCCL than 2.28; use the PyTorch that `make setup` fetches");
  options->~Options();
}

}  // namespace

namespace ops {

char *nccl_open(void *store, int32_t rank, int32_t ranks, int32_t device, double timeout, void **out) noexcept {
  return guarded([&] {
    prefer_errors_to_aborting();
    check_layout();
    auto options = ProcessGroupNCCL::Options::create(true);
    options->timeout = std::chrono::milliseconds(static_cast<int64_t>(timeout * 1000));
    options->group_name = "mvar";
    auto shared = c10::intrusive_ptr<c10d::Store>::unsafe_reclaim_from_nonowning(static_cast<c10d::Store *>(store));
    auto group = c10::make_intrusive<ProcessGroupNCCL>(
        c10::make_intrusive<c10d::PrefixStore>("nccl", shared), rank, ranks, options);
    const at::Device place(at::kCUDA, static_cast<at::DeviceIndex>(device));
    group->setBoundDeviceId(place);
    group->eagerConnectSingleDevice(place);
    *out = static_cast<c10d::Backend *>(group.release());
  });
}

}  // namespace ops
