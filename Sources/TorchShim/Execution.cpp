// Modes, threads and what the machine can do.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <cpuinfo.h>
#include <dlfcn.h>

#include <atomic>

#include "Operations.h"

using namespace shim;

namespace {

/// Starts libtorch's team of OpenMP threads, as a compiler for its runtime would; our compiler has another runtime, whose
/// threads would fight with the waiting ones for the processors. NULL where libtorch came with neither.
using Team = void (*)(void (*)(void *), void *, unsigned, unsigned);
Team team() {
  static const auto entry = reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return entry;
}

/// Units of which each thread takes the next ones until none are left.
struct WorkSharing {
  ct_work work;
  void *context;
  int64_t count;
  int64_t grain;
  std::atomic<int64_t> next{0};

  static void run(void *sharing) {
    auto &all = *static_cast<WorkSharing *>(sharing);
    for (int64_t begin; (begin = all.next.fetch_add(all.grain)) < all.count;) {
      all.work(all.context, begin, std::min(begin + all.grain, all.count));
    }
  }
};

}  // namespace

namespace ops {

OP(begin_inference, (ct_guard *out), *out = reinterpret_cast<ct_guard>(new c10::InferenceMode(true)))
OP(end_inference, (ct_guard guard), delete reinterpret_cast<c10::InferenceMode *>(guard))
// At a thread's first operation libtorch gives it the number that any thread has set last; asking for it is such an operation.
OP(set_thread_count, (int32_t count), at::get_num_threads(); at::set_num_threads(count))
OP(cuda_device_count, (int32_t *out), *out = at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0)
OP(cpu_has_fast_bfloat16, (bool *out),
   *out = cpuinfo_initialize() && (cpuinfo_has_x86_avx512bf16() || cpuinfo_has_arm_bf16()))
OP(cpu_has_avx2, (bool *out), *out = cpuinfo_initialize() && cpuinfo_has_x86_avx2() && cpuinfo_has_x86_fma3())
OP(parallel_for, (int64_t count, int64_t grain, ct_work work, void *context),
   WorkSharing sharing{work, context, count, grain};
   const auto threads = std::min<int64_t>(at::get_num_threads(), (count + grain - 1) / grain);
   const auto parallel = threads > 1 ? team() : nullptr;
   if (parallel) parallel(WorkSharing::run, &sharing, static_cast<unsigned>(threads), 0);
   else WorkSharing::run(&sharing))

}  // namespace ops
