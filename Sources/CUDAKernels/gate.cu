// What threads and copies in the background meet at, from Hopper on.
#if __CUDA_ARCH__ >= 900
/// Counts arrivals, of threads and of bytes, phase after phase.
struct Gate {
  uint64 barrier;

  __device__ __forceinline__ uint32 address() { return static_cast<uint32>(__cvta_generic_to_shared(&barrier)); }

  __device__ __forceinline__ void begin(int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(arrivals) : "memory");
  }

  __device__ __forceinline__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address()) : "memory");
  }

  /// The warp's lanes have done their part.
  __device__ __forceinline__ void arrive_as_warp() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive();
  }

  __device__ __forceinline__ void wait(uint32 parity) {
    uint32 done = 0;
    while (!done) {
      asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                   : "=r"(done)
                   : "r"(address()), "r"(parity)
                   : "memory");
    }
  }

  /// Arrives, with bytes still to come.
  __device__ __forceinline__ void expect(uint32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()), "r"(bytes) : "memory");
  }

  /// Copies bytes that are expected, in the background.
  __device__ __forceinline__ void copy(uint32 target, const void *source, uint32 bytes) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(target),
                 "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(address())
                 : "memory");
  }

  /// The same of bytes that are not needed again soon: they leave the L2 cache before others.
  __device__ __forceinline__ void copy_once(uint32 target, const void *source, uint32 bytes) {
    asm volatile(
        "{.reg .b64 once;\ncreatepolicy.fractional.L2::evict_first.b64 once, 1.0;\n"
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], once;}" ::"r"(target),
        "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(address())
        : "memory");
  }

  /// Copies `bytes` in the background; arrives with them.
  __device__ __forceinline__ void fetch(uint32 target, const void *source, uint32 bytes) {
    expect(bytes);
    copy(target, source, bytes);
  }
};

/// A matrix whose boxes are copied, or several of them (`CUtensorMap`).
struct alignas(64) Boxes {
  unsigned char map[128];

  /// Its description is used soon.
  __device__ __forceinline__ void expect_use() const { asm volatile("prefetch.tensormap [%0];" ::"l"(this) : "memory"); }

  /// Copies the box that begins at a column and a row, whose bytes the gate expects.
  __device__ __forceinline__ void copy(uint32 target, int column, int row, Gate &gate) const {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(target),
                 "l"(this), "r"(column), "r"(row), "r"(gate.address())
                 : "memory");
  }

  /// The same of one of several matrices.
  __device__ __forceinline__ void copy(uint32 target, int column, int row, int matrix, Gate &gate) const {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(target),
                 "l"(this), "r"(column), "r"(row), "r"(matrix), "r"(gate.address())
                 : "memory");
  }

  /// The same of what is not needed again soon: it leaves the L2 cache before others.
  __device__ __forceinline__ void copy_once(uint32 target, int column, int row, Gate &gate) const {
    asm volatile(
        "{.reg .b64 once;\ncreatepolicy.fractional.L2::evict_first.b64 once, 1.0;\n"
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3}], [%4], "
        "once;}" ::"r"(target),
        "l"(this), "r"(column), "r"(row), "r"(gate.address())
        : "memory");
  }
};

/// Other threads, and copies, may use gates that have begun after the block's next barrier.
__device__ __forceinline__ void show_gates() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
#endif
