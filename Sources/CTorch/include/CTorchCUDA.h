// The CUDA-only part of the C ABI: graphs, and kernels that are compiled at run time.
//
// A table again, filled in by the dynamic library `TorchShimCUDA`, which is opened only where there is a GPU. Functions
// return NULL, or a message in malloc'ed memory that the caller frees.
#ifndef CTORCH_CUDA_H
#define CTORCH_CUDA_H

#include "CTorch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_graph_impl *ct_graph;
typedef struct ct_module_impl *ct_module;
typedef struct ct_kernel_impl *ct_kernel;
typedef struct ct_event_impl *ct_event;

/// What is known of the current device.
typedef struct {
  char name[256];
  /// 90 is Hopper.
  int32_t compute_capability;
  int32_t multiprocessors;
  int32_t shared_memory_per_block;
  int64_t memory_bytes;
} ct_gpu;

/// A matrix of 16-bit numbers, row after row, that kernels copy in boxes of 64 columns (TMA). Rows of a box are 128 bytes in
/// shared memory, in the order that Hopper's matrix units read without bank conflicts; what lies outside is zero.
typedef struct {
  void *address;
  /// So many matrices one behind the other, of which a kernel names one; or 0 for a single one that needs no name.
  uint64_t count;
  uint64_t rows;
  uint64_t columns;
  /// So many rows from where one matrix begins to where the next one does: `rows`, or more where rows between them are none
  /// of theirs.
  uint64_t apart;
  uint32_t box_rows;
} ct_matrix;

/// Blocks of threads, and what a launch needs besides.
typedef struct {
  uint32_t grid[3];
  uint32_t threads;
  uint32_t shared_bytes;
  /// Starts while the kernel before it still runs (programmatic dependent launch); the kernel waits by itself.
  bool overlaps;
  /// The kernel's first parameters, each a `CUtensorMap`.
  const ct_matrix *matrices;
  uint32_t matrix_count;
} ct_launch;

/// The bytes of a compiled kernel, in malloc'ed memory.
typedef struct {
  uint8_t *bytes;
  size_t count;
} ct_cubin;

#define CT_OP(name, ...) char *(*name)(__VA_ARGS__);
typedef struct {
  uint32_t version;
  uint32_t byte_count;
#include "CTorchCUDAOperations.inc"
} CTorchCUDAAPI;
#undef CT_OP

/// Raised with every change of the table, or of what it takes.
enum { CT_CUDA_API_VERSION = 4 };

/// Opens TorchShimCUDA; `ct_load` has opened libtorch_cuda before.
char *ct_load_cuda(const char *const *shim_directories, const CTorchCUDAAPI **api);

#ifdef __cplusplus
}
#endif

#endif
