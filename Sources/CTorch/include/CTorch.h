// The C ABI between Swift and libtorch.
//
// Nothing here links against libtorch. The functions are entries of a table, `CTorchAPI`, that the dynamic library
// `TorchShim` fills in; `ct_load` opens libtorch and that library on first use. So a program that only prints its help
// never pays for libtorch, and a missing libtorch is an error message instead of a failure of the loader.
//
// Every operation is one `CT_OP` line in CTorchOperations.inc, one `OP` line in TorchShim, one Swift method.
// It returns NULL, or a message in malloc'ed memory that the caller frees.
#ifndef CTORCH_H
#define CTORCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>


#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_tensor_impl *ct_tensor;
typedef struct ct_archive_impl *ct_archive;
typedef struct ct_guard_impl *ct_guard;
typedef struct ct_group_impl *ct_group;
typedef struct ct_gradient_sum_impl *ct_gradient_sum;

/// The numbers are those of c10::ScalarType; TorchShim checks them with static_assert.
typedef enum : int8_t {
  CT_UINT8 = 0,
  CT_INT8 = 1,
  CT_INT16 = 2,
  CT_INT32 = 3,
  CT_INT64 = 4,
  CT_FLOAT16 = 5,
  CT_FLOAT32 = 6,
  CT_FLOAT64 = 7,
  CT_BOOL = 11,
  CT_BFLOAT16 = 15,
} ct_dtype;

/// index −1 is the CPU, 0 and up are CUDA devices.
typedef struct {
  int32_t index;
} ct_device;

typedef struct {
  bool contiguous;
  bool channels_last;
} ct_layout;

/// Called when libtorch has released memory that `from_memory` lent to it.
typedef void (*ct_release)(void *context);

/// The gradients of an operation's inputs from those of its outputs. Gradients that are absent are NULL on both sides;
/// those given are lent, those returned are handed over. Returns NULL or a message in malloc'ed memory.
typedef char *(*ct_backward)(
    void *context, const ct_tensor *gradients, size_t count, ct_tensor *outs, size_t out_count);

/// Does the units from `begin` to before `end`; called by several threads at once.
typedef void (*ct_work)(void *context, int64_t begin, int64_t end);

/// Settings of one step of AdamW.
typedef struct {
  double rate;
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;
} ct_adamw;

#define CT_OP(name, ...) char *(*name)(__VA_ARGS__);
typedef struct {
  uint32_t version;
  uint32_t byte_count;
  const char *torch_version;
  void (*release)(ct_tensor tensor);
#include "CTorchOperations.inc"
} CTorchAPI;
#undef CT_OP

/// Raised with every change of the table.
enum { CT_API_VERSION = 1 };

/// Opens libtorch (its CUDA half too, where there is one and `cuda` says so) and TorchShim.
///
/// `torch_directories` and `shim_directories` are NULL-terminated lists of folders to look in, first match wins; after
/// them the loader's own search is tried. Thread-safe only under the caller's lock.
char *ct_load(
    const char *const *torch_directories, const char *const *shim_directories, bool cuda,
    const CTorchAPI ** api);

/// The folder of the program or library that contains this code, in malloc'ed memory.
char *ct_own_directory(void);

/// The folder that `make setup` filled when this program was built; it may be gone on another machine.
const char *ct_build_torch_directory(void);

/// One pointer a thread, for the scope that collects the thread's first error.
void ** ct_thread_slot(void);

#ifdef __cplusplus
}
#endif

#endif
