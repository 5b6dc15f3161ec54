// Modes, threads and what the machine can do.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <cpuinfo.h>

#include "Operations.h"

using namespace shim;

namespace ops {

OP(begin_inference, (ct_guard *out), *out = reinterpret_cast<ct_guard>(new c10::InferenceMode(true)))
OP(end_inference, (ct_guard guard), delete reinterpret_cast<c10::InferenceMode *>(guard))
OP(set_thread_count, (int32_t count), at::set_num_threads(count))
OP(cuda_device_count, (int32_t *out), *out = at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0)
OP(cpu_has_fast_bfloat16, (bool *out),
   *out = cpuinfo_initialize() && (cpuinfo_has_x86_avx512bf16() || cpuinfo_has_arm_bf16()))

}  // namespace ops
