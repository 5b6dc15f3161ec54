// Linear layers of some dozens of tokens on Hopper's matrix units. A block has some rows of the weight and a part of K. Both
// operands come to shared memory in steps of 64 numbers of K, through a ring: the weight's while the kernels in front still
// run, as far as the ring reaches, then those of all tokens.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// The ring of one block: a stage has a step of the weight, then of the tokens.
template <int COLUMNS>
struct OperandRing {
  static constexpr int MOST_STAGES = 24;
  static constexpr uint32 WEIGHT_BYTES = COLUMNS * 1024;
  Gate filled[MOST_STAGES], emptied[MOST_STAGES];

  /// One thread fills the ring with steps of K from `first` on.
  __device__ __forceinline__ void fill(uint32 base, uint32 stage_bytes, int stages, int first, int steps, const Boxes &x,
                                       const Boxes &weight) {
    const int row = blockIdx.x * 8 * COLUMNS;
    for (int i = 0; i < stages; i++) {
      filled[i].expect(stage_bytes);
      weight.copy_once(base + i * stage_bytes, (first + i) * 64, row, filled[i]);
    }
    wait_for_predecessor();
    for (int i = 0; i < stages; i++) x.copy(base + i * stage_bytes + WEIGHT_BYTES, (first + i) * 64, 0, filled[i]);
    uint32 parity = 0;
    for (int i = stages, stage = 0; i < steps; i++) {
      emptied[stage].wait(parity);
      filled[stage].expect(stage_bytes);
      weight.copy_once(base + stage * stage_bytes, (first + i) * 64, row, filled[stage]);
      x.copy(base + stage * stage_bytes + WEIGHT_BYTES, (first + i) * 64, 0, filled[stage]);
      if (++stage == stages) stage = 0, parity ^= 1;
    }
  }
};

/// y [parts, M, N], whose parts sum up to x [M, K] · weightᵀ + bias for weight [N, K]; the first part has the bias.
/// M ≤ 64·`tiles`, K a multiple of 128·parts, N even. GELU is for a single part. Of every two steps each half of the warps
/// takes one. `stages` is even, and at least 4 where it is less than the steps. The boxes have 8·COLUMNS rows of the weight, and
/// M rows of x, rounded up to eights.
/// Grid: groups of 8·COLUMNS rows of the weight, parts; 256·tiles + 32 threads. Shared memory: 1023 bytes, then the stages with
/// room for 64·tiles rows behind the last one's weight, or as much as the sums of one half take.
/// Neither weight nor bias may be written by a kernel that the one in front of this overlaps with.
template <int COLUMNS>
__device__ __forceinline__ void linear_wgmma(const Boxes &x, const Boxes &weight, const half_t *bias, half_t *y, int M, int N,
                                             int K, int tiles, int stages, int with_gelu) {
  constexpr int HALVES = 2, WIDTH = 8 * COLUMNS;
  using Products = ProductsOf64Rows<COLUMNS>;
  extern __shared__ __align__(128) unsigned char operands[];
  __shared__ OperandRing<COLUMNS> ring;
  __shared__ float biases[WIDTH];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, thread = threadIdx.x % 128;
  const int steps = K / 64 / gridDim.y, first_column = blockIdx.x * WIDTH;
  const uint32 stage_bytes = ring.WEIGHT_BYTES + (M + 7) / 8 * 1024;
  const uint32 start = static_cast<uint32>(__cvta_generic_to_shared(operands)), base = (start + 1023) & ~1023u;
  const bool fills = warp == 4 * HALVES * tiles;
  if (fills && lane == 0) {
    for (int i = 0; i < stages; i++) ring.filled[i].begin(1), ring.emptied[i].begin(tiles);
    show_gates();
    weight.expect_use();
    x.expect_use();
  }
  if (threadIdx.x < WIDTH) {
    const int n = first_column + threadIdx.x;
    biases[threadIdx.x] = bias && blockIdx.y == 0 && n < N ? to_float(bias[n]) : 0.f;
  }
  __syncthreads();
  let_successor_start();
  if (fills) {
    if (lane == 0) ring.fill(base, stage_bytes, stages, blockIdx.y * steps, steps, x, weight);
    return;
  }

  // Rows behind the last token give sums that nobody reads.
  const int tile = warp / 4 % tiles, half = warp / 4 / tiles;
  float d[4 * COLUMNS] = {};
  uint32 parity = 0;
  for (int i = half, stage = half, before = half; i < steps; i += HALVES) {
    ring.filled[stage].wait(parity);
    const uint32 place = base + stage * stage_bytes;
    const uint64 b = box_descriptor(place), a = box_descriptor(place + ring.WEIGHT_BYTES + tile * 8192);
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; k++) Products::add(d, a + 2 * k, b + 2 * k);
    commit_products();
    if (i > half) {
      wait_for_products_but<1>();
      if (thread == 0 && i - HALVES + stages < steps) ring.emptied[before].arrive();
    }
    before = stage;
    if ((stage += HALVES) >= stages) stage = half, parity ^= 1;
  }
  wait_for_products_but<0>();
  Products::settle(d);

  // The halves meet in shared memory.
  float4 *sums = reinterpret_cast<float4 *>(operands + (base - start)) + tile * COLUMNS * 128 + thread;
  asm volatile("bar.sync 1, %0;" ::"r"(128 * HALVES * tiles) : "memory");
  if (half == 1) {
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) sums[j * 128] = make_float4(d[4 * j], d[4 * j + 1], d[4 * j + 2], d[4 * j + 3]);
  }
  asm volatile("bar.sync 1, %0;" ::"r"(128 * HALVES * tiles) : "memory");
  if (half == 1) return;
  const int g = lane / 4, t = lane % 4, row = tile * 64 + warp % 4 * 16 + g;
  y += static_cast<long long>(blockIdx.y) * M * N;
#pragma unroll
  for (int j = 0; j < COLUMNS; j++) {
    const int column = 8 * j + 2 * t, n = first_column + column;
    if (n >= N) break;
    const float4 other = sums[j * 128];
    const float left = biases[column], right = biases[column + 1];
    float value[4] = {d[4 * j] + other.x + left, d[4 * j + 1] + other.y + right, d[4 * j + 2] + other.z + left,
                      d[4 * j + 3] + other.w + right};
    if (with_gelu) {
      for (int i = 0; i < 4; i++) value[i] = gelu(value[i]);
    }
    half_t *own = y + static_cast<long long>(row) * N + n;
    if (row < M) store4(own, pack(value[0], value[1]));
    if (row + 8 < M) store4(own + 8ll * N, pack(value[2], value[3]));
  }
}

#define LINEAR_WGMMA(COLUMNS)                                                                                                  \
  extern "C" __global__ __launch_bounds__(544, 1) void linear_wgmma_##COLUMNS(                                                 \
      const __grid_constant__ Boxes x, const __grid_constant__ Boxes weight, const half_t *bias, half_t *y, int M, int N,      \
      int K, int tiles, int stages, int with_gelu) {                                                                           \
    linear_wgmma<COLUMNS>(x, weight, bias, y, M, N, K, tiles, stages, with_gelu);                                              \
  }
LINEAR_WGMMA(2)
LINEAR_WGMMA(3)
LINEAR_WGMMA(4)
LINEAR_WGMMA(5)
LINEAR_WGMMA(6)
LINEAR_WGMMA(7)
LINEAR_WGMMA(8)
#endif
