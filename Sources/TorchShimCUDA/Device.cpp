// What the current device is, how much of its memory was used, and times measured on it.
#include <c10/core/Event.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include <atomic>
#include <cstdio>
#include <memory>

#include "Operations.h"

// Declared here because its header asks for those of cuSPARSE, cuBLAS and cuSOLVER.
namespace at::cuda {
cudaDeviceProp *getCurrentDeviceProperties();
}

struct ct_event_impl {
  c10::Event event{c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT};
};

/// The process's GPU; −1 until one is chosen, for the thread's.
static std::atomic<int> chosen_device{-1};

void bind_device() {
  thread_local int bound = -1;
  const int chosen = chosen_device.load(std::memory_order_relaxed);
  if (bound >= 0 && (chosen < 0 || bound == chosen)) return;
  bound = chosen < 0 ? c10::cuda::current_device() : chosen;
  // Forced, as the driver's functions need the device's context, which libtorch makes only when it asks for memory.
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(bound), true);
}

namespace ops {

char *use_device(int32_t device) noexcept {
  return guarded([&] {
    chosen_device.store(device);
    bind_device();
  });
}

char *gpu(ct_gpu *out) noexcept {
  return guarded([&] {
    bind_device();
    const auto *properties = at::cuda::getCurrentDeviceProperties();
    snprintf(out->name, sizeof out->name, "%s", properties->name);
    out->compute_capability = properties->major * 10 + properties->minor;
    out->multiprocessors = properties->multiProcessorCount;
    out->shared_memory_per_block = static_cast<int32_t>(properties->sharedMemPerBlockOptin);
    out->memory_bytes = static_cast<int64_t>(properties->totalGlobalMem);
  });
}

char *synchronize() noexcept {
  return guarded([&] {
    bind_device();
    c10::cuda::device_synchronize();
  });
}

char *memory_peak(bool reset, int64_t *out) noexcept {
  return guarded([&] {
    bind_device();
    namespace allocator = c10::cuda::CUDACachingAllocator;
    const auto device = c10::cuda::current_device();
    *out = allocator::getDeviceStats(device).reserved_bytes[0].peak;
    if (!reset) return;
    allocator::emptyCache();
    allocator::resetPeakStats(device);
  });
}

char *event_record(ct_event *out) noexcept {
  return guarded([&] {
    bind_device();
    auto event = std::make_unique<ct_event_impl>();
    event->event.record(c10::cuda::getCurrentCUDAStream().unwrap());
    *out = event.release();
  });
}

char *event_elapsed(ct_event start, ct_event end, float *milliseconds) noexcept {
  return guarded([&] {
    end->event.synchronize();
    *milliseconds = static_cast<float>(start->event.elapsedTime(end->event));
  });
}

char *event_free(ct_event event) noexcept {
  return guarded([&] { delete event; });
}

}  // namespace ops
