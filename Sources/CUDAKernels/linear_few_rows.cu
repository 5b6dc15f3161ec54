// Linear layers of few tokens, where time is what reading the weights takes. A block has 32 rows of the weight and a part
// of K, which passes through shared memory in steps of 128; 2 groups of warps have 16 rows each, and 4 warps of a group a
// quarter of every step. While the kernel in front still runs, as many weights are asked for as two blocks can hold.

__device__ __forceinline__ float gelu(float x) {
  const float inner = 0.7978845608f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.f + tanhf(inner));
}

/// y [parts, M, N], whose parts sum up to x [M, K] · weightᵀ + bias for weight [N, K]; the first part has the bias.
/// M ≤ 8·TILES, K a multiple of 128·parts, N even. GELU is for a single part. Grid: groups of 32 rows of the weight,
/// parts; 256 threads. Shared memory: STAGES · (32 + 8·TILES) rows of 136 numbers.
template <int TILES, int STAGES>
__device__ __forceinline__ void linear_few_rows(const half_t *x, const half_t *weight, const half_t *bias, half_t *y,
                                                int M, int N, int K, int with_gelu) {
  constexpr int DEPTH = 128, STRIDE = DEPTH + 8, STAGE = (32 + 8 * TILES) * STRIDE, AHEAD = STAGES - 1;
  extern __shared__ __align__(16) half_t stages[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int first_row = blockIdx.x * 32, share = K / gridDim.y, steps = share / DEPTH;
  const int row = threadIdx.x / 16, column = threadIdx.x % 16 * 8;
  weight += static_cast<long long>(first_row) * K + blockIdx.y * share + column;
  x += blockIdx.y * share + column;
  const auto load_weight = [&](int step) {
    half_t *target = stages + step % STAGES * STAGE + column;
    for (int r = row; r < 32; r += 16) {
      copy16_async(target + r * STRIDE, weight + static_cast<long long>(r) * K + step * DEPTH, step < steps && first_row + r < N);
    }
  };
  const auto load_x = [&](int step) {
    half_t *target = stages + step % STAGES * STAGE + 32 * STRIDE + column;
    for (int r = row; r < 8 * TILES; r += 16) copy16_async(target + r * STRIDE, x + r * K + step * DEPTH, step < steps && r < M);
    commit_copies();
  };
  for (int step = 0; step < AHEAD; step++) load_weight(step);
  let_successor_start();
  wait_for_predecessor();
  for (int step = 0; step < AHEAD; step++) load_x(step);

  float d[TILES][4] = {};
  const int own_row = warp % 2 * 16, quarter = warp / 2;
  for (int step = 0; step < steps; step++) {
    wait_for_copies_but<AHEAD - 1>();
    __syncthreads();
    load_weight(step + AHEAD);
    load_x(step + AHEAD);
    const half_t *tile = stages + step % STAGES * STAGE + quarter * 32;
    uint32 a[2][4];
    for (int half = 0; half < 2; half++) load_tiles(a[half], tile + (own_row + lane % 16) * STRIDE + half * 16 + lane / 16 * 8);
#pragma unroll
    for (int i = 0; i < TILES; i++) {
      uint32 b[4];
      load_tiles(b, tile + (32 + i * 8 + lane % 8) * STRIDE + lane / 8 * 8);
      multiply_tiles(d[i], a[0], b[0], b[1]);
      multiply_tiles(d[i], a[1], b[2], b[3]);
    }
  }

  // d is [rows of the weight, rows of x]; the quarters meet in shared memory.
  wait_for_copies();
  __syncthreads();
  constexpr int WIDTH = 33;
  float *sums = reinterpret_cast<float *>(stages);
  for (int i = 0; i < TILES; i++) {
    float *own = sums + (quarter * 8 * TILES + i * 8 + 2 * t) * WIDTH + own_row + g;
    own[0] = d[i][0], own[WIDTH] = d[i][1];
    own[8] = d[i][2], own[WIDTH + 8] = d[i][3];
  }
  __syncthreads();
  y += static_cast<long long>(blockIdx.y) * M * N;
  for (int i = threadIdx.x; i < M * 16; i += blockDim.x) {
    const int m = i / 16, n = i % 16 * 2;
    if (first_row + n >= N) continue;
    const bool biased = bias && blockIdx.y == 0;
    float left = biased ? to_float(bias[first_row + n]) : 0.f, right = biased ? to_float(bias[first_row + n + 1]) : 0.f;
    for (int part = 0; part < 4; part++) {
      const float *sum = sums + (part * 8 * TILES + m) * WIDTH + n;
      left += sum[0], right += sum[1];
    }
    if (with_gelu) left = gelu(left), right = gelu(right);
    store4(y + static_cast<long long>(m) * N + first_row + n, pack(left, right));
  }
}

#define LINEAR_FEW_ROWS(TILES, STAGES)                                                                               \
  extern "C" __global__ __launch_bounds__(256) void linear_few_rows_##TILES(                                         \
      const half_t *x, const half_t *weight, const half_t *bias, half_t *y, int M, int N, int K, int with_gelu) {    \
    linear_few_rows<TILES, STAGES>(x, weight, bias, y, M, N, K, with_gelu);                                          \
  }
LINEAR_FEW_ROWS(1, 10)
LINEAR_FEW_ROWS(2, 9)
LINEAR_FEW_ROWS(3, 7)
LINEAR_FEW_ROWS(4, 6)
