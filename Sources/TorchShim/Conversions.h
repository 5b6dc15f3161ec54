// What every operation needs: handles to tensors and back, arrays, and exceptions turned into messages.
#pragma once

#include <ATen/ATen.h>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "CTorch.h"

namespace shim {

static_assert(CT_UINT8 == int(at::ScalarType::Byte) && CT_INT8 == int(at::ScalarType::Char));
static_assert(CT_INT16 == int(at::ScalarType::Short) && CT_INT32 == int(at::ScalarType::Int));
static_assert(CT_INT64 == int(at::ScalarType::Long) && CT_FLOAT16 == int(at::ScalarType::Half));
static_assert(CT_FLOAT32 == int(at::ScalarType::Float) && CT_FLOAT64 == int(at::ScalarType::Double));
static_assert(CT_BOOL == int(at::ScalarType::Bool) && CT_BFLOAT16 == int(at::ScalarType::BFloat16));

/// A second reference to the handle's tensor.
inline at::Tensor view(ct_tensor handle) {
  return at::Tensor(c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>::reclaim_copy(
      reinterpret_cast<at::TensorImpl *>(handle)));
}

inline std::optional<at::Tensor> optional(ct_tensor handle) {
  if (!handle) return std::nullopt;
  return view(handle);
}

inline ct_tensor give(at::Tensor tensor) {
  return reinterpret_cast<ct_tensor>(tensor.unsafeReleaseTensorImpl());
}

inline std::vector<at::Tensor> list(const ct_tensor *xs, size_t count) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; i++) tensors.push_back(view(xs[i]));
  return tensors;
}

inline at::IntArrayRef ints(const int64_t *values, size_t count) { return {values, count}; }

inline at::ScalarType type(ct_dtype dtype) { return static_cast<at::ScalarType>(dtype); }

inline at::Device place(ct_device device) {
  return device.index < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device.index));
}

inline at::TensorOptions options(ct_dtype dtype, ct_device where) {
  return at::TensorOptions().dtype(type(dtype)).device(place(where));
}

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

}  // namespace shim

/// Defines an entry of the table: its parameters as CTorchOperations.inc has them, and what it does.
#define OP(name, parameters, ...) \
  char *name parameters noexcept { \
    return shim::guarded([&] { __VA_ARGS__; }); \
  }
