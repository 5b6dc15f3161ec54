// Attention inside a scale of up to 16 tokens and the product behind it, in one kernel of Hopper's matrix units. A step of that
// product's K is what one head gives: a block makes it by itself for the heads of its part, while its rows of the weight are on
// their way. Many blocks make the same, which takes less time than a kernel's end and the next one's start.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// Queries, keys and values of a head, in one sequence.
struct HeadOfTokens {
  /// Its first query; keys lie C behind, values 2·C.
  const half_t *queries;
  int C, n;

  __device__ __forceinline__ const half_t *row(int i) const { return queries + static_cast<long long>(min(i, n - 1)) * 3 * C; }
};

/// What one warp makes: attention of a head's tokens, into rows of a box that begin with `first_row`. `scale` is in powers of two.
__device__ __forceinline__ void attend(const HeadOfTokens &head, float scale, bool unit, unsigned char *box, int first_row) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // Of every 32 columns a lane has 8 next to each other, of queries and keys alike, so that sums do not see the order. Of
  // values it has 8 columns of 4 keys.
  uint4 q[2][2], k[2][2], v[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const half_t *row = head.row(i / 2 * 8 + g) + i % 2 * 32 + 8 * t;
    q[i / 2][i % 2] = load16(row), k[i / 2][i % 2] = load16(row + head.C);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) v[i] = load16(head.row(2 * t + i / 2 * 8 + i % 2) + 2 * head.C + 8 * g);
  float s[2][4] = {}, factors[2] = {scale, scale}, highest[2] = {-1e30f, -1e30f}, total[2] = {};
#pragma unroll
  for (int tile = 0; tile < 2; tile++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint32 low[4] = {q[0][i].x, q[1][i].x, q[0][i].y, q[1][i].y}, high[4] = {q[0][i].z, q[1][i].z, q[0][i].w, q[1][i].w};
      multiply_tiles(s[tile], low, k[tile][i].x, k[tile][i].y);
      multiply_tiles(s[tile], high, k[tile][i].z, k[tile][i].w);
    }
    if (unit) {
      const float factor = unit_factor(k[tile]);
      const float left = __shfl_sync(~0u, factor, 8 * t), right = __shfl_sync(~0u, factor, 8 * t + 4);
      s[tile][0] *= left, s[tile][1] *= right, s[tile][2] *= left, s[tile][3] *= right;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (tile * 8 + 2 * t + i % 2 >= head.n) s[tile][i] = -1e30f;
      highest[i / 2] = fmaxf(highest[i / 2], s[tile][i]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    if (unit) factors[half] *= unit_factor(q[half]);
    highest[half] = fmaxf(highest[half], __shfl_xor_sync(~0u, highest[half], 1));
    highest[half] = fmaxf(highest[half], __shfl_xor_sync(~0u, highest[half], 2));
  }
  uint32 weights[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float *pair = s[i / 2] + i % 2 * 2;
    const float left = exp2f((pair[0] - highest[i % 2]) * factors[i % 2]), right = exp2f((pair[1] - highest[i % 2]) * factors[i % 2]);
    total[i % 2] += left + right;
    weights[i] = pack(left, right);
  }
  // Columns 8·g + j are those of tile j: two neighbouring keys lie in two registers, and change places.
  float o[8][4] = {};
  const uint32 *keys[4] = {&v[0].x, &v[1].x, &v[2].x, &v[3].x};
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const uint32 order = j % 2 == 0 ? 0x5410 : 0x7632;
    multiply_tiles(o[j], weights, __byte_perm(keys[0][j / 2], keys[1][j / 2], order), __byte_perm(keys[2][j / 2], keys[3][j / 2], order));
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int token = g + 8 * half;
    const float factor = 1.f / sum_of_four(total[half]);
    if (token >= head.n) continue;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float values[8];
      for (int j = 0; j < 8; j++) values[j] = o[j][2 * half + i] * factor;
      *reinterpret_cast<uint4 *>(box + place_in_box(first_row + token, 2 * t + i)) = pack(values);
    }
  }
}

/// `ProductOfBlock` of what attention gives for qkv [R, n, 3·K] = [q, k, v], M = R·n ≤ TOKENS and n ≤ 16. A part of K has an even
/// number of heads, all of which are stages. Scores as in `attention_at_once`.
/// Grid: groups of 8·`columns` rows of the weight, parts; 416 threads. Shared memory: as `linear_wgmma`.
/// Neither weight nor bias may be written by a kernel that the one in front of this overlaps with.
template <int TOKENS>
__device__ __forceinline__ void attention_projection(const Boxes &weight, const half_t *qkv, const float *scales, float scale, int n,
                                                     int K, bool unit, const ProductOfBlock &product) {
  constexpr int WARPS = 12;
  extern __shared__ __align__(128) unsigned char operands[];
  __shared__ OperandRing ring;
  const BoxMemory memory(operands);
  const uint32 stage_bytes = product.weight_bytes() + TOKENS * 128;
  const int warp = threadIdx.x / 32, first_head = blockIdx.y * product.steps;
  if (threadIdx.x == WARPS * 32) {
    for (int i = 0; i < product.steps; i++) ring.filled[i].begin(1);
    show_gates();
    for (int i = 0; i < product.steps; i++) {
      ring.filled[i].expect(product.weight_bytes());
      weight.copy_once(memory.address + i * stage_bytes, (first_head + i) * 64, blockIdx.x * 8 * product.columns, ring.filled[i]);
    }
  }
  __syncthreads();
  let_successor_start();
  if (warp == WARPS) return;
  wait_for_predecessor();
  for (int job = warp; job < product.steps * (product.M / n); job += WARPS) {
    const int step = job % product.steps, sequence = job / product.steps, head = first_head + step;
    attend({qkv + static_cast<long long>(sequence) * n * 3 * K + head * 64, K, n}, 1.44269504f * (scales ? scales[head] : scale), unit,
           memory.bytes + step * stage_bytes + product.weight_bytes(), sequence * n);
  }
  show_to_matrix_units();
  if (warp >= 8) {
    asm volatile("bar.arrive 2, %0;" ::"n"(WARPS * 32) : "memory");
    return;
  }
  asm volatile("bar.sync 2, %0;" ::"n"(WARPS * 32) : "memory");
  sum_up_steps<TOKENS>(ring, memory, product.steps, product);
}

#define ATTENTION_PROJECTION(TOKENS)                                                                                           \
  extern "C" __global__ __launch_bounds__(416, 1) void attention_projection_##TOKENS(                                          \
      const __grid_constant__ Boxes weight, const half_t *qkv, const float *scales, float scale, const half_t *bias, half_t *y, \
      int n, int M, int N, int K, int columns, int unit) {                                                                     \
    attention_projection<TOKENS>(weight, qkv, scales, scale, n, K, unit != 0,                                                  \
                                 {bias, y, M, N, columns, K / 64 / static_cast<int>(gridDim.y), false});                       \
  }
ATTENTION_PROJECTION(24)
ATTENTION_PROJECTION(32)
#endif
