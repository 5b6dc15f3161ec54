// What all kernels use: 16-bit numbers, products of matrix tiles, sums over a block.
// HALF_IS_BFLOAT16 says which 16-bit type the program is compiled for; SILU_IS_EXACT, which training defines, that SiLU is to
// be no further off than float32 makes it. All sums are made in float32.
typedef unsigned short half_t;
typedef unsigned int uint32;
typedef unsigned long long uint64;

__device__ __forceinline__ float to_float(half_t value) {
#if HALF_IS_BFLOAT16
  return __uint_as_float(static_cast<uint32>(value) << 16);
#else
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value));
  return result;
#endif
}

/// Two numbers in one register, the first in the low half.
__device__ __forceinline__ uint32 pack(float first, float second) {
  uint32 result;
#if HALF_IS_BFLOAT16
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
#else
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
#endif
  return result;
}

__device__ __forceinline__ half_t to_half(float value) { return static_cast<half_t>(pack(value, 0.f) & 0xffffu); }
__device__ __forceinline__ float first(uint32 pair) { return to_float(static_cast<half_t>(pair & 0xffffu)); }
__device__ __forceinline__ float second(uint32 pair) { return to_float(static_cast<half_t>(pair >> 16)); }

__device__ __forceinline__ void unpack(const uint4 &packed, float *values) {
  values[0] = first(packed.x), values[1] = second(packed.x);
  values[2] = first(packed.y), values[3] = second(packed.y);
  values[4] = first(packed.z), values[5] = second(packed.z);
  values[6] = first(packed.w), values[7] = second(packed.w);
}

__device__ __forceinline__ uint4 pack(const float *values) {
  return make_uint4(pack(values[0], values[1]), pack(values[2], values[3]), pack(values[4], values[5]),
                    pack(values[6], values[7]));
}

__device__ __forceinline__ uint4 load16(const half_t *address) { return *reinterpret_cast<const uint4 *>(address); }
__device__ __forceinline__ void store16(half_t *address, uint4 value) { *reinterpret_cast<uint4 *>(address) = value; }
__device__ __forceinline__ uint32 load4(const half_t *address) { return *reinterpret_cast<const uint32 *>(address); }
__device__ __forceinline__ void store4(half_t *address, uint32 value) { *reinterpret_cast<uint32 *>(address) = value; }

/// Eight numbers at an address that is a multiple of 16 bytes if `aligned`, else of 4.
__device__ __forceinline__ uint4 load16(const half_t *address, bool aligned) {
  if (aligned) return load16(address);
  return make_uint4(load4(address), load4(address + 2), load4(address + 4), load4(address + 6));
}

/// Copies eight numbers to shared memory in the background, or writes zeros.
__device__ __forceinline__ void copy16_async(half_t *target, const half_t *source, bool inside) {
  const uint32 address = static_cast<uint32>(__cvta_generic_to_shared(target));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(inside ? 16 : 0) : "memory");
}

/// Copies 4 bytes to shared memory in the background.
__device__ __forceinline__ void copy4_async(uint32 *target, const half_t *source) {
  const uint32 address = static_cast<uint32>(__cvta_generic_to_shared(target));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(address), "l"(source) : "memory");
}

/// Copies eight numbers from an address that is a multiple of 16 bytes if `aligned`, else of 4.
__device__ __forceinline__ void copy16_async(half_t *target, const half_t *source, bool inside, bool aligned) {
  if (aligned) return copy16_async(target, source, inside);
  const uint32 address = static_cast<uint32>(__cvta_generic_to_shared(target));
#pragma unroll
  for (int i = 0; i < 4; i++) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address + 4 * i), "l"(source + 2 * i), "r"(inside ? 4 : 0)
                 : "memory");
  }
}

/// Ends a group of copies.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most the last `GROUPS` groups of copies are under way.
template <int GROUPS>
__device__ __forceinline__ void wait_for_copies_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ __forceinline__ float reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

__device__ __forceinline__ float silu(float x) { return x * reciprocal(1.f + __expf(-x)); }

/// SiLU of two numbers with fewer special functions, which are what often takes longest.
__device__ __forceinline__ void silu_of_two(float &x, float &y) {
#if HALF_IS_BFLOAT16 && !SILU_IS_EXACT
  // x / 2·(1 + tanh(x / 2)), off by |x| / 4096 at the most: an eighth of what bfloat16 rounds x itself by.
  x *= 0.5f, y *= 0.5f;
  float a, b;
  asm("tanh.approx.f32 %0, %1;" : "=f"(a) : "f"(x));
  asm("tanh.approx.f32 %0, %1;" : "=f"(b) : "f"(y));
  x += x * a, y += y * b;
#else
  // With one reciprocal. Below −44, where SiLU is zero but for 1e-17, the product of the divisors would overflow.
  const float a = 1.f + __expf(fminf(-x, 44.f)), b = 1.f + __expf(fminf(-y, 44.f)), c = reciprocal(a * b);
  x *= b * c, y *= a * c;
#endif
}
__device__ __forceinline__ float softplus(float x) { return x > 20.f ? x : log1pf(__expf(x)); }

__device__ __forceinline__ float gelu(float x) {
  const float inner = 0.7978845608f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.f + tanhf(inner));
}

/// What numbers up to `top` are divided by so that they fit 8 bits (e4m3, up to 448).
__device__ __forceinline__ float scale_of_8_bits(float top) { return fmaxf(top, 1e-12f) / 448.f; }

/// Eight numbers times `factor`, in 8 bits (e4m3). Only from compute capability 8.9 on.
__device__ __forceinline__ uint2 pack_to_8(const float *values, float factor) {
  unsigned short pairs[4] = {};
#if __CUDA_ARCH__ >= 890
  for (int i = 0; i < 4; i++) {
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pairs[i]) : "f"(values[2 * i + 1] * factor), "f"(values[2 * i] * factor));
  }
#endif
  return make_uint2(pairs[0] | static_cast<uint32>(pairs[1]) << 16, pairs[2] | static_cast<uint32>(pairs[3]) << 16);
}

/// Waits until the kernel before this one has written what it writes (programmatic dependent launch).
__device__ __forceinline__ void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Lets the next kernel start; it waits by itself for what this one writes.
__device__ __forceinline__ void let_successor_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#if __CUDA_ARCH__ >= 900
#define CLUSTER(BLOCKS) __cluster_dims__(BLOCKS, 1, 1)
#else
#define CLUSTER(BLOCKS)
#endif

/// Neighbouring blocks that work together, from Hopper on; elsewhere each is alone.
template <int BLOCKS>
struct Cluster {
  static __device__ __forceinline__ void arrive() {
#if __CUDA_ARCH__ >= 900
    if (BLOCKS > 1) {
      asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
      return;
    }
#endif
    __syncthreads();
  }

  static __device__ __forceinline__ void wait() {
#if __CUDA_ARCH__ >= 900
    if (BLOCKS > 1) asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
  }

#if __CUDA_ARCH__ >= 900
  /// What has the same place in another block's shared memory.
  static __device__ __forceinline__ uint32 address(const void *place, int block) {
    uint32 address = static_cast<uint32>(__cvta_generic_to_shared(place));
    asm("mapa.shared::cluster.u32 %0, %0, %1;" : "+r"(address) : "r"(block));
    return address;
  }
#endif

  static __device__ __forceinline__ float2 read(const float2 *place, int block) {
#if __CUDA_ARCH__ >= 900
    if (BLOCKS > 1) {
      float2 value;
      asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "r"(address(place, block)) : "memory");
      return value;
    }
#endif
    return *place;
  }

  static __device__ __forceinline__ void write(float4 *place, int block, float4 value) {
#if __CUDA_ARCH__ >= 900
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address(place, block)), "f"(value.x), "f"(value.y),
                 "f"(value.z), "f"(value.w)
                 : "memory");
#endif
  }
};

// Products of tiles. In a warp, `g` = lane / 4 names a row of A and D and a column of B, `t` = lane % 4 a pair.
// A is 16 × 16: a[0] = (g, 2t), a[1] = (g + 8, 2t), a[2] = (g, 2t + 8), a[3] = (g + 8, 2t + 8), each with its right
// neighbour. B is 16 × 8: b[0] = (2t, g), b[1] = (2t + 8, g), each with its lower neighbour.
// D is 16 × 8: d[0], d[1] = (g, 2t), (g, 2t + 1); d[2], d[3] = the same of row g + 8.
__device__ __forceinline__ void multiply_tiles(float *d, const uint32 *a, uint32 b0, uint32 b1) {
#if HALF_IS_BFLOAT16
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#else
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#endif
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8 × 8 tiles; lanes 0–7 name the rows of the first, 8–15 of the second, and so on.
__device__ __forceinline__ void load_tiles(uint32 *r, const half_t *row) {
  const uint32 address = static_cast<uint32>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

/// Four 8 × 8 tiles, each transposed; lanes 0–7 name the rows of the first, 8–15 of the second, and so on. All lie BYTES behind
/// what is named.
template <int BYTES = 0>
__device__ __forceinline__ void load_tiles_transposed(uint32 *r, const half_t *row) {
  const uint32 address = static_cast<uint32>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4 + %5];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address), "n"(BYTES));
}

/// Rows of 64 numbers in shared memory, eight more apart, so that a warp reads tiles without bank conflicts.
constexpr int ROW = 72;

/// The A operand of rows `row` … `row + 15`, columns `column` … `column + 15`.
__device__ __forceinline__ void load_a(uint32 *a, const half_t *tile, int row, int column) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const half_t *p = tile + (row + g) * ROW + column + 2 * t;
  a[0] = load4(p), a[1] = load4(p + 8 * ROW), a[2] = load4(p + 8), a[3] = load4(p + 8 * ROW + 8);
}

/// d += a · bᵀ for 16 rows of A, 64 long, and 8 rows of B that begin at `b`.
__device__ __forceinline__ void multiply_row_of_tiles(float *d, const uint32 (*a)[4], const half_t *b) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    uint32 tiles[4];
    load_tiles(tiles, b + lane % 8 * ROW + half * 32 + lane / 8 * 8);
    multiply_tiles(d, a[2 * half], tiles[0], tiles[1]);
    multiply_tiles(d, a[2 * half + 1], tiles[2], tiles[3]);
  }
}

/// The sum over the 4 lanes that share a row of D.
__device__ __forceinline__ float sum_of_four(float value) {
  value += __shfl_xor_sync(~0u, value, 1);
  return value + __shfl_xor_sync(~0u, value, 2);
}

__device__ __forceinline__ float sum_of_eight(float value) {
  value = sum_of_four(value);
  return value + __shfl_xor_sync(~0u, value, 4);
}

/// The largest number of a block of at most 1024 threads, a multiple of 32; `scratch` holds 32 numbers.
__device__ __forceinline__ float max_of_block(float value, float *scratch) {
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, step));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  for (int i = 0; i < blockDim.x / 32; i++) value = fmaxf(value, scratch[i]);
  __syncthreads();
  return value;
}

/// The sum over a block of at most 1024 threads, a multiple of 32; `scratch` holds 32 numbers.
__device__ __forceinline__ float sum_of_block(float value, float *scratch) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  const int warps = blockDim.x / 32;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.f;
  for (int i = 0; i < warps; i++) sum += scratch[i];
  __syncthreads();
  return sum;
}

/// The causal convolution and SiLU of two channels for 16 tokens: `store(i, pair)` gets those of token i.
template <typename Store>
__device__ __forceinline__ void convolve(const uint32 *rows, const float *weight, const float *bias, Store store) {
  const float4 w0 = *reinterpret_cast<const float4 *>(weight), w1 = *reinterpret_cast<const float4 *>(weight + 4);
  const float bias0 = bias[0], bias1 = bias[1];
#pragma unroll
  for (int i = 0; i < 16; i++) {
    float y0 = bias0 + w0.x * first(rows[i]) + w0.y * first(rows[i + 1]) + w0.z * first(rows[i + 2]) + w0.w * first(rows[i + 3]);
    float y1 = bias1 + w1.x * second(rows[i]) + w1.y * second(rows[i + 1]) + w1.z * second(rows[i + 2]) + w1.w * second(rows[i + 3]);
    silu_of_two(y0, y1);
    store(i, pack(y0, y1));
  }
}
