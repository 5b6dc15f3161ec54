// Linear layers of some dozens to some hundreds of tokens, where reading the weights still takes longer than the products.
// A block has BM rows of x, BN rows of the weight and a part of K, which passes through shared memory in steps of 64. Of
// its 8 warps one half has the upper rows of x, one half the first columns, and one half the first 32 of every step.
// While the kernel in front still runs, weights are asked for. MT, NT and RANKS come from the compiler's options.
constexpr int BM = 32 * MT, BN = 16 * NT, DEPTH = 64;
// Steps that are under way or in use. A step of x comes out of the cache, one of the weight out of memory.
constexpr int X_STAGES = 4, WEIGHT_STAGES = NT <= 4 ? 8 : 6;
// Sums lie this far apart, so that a warp's pairs lie in different banks.
constexpr int SUM_ROW = BN + 8;

#if __CUDA_ARCH__ >= 900
#define TOGETHER __cluster_dims__(1, RANKS, 1)
#else
#define TOGETHER
#endif

/// Waits for all threads of the blocks that share a product, and lets them see each other's shared memory.
__device__ __forceinline__ void meet() {
#if __CUDA_ARCH__ >= 900
  if (RANKS > 1) {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
    return;
  }
#endif
  __syncthreads();
}

/// Four numbers of this block's shared memory, or of another that shares the product.
__device__ __forceinline__ float4 load_sums(const float *address, uint32 rank) {
#if __CUDA_ARCH__ >= 900
  if (RANKS > 1) {
    float4 value;
    uint32 remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(remote)
                 : "r"(static_cast<uint32>(__cvta_generic_to_shared(address))), "r"(rank));
    asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "r"(remote)
                 : "memory");
    return value;
  }
#endif
  return *reinterpret_cast<const float4 *>(address);
}

/// y [parts, M, N], whose parts sum up to x [M, K] · weightᵀ + bias for weight [N, K]; the first part has the bias.
/// K a multiple of 64·RANKS·parts, N of 8. GELU is for a single part. Grid: groups of BN rows of the weight,
/// RANKS·parts, groups of BM rows of x; 256 threads. RANKS neighbours along y sum up one part.
/// Shared memory: X_STAGES·BM + WEIGHT_STAGES·BN rows, or 2·BM·SUM_ROW floats if that is more.
extern "C" __global__ TOGETHER __launch_bounds__(256) void linear_tiles(const half_t *x, const half_t *weight,
                                                                        const half_t *bias, half_t *y, int M, int N,
                                                                        int K, int with_gelu) {
  extern __shared__ __align__(16) half_t stages[];
  half_t *weights = stages, *xs = stages + WEIGHT_STAGES * BN * ROW;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int first_n = blockIdx.x * BN, first_m = blockIdx.z * BM;
  const int share = K / gridDim.y, steps = share / DEPTH;
  const int row = threadIdx.x / 8, column = threadIdx.x % 8 * 8;
  weight += static_cast<long long>(first_n) * K + blockIdx.y * share + column;
  x += static_cast<long long>(first_m) * K + blockIdx.y * share + column;
  const auto load_weight = [&](int step) {
    half_t *target = weights + step % WEIGHT_STAGES * (BN * ROW) + column;
    for (int r = row; r < BN; r += 32) {
      copy16_async(target + r * ROW, weight + static_cast<long long>(r) * K + step * DEPTH, step < steps && first_n + r < N);
    }
  };
  const auto load_x = [&](int step) {
    half_t *target = xs + step % X_STAGES * (BM * ROW) + column;
#pragma unroll
    for (int r = row; r < BM; r += 32) {
      copy16_async(target + r * ROW, x + static_cast<long long>(r) * K + step * DEPTH, step < steps && first_m + r < M);
    }
    commit_copies();
  };
  for (int step = 0; step < WEIGHT_STAGES - 1; step++) load_weight(step);
  let_successor_start();
  wait_for_predecessor();
  for (int step = 0; step < X_STAGES - 1; step++) load_x(step);

  float d[MT][NT][4] = {};
  const int upper = warp % 2 * 16 * MT, left = warp / 2 % 2 * 8 * NT, half = warp / 4;
  for (int step = 0; step < steps; step++) {
    wait_for_copies_but<X_STAGES - 2>();
    __syncthreads();
    load_weight(step + WEIGHT_STAGES - 1);
    load_x(step + X_STAGES - 1);
    const half_t *own_weights = weights + step % WEIGHT_STAGES * (BN * ROW) + left * ROW + half * 32;
    const half_t *own_x = xs + step % X_STAGES * (BM * ROW) + upper * ROW + half * 32;
    uint32 b[NT][4];
#pragma unroll
    for (int j = 0; j < NT; j++) load_tiles(b[j], own_weights + (j * 8 + lane % 8) * ROW + lane / 8 * 8);
#pragma unroll
    for (int i = 0; i < MT; i++) {
#pragma unroll
      for (int k = 0; k < 2; k++) {
        uint32 a[4];
        load_tiles(a, own_x + (i * 16 + lane % 16) * ROW + k * 16 + lane / 16 * 8);
#pragma unroll
        for (int j = 0; j < NT; j++) multiply_tiles(d[i][j], a, b[j][2 * k], b[j][2 * k + 1]);
      }
    }
  }

  // The halves of the steps, and the blocks that share the product, meet in shared memory.
  wait_for_copies();
  __syncthreads();
  float *sums = reinterpret_cast<float *>(stages);
#pragma unroll
  for (int i = 0; i < MT; i++) {
#pragma unroll
    for (int j = 0; j < NT; j++) {
      float *own = sums + (half * BM + upper + i * 16 + g) * SUM_ROW + left + j * 8 + 2 * t;
      *reinterpret_cast<float2 *>(own) = make_float2(d[i][j][0], d[i][j][1]);
      *reinterpret_cast<float2 *>(own + 8 * SUM_ROW) = make_float2(d[i][j][2], d[i][j][3]);
    }
  }
  meet();
  // Neighbours along y have ranks in their order.
  const int rank = blockIdx.y % RANKS, part = blockIdx.y / RANKS;
  y += (static_cast<long long>(part) * M + first_m) * N + first_n;
  constexpr int GROUPS = BN / 8;
  for (int i = rank * 256 + threadIdx.x; i < min(BM, M - first_m) * GROUPS; i += 256 * RANKS) {
    const int m = i / GROUPS, n = i % GROUPS * 8;
    if (first_n + n >= N) continue;
    float values[8] = {};
    if (bias && part == 0) unpack(load16(bias + first_n + n), values);
#pragma unroll
    for (int k = 0; k < 2 * RANKS; k++) {
      const float *sum = sums + (k % 2 * BM + m) * SUM_ROW + n;
      const float4 low = load_sums(sum, k / 2), high = load_sums(sum + 4, k / 2);
      values[0] += low.x, values[1] += low.y, values[2] += low.z, values[3] += low.w;
      values[4] += high.x, values[5] += high.y, values[6] += high.z, values[7] += high.w;
    }
    if (with_gelu) {
      for (int c = 0; c < 8; c++) values[c] = gelu(values[c]);
    }
    store16(y + static_cast<long long>(m) * N + n, pack(values));
  }
  // Others may still read what lies here.
  if (RANKS > 1) meet();
}
