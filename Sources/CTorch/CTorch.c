#define _GNU_SOURCE
#include "CTorch.h"
#include "CTorchCUDA.h"

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __APPLE__
#define LIBRARY_SUFFIX ".dylib"
#else
#define LIBRARY_SUFFIX ".so"
#endif

static _Thread_local void *thread_slot = NULL;

void **ct_thread_slot(void) { return &thread_slot; }

const char *ct_build_torch_directory(void) { return MVAR_TORCH_DIRECTORY; }

char *ct_own_directory(void) {
  Dl_info info;
  if (!dladdr((const void *)&ct_own_directory, &info) || !info.dli_fname) return NULL;
  char *resolved = realpath(info.dli_fname, NULL);
  if (!resolved) resolved = realpath("/proc/self/exe", NULL);
  if (!resolved) return NULL;
  char *directory = strdup(dirname(resolved));
  free(resolved);
  return directory;
}

static void *open_library(const char *name, const char *const *directories, int flags) {
  char path[4096];
  for (; *directories; directories++) {
    snprintf(path, sizeof path, "%s/lib%s%s", *directories, name, LIBRARY_SUFFIX);
    void *handle = dlopen(path, flags);
    if (handle) return handle;
  }
  snprintf(path, sizeof path, "lib%s%s", name, LIBRARY_SUFFIX);
  return dlopen(path, flags);
}

char *ct_load(const char *const *torch_directories, const char *const *shim_directories, bool cuda,
              const CTorchAPI **api) {
  // Activations of tens of megabytes are allocated anew at every layer; with small pages the kernel's work on them takes
  // longer than a group norm. Read by libtorch's allocator at its first use; what the user set stays.
  setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
  if (!open_library("torch_cpu", torch_directories, RTLD_LAZY | RTLD_GLOBAL)) return strdup(dlerror());
  if (cuda) open_library("torch_cuda", torch_directories, RTLD_LAZY | RTLD_GLOBAL);
  void *shim = open_library("TorchShim", shim_directories, RTLD_LAZY | RTLD_LOCAL);
  if (!shim) return strdup(dlerror());
  const CTorchAPI *(*entry)(void) = (const CTorchAPI *(*)(void))dlsym(shim, "ct_api");
  if (!entry) return strdup(dlerror());
  const CTorchAPI *table = entry();
  if (table->version != CT_API_VERSION || table->byte_count != sizeof(CTorchAPI)) {
    return strdup("libTorchShim belongs to another build; build again");
  }
  *api = table;
  return NULL;
}

char *ct_load_cuda(const char *const *shim_directories, const CTorchCUDAAPI **api) {
  void *shim = open_library("TorchShimCUDA", shim_directories, RTLD_LAZY | RTLD_LOCAL);
  if (!shim) return strdup(dlerror());
  const CTorchCUDAAPI *(*entry)(void) = (const CTorchCUDAAPI *(*)(void))dlsym(shim, "ct_cuda_api");
  if (!entry) return strdup(dlerror());
  const CTorchCUDAAPI *table = entry();
  if (table->version != CT_CUDA_API_VERSION || table->byte_count != sizeof(CTorchCUDAAPI)) {
    return strdup("libTorchShimCUDA belongs to another build; build again");
  }
  *api = table;
  return NULL;
}
