// The table that the Swift side calls through.
#include "Operations.h"

extern "C" __attribute__((visibility("default"))) const CTorchCUDAAPI *ct_cuda_api() {
  static const CTorchCUDAAPI api = {
      CT_CUDA_API_VERSION, sizeof(CTorchCUDAAPI),
#define CT_OP(name, ...) ops::name,
#include "CTorchCUDAOperations.inc"
#undef CT_OP
  };
  return &api;
}
