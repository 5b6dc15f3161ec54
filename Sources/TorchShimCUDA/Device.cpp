// What the current device is, how much of its memory was used, and times measured on it.
#include <c10/core/Event.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

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

namespace ops {

char *gpu(ct_gpu *out) noexcept {
  return guarded([&] {
    const auto *properties = at::cuda::getCurrentDeviceProperties();
    snprintf(out->name, sizeof out->name, "%s", properties->name);
    out->compute_capability = properties->major * 10 + properties->minor;
    out->multiprocessors = properties->multiProcessorCount;
    out->memory_bytes = static_cast<int64_t>(properties->totalGlobalMem);
  });
}

char *synchronize() noexcept {
  return guarded([&] { c10::cuda::device_synchronize(); });
}

char *memory_peak(bool reset, int64_t *out) noexcept {
  return guarded([&] {
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
