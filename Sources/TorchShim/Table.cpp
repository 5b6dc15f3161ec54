// The table that the Swift side calls through.
#include <torch/version.h>

#include "Operations.h"

static void release(ct_tensor tensor) {
  c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>::reclaim(reinterpret_cast<at::TensorImpl *>(tensor));
}

extern "C" __attribute__((visibility("default"))) const CTorchAPI *ct_api() {
  static const CTorchAPI api = {
      CT_API_VERSION, sizeof(CTorchAPI), TORCH_VERSION, release,
#define CT_OP(name, ...) ops::name,
#include "CTorchOperations.inc"
#undef CT_OP
  };
  return &api;
}
