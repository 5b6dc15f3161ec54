// CUDA graphs, through libtorch's own class, so that its allocator keeps a graph's memory to the graph.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>
#include <optional>

#include "Operations.h"

struct ct_graph_impl {
  at::cuda::CUDAGraph graph;
  std::optional<c10::cuda::CUDAStream> before, own;
};

namespace ops {

/// A capture needs a stream of its own. What was queued before is waited for, as its memory may be used in the graph.
/// Graphs that share memory are captured on one stream: the allocator gives a stream only what was freed on it.
char *graph_begin(ct_graph shares_memory_with, ct_graph *out) noexcept {
  return guarded([&] {
    bind_device();
    auto graph = std::make_unique<ct_graph_impl>();
    const auto before = c10::cuda::getCurrentCUDAStream();
    before.synchronize();
    // Blocks that nobody uses are not given back while a capture is under way, and a capture cannot use them.
    c10::cuda::CUDACachingAllocator::emptyCache();
    graph->own = shares_memory_with ? *shares_memory_with->own : c10::cuda::getStreamFromPool();
    c10::cuda::setCurrentCUDAStream(*graph->own);
    try {
      const auto pool = shares_memory_with ? shares_memory_with->graph.pool() : at::cuda::MempoolId_t{0, 0};
      graph->graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    } catch (...) {
      c10::cuda::setCurrentCUDAStream(before);
      throw;
    }
    graph->before = before;
    *out = graph.release();
  });
}

char *graph_end(ct_graph graph) noexcept {
  return guarded([&] {
    const auto before = *graph->before;
    try {
      graph->graph.capture_end();
    } catch (...) {
      c10::cuda::setCurrentCUDAStream(before);
      throw;
    }
    c10::cuda::setCurrentCUDAStream(before);
  });
}

char *graph_replay(ct_graph graph) noexcept {
  return guarded([&] {
    bind_device();
    graph->graph.replay();
  });
}

char *graph_free(ct_graph graph) noexcept {
  return guarded([&] { delete graph; });
}

}  // namespace ops
