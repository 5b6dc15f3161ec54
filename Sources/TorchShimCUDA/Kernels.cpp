// Kernels compiled at run time. NVRTC and the driver are opened here and not linked: a machine with a GPU has the driver,
// and libtorch's CUDA wheels bring NVRTC.
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda.h>
#include <dlfcn.h>

#include <memory>
#include <vector>

#include "Operations.h"

namespace {

void *library(const char *name) {
  void *handle = dlopen(name, RTLD_NOW | RTLD_GLOBAL);
  if (!handle) throw std::runtime_error(dlerror());
  return handle;
}

template <typename Function>
Function *symbol(void *handle, const char *name) {
  void *address = dlsym(handle, name);
  if (!address) throw std::runtime_error(std::string(name) + " is missing: " + dlerror());
  return reinterpret_cast<Function *>(address);
}

struct Driver {
  void *handle = library("libcuda.so.1");
  decltype(cuGetErrorString) *error_string = symbol<decltype(cuGetErrorString)>(handle, "cuGetErrorString");
  decltype(cuModuleLoadData) *load = symbol<decltype(cuModuleLoadData)>(handle, "cuModuleLoadData");
  decltype(cuModuleGetFunction) *function = symbol<decltype(cuModuleGetFunction)>(handle, "cuModuleGetFunction");
  decltype(cuFuncGetAttribute) *attribute = symbol<decltype(cuFuncGetAttribute)>(handle, "cuFuncGetAttribute");
  decltype(cuFuncSetAttribute) *set_attribute = symbol<decltype(cuFuncSetAttribute)>(handle, "cuFuncSetAttribute");
  decltype(cuLaunchKernelEx) *launch = symbol<decltype(cuLaunchKernelEx)>(handle, "cuLaunchKernelEx");
  decltype(cuTensorMapEncodeTiled) *encode = symbol<decltype(cuTensorMapEncodeTiled)>(handle, "cuTensorMapEncodeTiled");

  static const Driver &shared() {
    static const Driver driver;
    return driver;
  }

  void check(CUresult result, const char *what) const {
    if (result == CUDA_SUCCESS) return;
    const char *text = nullptr;
    error_string(result, &text);
    throw std::runtime_error(std::string(what) + ": " + (text ? text : "unknown CUDA error"));
  }
};

/// The few functions of NVRTC in use, declared here, as its header comes in a wheel that nothing else needs.
struct Compiler {
  using Program = struct _nvrtcProgram *;
  void *handle = library("libnvrtc.so.13");
  int (*create)(Program *, const char *, const char *, int, const char *const *, const char *const *) =
      symbol<std::remove_pointer_t<decltype(create)>>(handle, "nvrtcCreateProgram");
  int (*compile)(Program, int, const char *const *) =
      symbol<std::remove_pointer_t<decltype(compile)>>(handle, "nvrtcCompileProgram");
  int (*log_size)(Program, size_t *) = symbol<std::remove_pointer_t<decltype(log_size)>>(handle, "nvrtcGetProgramLogSize");
  int (*log)(Program, char *) = symbol<std::remove_pointer_t<decltype(log)>>(handle, "nvrtcGetProgramLog");
  int (*cubin_size)(Program, size_t *) = symbol<std::remove_pointer_t<decltype(cubin_size)>>(handle, "nvrtcGetCUBINSize");
  int (*cubin)(Program, char *) = symbol<std::remove_pointer_t<decltype(cubin)>>(handle, "nvrtcGetCUBIN");
  int (*destroy)(Program *) = symbol<std::remove_pointer_t<decltype(destroy)>>(handle, "nvrtcDestroyProgram");

  static const Compiler &shared() {
    static const Compiler compiler;
    return compiler;
  }

  std::string message(Program program) const {
    size_t size = 0;
    if (log_size(program, &size) != 0 || size == 0) return "NVRTC gave no log";
    std::string text(size, '\0');
    log(program, text.data());
    return text;
  }
};

CUtensorMap tensor_map(const ct_matrix &matrix) {
  CUtensorMap map;
  const cuuint64_t sizes[] = {matrix.columns, matrix.rows, matrix.count};
  const cuuint64_t bytes_of_row_and_matrix[] = {2 * matrix.columns, 2 * matrix.columns * matrix.apart};
  const cuuint32_t box[] = {64, matrix.box_rows, 1}, steps[] = {1, 1, 1};
  const auto &driver = Driver::shared();
  driver.check(driver.encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, matrix.count == 0 ? 2 : 3, matrix.address, sizes,
                             bytes_of_row_and_matrix, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
               "a matrix to be copied in boxes");
  return map;
}

}  // namespace

namespace ops {

char *compile(const char *source, const char *name, const char *const *options, size_t option_count,
              ct_cubin *out) noexcept {
  return guarded([&] {
    const auto &compiler = Compiler::shared();
    Compiler::Program program = nullptr;
    if (compiler.create(&program, source, name, 0, nullptr, nullptr) != 0) {
      throw std::runtime_error("NVRTC could not take the source");
    }
    std::unique_ptr<Compiler::Program, void (*)(Compiler::Program *)> owner(
        &program, [](Compiler::Program *it) { Compiler::shared().destroy(it); });
    if (compiler.compile(program, static_cast<int>(option_count), options) != 0) {
      throw std::runtime_error(compiler.message(program));
    }
    size_t size = 0;
    if (compiler.cubin_size(program, &size) != 0 || size == 0) throw std::runtime_error("NVRTC made no code");
    auto *bytes = static_cast<uint8_t *>(malloc(size));
    compiler.cubin(program, reinterpret_cast<char *>(bytes));
    *out = {bytes, size};
  });
}

char *module_load(const uint8_t *cubin, ct_module *out) noexcept {
  return guarded([&] {
    bind_device();
    CUmodule module = nullptr;
    Driver::shared().check(Driver::shared().load(&module, cubin), "loading kernels");
    *out = reinterpret_cast<ct_module>(module);
  });
}

char *module_kernel(ct_module module, const char *name, uint32_t shared_bytes, ct_kernel *out) noexcept {
  return guarded([&] {
    const auto &driver = Driver::shared();
    CUfunction function = nullptr;
    driver.check(driver.function(&function, reinterpret_cast<CUmodule>(module), name), name);
    // The limit belongs to the function, which others may launch with more.
    int limit = 0;
    driver.check(driver.attribute(&limit, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function), name);
    if (static_cast<int>(shared_bytes) > limit) {
      driver.check(driver.set_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                        static_cast<int>(shared_bytes)),
                   name);
    }
    *out = reinterpret_cast<ct_kernel>(function);
  });
}

char *launch(ct_kernel kernel, const ct_launch *how, const uint64_t *arguments, size_t argument_count) noexcept {
  return guarded([&] {
    bind_device();
    std::vector<CUtensorMap> maps(how->matrix_count);
    for (size_t i = 0; i < maps.size(); i++) maps[i] = tensor_map(how->matrices[i]);
    std::vector<void *> pointers;
    pointers.reserve(maps.size() + argument_count);
    for (auto &map : maps) pointers.push_back(&map);
    for (size_t i = 0; i < argument_count; i++) pointers.push_back(const_cast<uint64_t *>(arguments + i));
    CUlaunchAttribute attribute = {};
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    CUlaunchConfig config = {};
    config.gridDimX = how->grid[0];
    config.gridDimY = how->grid[1];
    config.gridDimZ = how->grid[2];
    config.blockDimX = how->threads;
    config.blockDimY = config.blockDimZ = 1;
    config.sharedMemBytes = how->shared_bytes;
    config.hStream = c10::cuda::getCurrentCUDAStream().stream();
    config.attrs = &attribute;
    config.numAttrs = how->overlaps ? 1 : 0;
    const auto &driver = Driver::shared();
    driver.check(driver.launch(&config, reinterpret_cast<CUfunction>(kernel), pointers.data(), nullptr), "launch");
  });
}

}  // namespace ops
