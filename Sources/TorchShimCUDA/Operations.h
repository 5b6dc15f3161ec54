// Declares every entry of the CUDA table as a function of the namespace `ops`.
#pragma once

#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "CTorchCUDA.h"

namespace ops {
#define CT_OP(name, ...) char *name(__VA_ARGS__) noexcept;
#include "CTorchCUDAOperations.inc"
#undef CT_OP
}  // namespace ops

/// Makes the process's GPU that of this thread. CUDA keeps one for each thread, the first unless it is told otherwise;
/// libtorch's operations look at their tensors, while streams, graphs and kernels of our own belong to the thread's.
void bind_device();

/// Runs `body`, and turns what it throws into a message.
template <typename Body>
char *guarded(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception of unknown type");
  }
}
