// Attention inside a scale of up to 256 tokens: all keys and values of a head lie in shared memory at once, so that memory is
// waited for once. A block has one head of one sequence; each of its warps has 16 queries, or that many in each of some rounds.
/// out [R, n, H·64] = softmax(scale · q·kᵀ) · v for qkv [R, n, 3·H·64], n ≤ ALL.
///
/// `scales` [H] is the scale of each head; where it is null, `scale` is that of all. `unit` asks for division of queries
/// and keys by their lengths. Grid: groups of 16·WARPS·ROUNDS queries, heads, sequences. Shared memory: 16·WARPS·ROUNDS +
/// 2·ALL rows, and ALL floats.
template <int WARPS, int ROUNDS, int ALL>
__device__ __forceinline__ void attention_at_once(const half_t *qkv, half_t *out, const float *scales, float scale,
                                                  int n, int unit) {
  constexpr int THREADS = WARPS * 32, QUERIES = WARPS * 16 * ROUNDS;
  extern __shared__ __align__(16) half_t tiles[];
  half_t *queries = tiles, *keys = queries + QUERIES * ROW, *values = keys + ALL * ROW;
  float *key_factors = reinterpret_cast<float *>(values + ALL * ROW);
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.y, C = gridDim.y * 64, stride = 3 * C, first_query = blockIdx.x * QUERIES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // What lies behind the end has to be zeros, as products with zero weights have to be.
  const int padded = (n + KEYS - 1) / KEYS * KEYS, column = threadIdx.x % 8 * 8;
  const half_t *own = qkv + static_cast<long long>(blockIdx.z) * n * stride + head * 64 + column;
  for (int row = threadIdx.x / 8; row < QUERIES; row += THREADS / 8) {
    copy16_async(queries + row * ROW + column, own + (first_query + row) * stride, first_query + row < n);
  }
  for (int row = threadIdx.x / 8; row < padded; row += THREADS / 8) {
    copy16_async(keys + row * ROW + column, own + row * stride + C, row < n);
  }
  commit_copies();
  for (int row = threadIdx.x / 8; row < padded; row += THREADS / 8) {
    copy16_async(values + row * ROW + column, own + row * stride + 2 * C, row < n);
  }
  commit_copies();
  wait_for_copies_but<1>();
  __syncthreads();
  for (int row = threadIdx.x; row < padded; row += THREADS) {
    float squares = unit ? 0.f : 1.f;
    for (int c = 0; c < 64 && unit; c += 8) {
      float numbers[8];
      unpack(load16(keys + row * ROW + c), numbers);
      for (int i = 0; i < 8; i++) squares += numbers[i] * numbers[i];
    }
    key_factors[row] = rsqrtf(fmaxf(squares, 1e-24f));
  }
  wait_for_copies();
  __syncthreads();
  for (int round = 0; round < ROUNDS; round++) {
    const int own_row = (round * WARPS + warp) * 16, first_token = first_query + own_row;
    if (first_token >= n) return;
    uint32 a[4][4];
    for (int step = 0; step < 4; step++) load_a(a[step], queries, own_row, step * 16);
    // In powers of two, as exp2 is what the hardware has.
    float factors[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float squares = 0.f;
      for (int step = 0; step < 4; step++) {
        for (int i = half; i < 4; i += 2) {
          squares += first(a[step][i]) * first(a[step][i]) + second(a[step][i]) * second(a[step][i]);
        }
      }
      squares = sum_of_four(squares);
      factors[half] = 1.44269504f * (scales ? scales[head] : scale) * (unit ? rsqrtf(fmaxf(squares, 1e-24f)) : 1.f);
    }
    float o[8][4] = {};
    float highest[2] = {-1e30f, -1e30f}, total[2] = {};
    for (int start = 0; start < n; start += KEYS) {
      const int end = min(KEYS, n - start);
      float s[8][4];
#pragma unroll
      for (int tile = 0; tile < 8; tile++) {
        for (int i = 0; i < 4; i++) s[tile][i] = 0.f;
        if (tile * 8 >= end) continue;
        multiply_row_of_tiles(s[tile], a, keys + (start + tile * 8) * ROW);
        if (!unit) continue;
        const float2 key = *reinterpret_cast<const float2 *>(key_factors + start + tile * 8 + 2 * t);
        s[tile][0] *= key.x, s[tile][1] *= key.y, s[tile][2] *= key.x, s[tile][3] *= key.y;
      }
      if (end < KEYS) {
#pragma unroll
        for (int tile = 0; tile < 8; tile++) {
          for (int i = 0; i < 4; i++) s[tile][i] = tile * 8 + 2 * t + i % 2 < end ? s[tile][i] : -1e30f;
        }
      }
      // The scale, which is positive, is multiplied in with the difference to the highest score.
      float fades[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float top = highest[half];
#pragma unroll
        for (int tile = 0; tile < 8; tile++) top = fmaxf(top, fmaxf(s[tile][2 * half], s[tile][2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        fades[half] = exp2f((highest[half] - top) * factors[half]);
        highest[half] = top;
        total[half] *= fades[half];
        const float offset = top * factors[half];
#pragma unroll
        for (int tile = 0; tile < 8; tile++) {
          for (int i = 2 * half; i < 2 * half + 2; i++) {
            s[tile][i] = exp2f(s[tile][i] * factors[half] - offset);
            total[half] += s[tile][i];
          }
        }
      }
      // Mostly the highest score stays what it was.
      if (__any_sync(~0u, fades[0] != 1.f || fades[1] != 1.f)) {
#pragma unroll
        for (int tile = 0; tile < 8; tile++) {
          o[tile][0] *= fades[0], o[tile][1] *= fades[0], o[tile][2] *= fades[1], o[tile][3] *= fades[1];
        }
      }
#pragma unroll
      for (int step = 0; step < 4; step++) {
        if (step * 16 >= end) continue;
        const uint32 p[4] = {pack(s[2 * step][0], s[2 * step][1]), pack(s[2 * step][2], s[2 * step][3]),
                             pack(s[2 * step + 1][0], s[2 * step + 1][1]), pack(s[2 * step + 1][2], s[2 * step + 1][3])};
#pragma unroll
        for (int tile = 0; tile < 8; tile += 2) {
          uint32 b[4];
          load_tiles_transposed(b, values + (start + step * 16 + lane % 16) * ROW + tile * 8 + lane / 16 * 8);
          multiply_tiles(o[tile], p, b[0], b[1]);
          multiply_tiles(o[tile + 1], p, b[2], b[3]);
        }
      }
    }

    // Through the warp's own rows of `queries`, so that whole lines are written.
    __syncwarp();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float factor = 1.f / sum_of_four(total[half]);
      half_t *row = queries + (own_row + g + 8 * half) * ROW + 2 * t;
      for (int tile = 0; tile < 8; tile++) store4(row + tile * 8, pack(o[tile][2 * half] * factor, o[tile][2 * half + 1] * factor));
    }
    __syncwarp();
    for (int row = lane / 8; row < 16; row += 4) {
      const int token = first_token + row;
      if (token < n) {
        store16(out + (static_cast<long long>(blockIdx.z) * n + token) * C + head * 64 + column,
                load16(queries + (own_row + row) * ROW + column));
      }
    }
  }
}

#define ATTENTION_AT_ONCE(WARPS, ROUNDS, ALL, BLOCKS)                                                              \
  extern "C" __global__ __launch_bounds__(WARPS * 32, BLOCKS) void attention_at_once_##WARPS##_##ROUNDS##_##ALL(   \
      const half_t *qkv, half_t *out, const float *scales, float scale, int n, int unit) {                         \
    attention_at_once<WARPS, ROUNDS, ALL>(qkv, out, scales, scale, n, unit);                                       \
  }
ATTENTION_AT_ONCE(4, 1, 64, 4)
ATTENTION_AT_ONCE(4, 1, 256, 2)
ATTENTION_AT_ONCE(8, 1, 256, 2)
ATTENTION_AT_ONCE(8, 2, 256, 2)
