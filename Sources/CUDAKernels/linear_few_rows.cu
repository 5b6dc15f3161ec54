// Linear layers of few tokens, where time is what reading the weights takes. A block has some rows of the weight and a part
// of K, all of which is on its way to shared memory while the kernels in front still run. Its warps share the tokens, 16
// each, and K.

/// What arrives in shared memory by bulk copies. Older GPUs copy 16 bytes at a time.
struct Arrivals {
#if __CUDA_ARCH__ >= 900
  Gate gate;

  /// For one thread; the others may use the gate after the block's next barrier.
  __device__ __forceinline__ void begin() {
    gate.begin(1);
    show_gates();
  }

  __device__ __forceinline__ void wait() { gate.wait(0); }

  /// Asks for `rows` rows of `width` numbers, `stride` apart in shared memory; all threads call it.
  __device__ __forceinline__ void fetch(half_t *target, int stride, const half_t *source, long long source_stride, int rows,
                                        int width) {
    if (threadIdx.x >= 32) return;
    if (threadIdx.x == 0) gate.expect(rows * width * 2);
    __syncwarp();
    for (int row = threadIdx.x; row < rows; row += 32) {
      gate.copy_once(static_cast<uint32>(__cvta_generic_to_shared(target + row * stride)), source + row * source_stride, width * 2);
    }
  }
#else
  __device__ __forceinline__ void begin() {}

  __device__ __forceinline__ void wait() {
    wait_for_copies();
    __syncthreads();
  }

  __device__ __forceinline__ void fetch(half_t *target, int stride, const half_t *source, long long source_stride, int rows,
                                        int width) {
    for (int i = threadIdx.x; i < rows * width / 8; i += blockDim.x) {
      const int row = i / (width / 8), column = i % (width / 8) * 8;
      copy16_async(target + row * stride + column, source + row * source_stride + column, true);
    }
  }
#endif
};

/// When a product waits for the kernel in front, and lets the next one start.
enum ProductOrder {
  /// Waits when its weights are on their way, and lets the next one start before.
  YIELDS_EARLY,
  /// The next kernel starts only when the one in front is done.
  YIELDS_LATE,
  /// Does not read what the kernel in front writes, nor those that it overlaps with, and waits for its end when all is done.
  WAITS_LAST
};

/// y [parts, M, N], whose parts sum up to x [M, K] · weightᵀ + bias for weight [N, K]; the first part has the bias.
/// M ≤ 16·TILES, K a multiple of 32·parts, N even. GELU is for a single part. SLICES warps share K for the same tokens, and
/// hold RING steps of x. Grid: groups of 8·COLUMNS rows of the weight, parts; 32·TILES·SLICES threads.
/// Shared memory: 8·COLUMNS rows of K / parts + 32 numbers, or 16·TILES·SLICES rows of 8·COLUMNS + 4 floats if that is more.
/// Neither weight nor bias may be written by a kernel that the one in front of this overlaps with.
template <int TILES, int SLICES, int COLUMNS, int RING>
__device__ __forceinline__ void linear_few_rows(const half_t *x, const half_t *weight, const half_t *bias, half_t *y,
                                                int M, int N, int K, int with_gelu, int order) {
  constexpr int WIDTH = 8 * COLUMNS, SUM_WIDTH = WIDTH + 4;
  extern __shared__ __align__(128) half_t slab[];
  __shared__ Arrivals arrivals;
  __shared__ float biases[WIDTH];
  // Rows lie 64 bytes more than a multiple of 128 apart, so that 8 lanes read 16 bytes each from different banks.
  const int share = K / gridDim.y, stride = share + 32, first_row = blockIdx.x * WIDTH;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  if (threadIdx.x == 0) arrivals.begin();
  if (threadIdx.x < WIDTH) {
    const int n = first_row + threadIdx.x;
    biases[threadIdx.x] = bias && blockIdx.y == 0 && n < N ? to_float(bias[n]) : 0.f;
  }
  __syncthreads();
  arrivals.fetch(slab, stride, weight + static_cast<long long>(first_row) * K + blockIdx.y * share, K, min(WIDTH, N - first_row), share);
  if (order != YIELDS_LATE) let_successor_start();
  if (order != WAITS_LAST) wait_for_predecessor();
  if (order == YIELDS_LATE) let_successor_start();

  // A step is 32 numbers of K, 8 of them in each of the four lanes of a row: their order is the same for x and the weight.
  const int tile = warp % TILES, slice = warp / TILES, steps = share / 32;
  // Rows behind the last one give sums that nobody reads.
  const half_t *upper = x + static_cast<long long>(min(tile * 16 + g, M - 1)) * K + blockIdx.y * share + 8 * t;
  const half_t *lower = x + static_cast<long long>(min(tile * 16 + g + 8, M - 1)) * K + blockIdx.y * share + 8 * t;
  uint4 ring[RING][2];
#pragma unroll
  for (int i = 0; i < RING; i++) {
    const int step = slice + i * SLICES;
    if (step < steps) ring[i][0] = load16(upper + step * 32), ring[i][1] = load16(lower + step * 32);
  }
  float d[COLUMNS][4] = {};
  arrivals.wait();
  const half_t *rows = slab + g * stride + 8 * t;
  for (int start = slice; start < steps; start += RING * SLICES) {
#pragma unroll
    for (int i = 0; i < RING; i++) {
      const int step = start + i * SLICES;
      if (step >= steps) break;
      const uint32 a[2][4] = {{ring[i][0].x, ring[i][1].x, ring[i][0].y, ring[i][1].y},
                              {ring[i][0].z, ring[i][1].z, ring[i][0].w, ring[i][1].w}};
#pragma unroll
      for (int j = 0; j < COLUMNS; j++) {
        const uint4 b = load16(rows + j * 8 * stride + step * 32);
        multiply_tiles(d[j], a[0], b.x, b.y);
        multiply_tiles(d[j], a[1], b.z, b.w);
      }
      const int later = step + RING * SLICES;
      if (later < steps) ring[i][0] = load16(upper + later * 32), ring[i][1] = load16(lower + later * 32);
    }
  }

  // The slices meet in shared memory.
  __syncthreads();
  float *sums = reinterpret_cast<float *>(slab);
#pragma unroll
  for (int j = 0; j < COLUMNS; j++) {
    float *own = sums + (slice * 16 * TILES + tile * 16 + g) * SUM_WIDTH + j * 8 + 2 * t;
    *reinterpret_cast<float2 *>(own) = make_float2(d[j][0], d[j][1]);
    *reinterpret_cast<float2 *>(own + 8 * SUM_WIDTH) = make_float2(d[j][2], d[j][3]);
  }
  __syncthreads();
  y += static_cast<long long>(blockIdx.y) * M * N + first_row;
  for (int i = threadIdx.x; i < M * (WIDTH / 2); i += blockDim.x) {
    const int m = i / (WIDTH / 2), n = i % (WIDTH / 2) * 2;
    if (first_row + n >= N) continue;
    float left = biases[n], right = biases[n + 1];
#pragma unroll
    for (int part = 0; part < SLICES; part++) {
      const float2 sum = *reinterpret_cast<const float2 *>(sums + (part * 16 * TILES + m) * SUM_WIDTH + n);
      left += sum.x, right += sum.y;
    }
    if (with_gelu) left = gelu(left), right = gelu(right);
    store4(y + static_cast<long long>(m) * N + n, pack(left, right));
  }
  if (order == WAITS_LAST) wait_for_predecessor();
}

#define LINEAR_FEW_ROWS(NAME, TILES, SLICES, COLUMNS, RING, BLOCKS)                                                   \
  extern "C" __global__ __launch_bounds__(32 * TILES * SLICES, BLOCKS) void NAME##_##TILES##_##COLUMNS(               \
      const half_t *x, const half_t *weight, const half_t *bias, half_t *y, int M, int N, int K, int with_gelu,       \
      int order) {                                                                                                    \
    linear_few_rows<TILES, SLICES, COLUMNS, RING>(x, weight, bias, y, M, N, K, with_gelu, order);                     \
  }
#define LINEAR_FEW_ROWS_OF_ALL_WIDTHS(NAME, TILES, SLICES, RING, BLOCKS) \
  LINEAR_FEW_ROWS(NAME, TILES, SLICES, 2, RING, BLOCKS)                  \
  LINEAR_FEW_ROWS(NAME, TILES, SLICES, 3, RING, BLOCKS)                  \
  LINEAR_FEW_ROWS(NAME, TILES, SLICES, 4, RING, BLOCKS)                  \
  LINEAR_FEW_ROWS(NAME, TILES, SLICES, 5, RING, BLOCKS)
LINEAR_FEW_ROWS_OF_ALL_WIDTHS(linear_few_rows, 1, 8, 4, 3)
LINEAR_FEW_ROWS_OF_ALL_WIDTHS(linear_few_rows, 2, 4, 8, 2)
LINEAR_FEW_ROWS_OF_ALL_WIDTHS(linear_few_rows, 3, 4, 4, 1)
LINEAR_FEW_ROWS_OF_ALL_WIDTHS(linear_few_rows, 4, 4, 4, 1)
// Where multiprocessors have few blocks, each may have more registers, and ask for more of x at once.
LINEAR_FEW_ROWS_OF_ALL_WIDTHS(linear_few_rows_roomy, 1, 8, 6, 2)
LINEAR_FEW_ROWS_OF_ALL_WIDTHS(linear_few_rows_roomy, 2, 4, 12, 1)
