// Linear layers of some dozens of tokens on Hopper's matrix units. A block has some rows of the weight and a part of K. Both
// operands come to shared memory in steps of 64 numbers of K, through a ring: the weight's while the kernels in front still
// run, as far as the ring reaches, then those of all tokens.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// The ring of one block: a stage has a step of the weight, then of the tokens.
struct OperandRing {
  static constexpr int MOST_STAGES = 24;
  Gate filled[MOST_STAGES], emptied[MOST_STAGES];

  /// One thread fills the ring with steps of K from `first` on.
  __device__ __forceinline__ void fill(uint32 base, uint32 weight_bytes, uint32 stage_bytes, int stages, int first, int steps,
                                       const Boxes &x, const Boxes &weight) {
    const int row = blockIdx.x * (weight_bytes / 128);
    for (int i = 0; i < stages; i++) {
      filled[i].expect(stage_bytes);
      weight.copy_once(base + i * stage_bytes, (first + i) * 64, row, filled[i]);
    }
    wait_for_predecessor();
    for (int i = 0; i < stages; i++) x.copy(base + i * stage_bytes + weight_bytes, (first + i) * 64, 0, filled[i]);
    uint32 parity = 0;
    for (int i = stages, stage = 0; i < steps; i++) {
      emptied[stage].wait(parity);
      filled[stage].expect(stage_bytes);
      weight.copy_once(base + stage * stage_bytes, (first + i) * 64, row, filled[stage]);
      x.copy(base + stage * stage_bytes + weight_bytes, (first + i) * 64, 0, filled[stage]);
      if (++stage == stages) stage = 0, parity ^= 1;
    }
  }
};

/// A tile of 8 × 8 numbers, two of a row in each lane, turned around.
__device__ __forceinline__ uint32 transposed(uint32 tile) {
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %0;" : "+r"(tile));
  return tile;
}

/// What a block's product is: y [parts, M, N], whose parts sum up to x [M, K] · weightᵀ + bias for weight [N, K]; the first part
/// has the bias. Of the weight the block has 8·`columns` rows, and a part of K in `steps` of 64.
struct ProductOfBlock {
  const half_t *bias;
  half_t *y;
  int M, N, columns, steps;
  bool with_gelu;

  __device__ __forceinline__ uint32 weight_bytes() const { return columns * 1024; }
};

/// The sums of a block's steps, by eight warps. A stage of the ring has 8·`columns` rows of the weight, then TOKENS of x, whose
/// rows behind the last one give sums that nobody reads. Of every two steps each half of the warps takes one, for all tokens and
/// 64 rows of the weight. `stages` is even, and at least 4 where it is less than the steps.
template <int TOKENS>
__device__ __forceinline__ void sum_up_steps(OperandRing &ring, const BoxMemory &memory, int stages, const ProductOfBlock &product) {
  constexpr int HALVES = 2, EIGHTS = TOKENS / 8;
  using Products = ProductsOf64Rows<EIGHTS>;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, thread = threadIdx.x % 128, g = lane / 4, t = lane % 4;
  const int M = product.M, N = product.N, width = 8 * product.columns, first_column = blockIdx.x * width;
  const uint32 stage_bytes = product.weight_bytes() + TOKENS * 128;
  const int half = warp / 4, row = warp % 4 * 16;
  float added[2] = {};
  if (product.bias && blockIdx.y == 0) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int n = first_column + row + g + 8 * i;
      if (n < N) added[i] = to_float(product.bias[n]);
    }
  }
  // Rows behind the block's own give sums that nobody reads, too.
  float d[4 * EIGHTS] = {};
  uint32 parity = 0;
  for (int i = half, stage = half, before = half; i < product.steps; i += HALVES) {
    ring.filled[stage].wait(parity);
    const uint32 place = memory.address + stage * stage_bytes;
    const uint64 a = box_descriptor(place), b = box_descriptor(place + product.weight_bytes());
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; k++) Products::add(d, a + 2 * k, b + 2 * k);
    commit_products();
    if (i > half) {
      wait_for_products_but<1>();
      if (thread == 0 && i - HALVES + stages < product.steps) ring.emptied[before].arrive();
    }
    before = stage;
    if ((stage += HALVES) >= stages) stage = half, parity ^= 1;
  }
  wait_for_products_but<0>();
  Products::settle(d);

  // The halves meet in shared memory.
  float4 *sums = reinterpret_cast<float4 *>(memory.bytes) + thread;
  asm volatile("bar.sync 1, %0;" ::"n"(128 * HALVES) : "memory");
  if (half == 1) {
#pragma unroll
    for (int j = 0; j < EIGHTS; j++) sums[j * 128] = make_float4(d[4 * j], d[4 * j + 1], d[4 * j + 2], d[4 * j + 3]);
  }
  asm volatile("bar.sync 1, %0;" ::"n"(128 * HALVES) : "memory");
  if (half == 1 || row >= width) return;
  half_t *const y = product.y + static_cast<long long>(blockIdx.y) * M * N;
  const int column = row + 2 * t, n = first_column + column;
#pragma unroll
  for (int j = 0; j < EIGHTS; j++) {
    const float4 other = sums[j * 128];
    float value[4] = {d[4 * j] + other.x + added[0], d[4 * j + 1] + other.y + added[0], d[4 * j + 2] + other.z + added[1],
                      d[4 * j + 3] + other.w + added[1]};
    if (product.with_gelu) {
      for (int i = 0; i < 4; i++) value[i] = gelu(value[i]);
    }
    // Two tokens of one column become two columns of one token.
    const uint32 upper = transposed(pack(value[0], value[1])), lower = transposed(pack(value[2], value[3]));
    const int token = 8 * j + g;
    half_t *own = y + static_cast<long long>(token) * N + n;
    if (token < M && n < N) store4(own, upper);
    if (token < M && column + 8 < width && n + 8 < N) store4(own + 8, lower);
  }
}

/// `ProductOfBlock` of M ≤ TOKENS, K a multiple of 128·parts, N even. GELU is for a single part. The boxes have 8·`columns` rows
/// of the weight, and TOKENS of x.
/// Grid: groups of 8·`columns` rows of the weight, parts; 288 threads. Shared memory: 1023 bytes, then the stages with room for
/// 64 rows where the last one begins, or as much as the sums of one half take.
/// Neither weight nor bias may be written by a kernel that the one in front of this overlaps with.
template <int TOKENS>
__device__ __forceinline__ void linear_wgmma(const Boxes &x, const Boxes &weight, int stages, const ProductOfBlock &product) {
  extern __shared__ __align__(128) unsigned char operands[];
  __shared__ OperandRing ring;
  const BoxMemory memory(operands);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool fills = warp == 8;
  if (fills && lane == 0) {
    for (int i = 0; i < stages; i++) ring.filled[i].begin(1), ring.emptied[i].begin(1);
    show_gates();
    weight.expect_use();
    x.expect_use();
  }
  __syncthreads();
  let_successor_start();
  if (fills) {
    if (lane == 0) {
      ring.fill(memory.address, product.weight_bytes(), product.weight_bytes() + TOKENS * 128, stages, blockIdx.y * product.steps,
                product.steps, x, weight);
    }
    return;
  }
  sum_up_steps<TOKENS>(ring, memory, stages, product);
}

#define LINEAR_WGMMA(TOKENS)                                                                                                   \
  extern "C" __global__ __launch_bounds__(288, 1) void linear_wgmma_##TOKENS(                                                  \
      const __grid_constant__ Boxes x, const __grid_constant__ Boxes weight, const half_t *bias, half_t *y, int M, int N,      \
      int K, int columns, int stages, int with_gelu) {                                                                         \
    linear_wgmma<TOKENS>(x, weight, stages,                                                                                    \
                         {bias, y, M, N, columns, K / 64 / static_cast<int>(gridDim.y), with_gelu != 0});                     \
  }
LINEAR_WGMMA(24)
LINEAR_WGMMA(32)
LINEAR_WGMMA(40)
LINEAR_WGMMA(48)
LINEAR_WGMMA(56)
LINEAR_WGMMA(64)
LINEAR_WGMMA(72)
LINEAR_WGMMA(96)
LINEAR_WGMMA(128)
LINEAR_WGMMA(144)
LINEAR_WGMMA(200)
#endif
