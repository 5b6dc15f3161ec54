// Attention of one head and one sequence by a block of 4 or 8 warps with 16 queries each, over tiles of 64 keys, with a
// running softmax. Head size 64. Short scales share a block: 2 heads of up to 32 tokens, or 4 of up to 16.
constexpr int KEYS = 64;

/// Rows of 64 numbers of several heads, on their way from memory to a tile: `rows` of each head, of which `count` exist.
template <int LOADS, int THREADS>
struct RowLoader {
  uint4 held[LOADS];

  __device__ __forceinline__ void fetch(const half_t *source, long long stride, int rows, int count, int heads) {
    const int column = threadIdx.x % 8 * 8;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const int row = threadIdx.x / 8 + i * (THREADS / 8), head = row / rows, token = row % rows;
      held[i] = make_uint4(0, 0, 0, 0);
      if (token < count && head < heads) held[i] = load16(source + head * 64 + token * stride + column);
    }
  }

  /// Writes the tile, each row divided by its length if `unit`.
  __device__ __forceinline__ void place(half_t *tile, bool unit) const {
    const int column = threadIdx.x % 8 * 8;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      uint4 packed = held[i];
      if (unit) {
        float values[8], squares = 0.f;
        unpack(packed, values);
        for (int c = 0; c < 8; c++) squares += values[c] * values[c];
        const float factor = rsqrtf(fmaxf(sum_of_eight(squares), 1e-24f));
        for (int c = 0; c < 8; c++) values[c] *= factor;
        packed = pack(values);
      }
      store16(tile + (threadIdx.x / 8 + i * (THREADS / 8)) * ROW + column, packed);
    }
  }
};

/// out [R, n, H·64] = softmax(scale · q·kᵀ) · v, for q at [R, n, ·] with strides, k and v likewise with m rows.
///
/// `scales` [H] is the scale of each head; where it is null, `scale` is that of all. `unit_queries` and `unit_keys` ask
/// for division by their lengths. A block has `together` heads; more than one only where n = m fits 64 / together.
/// Grid: tiles of queries, groups of heads, sequences. Shared memory: 16·WARPS + 128 rows.
template <int WARPS>
__device__ __forceinline__ void attention(const half_t *q, const half_t *k, const half_t *v, half_t *out,
                                          const float *scales, float scale, int n, int m, int query_stride,
                                          int key_stride, long long query_batch, long long key_batch,
                                          int unit_queries, int unit_keys, int heads, int together) {
  constexpr int THREADS = WARPS * 32, QUERIES = WARPS * 16;
  extern __shared__ __align__(16) half_t tiles[];
  half_t *queries = tiles, *keys = queries + QUERIES * ROW, *values = keys + KEYS * ROW;
  let_successor_start();
  wait_for_predecessor();
  const int first_head = blockIdx.y * together, own_heads = min(together, heads - first_head);
  const int tile_start = blockIdx.x * QUERIES, rows = KEYS / together;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // Where this warp's head begins in the tiles, if it shares them.
  const int own_head = together == 1 ? 0 : warp * 16 / rows, base = own_head * rows;
  const int first_token = tile_start + warp * 16 - base, head = first_head + own_head;
  const bool active = own_head < own_heads && first_token < n;
  // In powers of two, as exp2 is what the hardware has.
  const float base2 = 1.44269504f * (scales && own_head < own_heads ? scales[head] : scale);
  q += blockIdx.z * query_batch + static_cast<long long>(tile_start) * query_stride + first_head * 64;
  k += blockIdx.z * key_batch + first_head * 64;
  v += blockIdx.z * key_batch + first_head * 64;
  RowLoader<KEYS * 8 / THREADS, THREADS> next_keys, next_values;
  next_keys.fetch(k, key_stride, rows, m, own_heads);
  next_values.fetch(v, key_stride, rows, m, own_heads);
  {
    RowLoader<4, THREADS> loader;
    loader.fetch(q, query_stride, together == 1 ? QUERIES : rows, n - tile_start, own_heads);
    loader.place(queries, unit_queries);
  }
  __syncthreads();
  uint32 a[4][4];
  for (int step = 0; step < 4; step++) load_a(a[step], queries, warp * 16, step * 16);

  float o[8][4] = {};
  float highest[2] = {-1e30f, -1e30f}, total[2] = {};
  for (int start = 0; start < m; start += KEYS) {
    if (start > 0) __syncthreads();
    next_keys.place(keys, unit_keys);
    next_values.place(values, false);
    __syncthreads();
    if (start + KEYS < m) {
      next_keys.fetch(k + static_cast<long long>(start + KEYS) * key_stride, key_stride, rows, m - start - KEYS, 1);
      next_values.fetch(v + static_cast<long long>(start + KEYS) * key_stride, key_stride, rows, m - start - KEYS, 1);
    }
    if (!active) continue;
    const int end = base + min(rows, m - start);
    float s[8][4] = {};
#pragma unroll
    for (int tile = 0; tile < 8; tile++) {
      if (tile * 8 + 8 <= base || tile * 8 >= end) continue;
      multiply_row_of_tiles(s[tile], a, keys + tile * 8 * ROW);
      for (int i = 0; i < 4; i++) {
        const bool inside = tile * 8 + 2 * t + i % 2 < end;
        s[tile][i] = inside ? s[tile][i] * base2 : -1e30f;
      }
    }
    for (int half = 0; half < 2; half++) {
      float top = highest[half];
#pragma unroll
      for (int tile = 0; tile < 8; tile++) {
        if (tile * 8 + 8 <= base || tile * 8 >= end) continue;
        top = fmaxf(top, fmaxf(s[tile][2 * half], s[tile][2 * half + 1]));
      }
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      const float fade = exp2f(highest[half] - top);
      highest[half] = top;
      total[half] *= fade;
#pragma unroll
      for (int tile = 0; tile < 8; tile++) {
        for (int i = 2 * half; i < 2 * half + 2; i++) o[tile][i] *= fade;
        if (tile * 8 + 8 <= base || tile * 8 >= end) continue;
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          s[tile][i] = exp2f(s[tile][i] - top);
          total[half] += s[tile][i];
        }
      }
    }
#pragma unroll
    for (int step = 0; step < 4; step++) {
      if (step * 16 + 16 <= base || step * 16 >= end) continue;
      const uint32 p[4] = {pack(s[2 * step][0], s[2 * step][1]), pack(s[2 * step][2], s[2 * step][3]),
                           pack(s[2 * step + 1][0], s[2 * step + 1][1]), pack(s[2 * step + 1][2], s[2 * step + 1][3])};
#pragma unroll
      for (int tile = 0; tile < 8; tile += 2) {
        uint32 b[4];
        load_tiles_transposed(b, values + (step * 16 + lane % 16) * ROW + tile * 8 + lane / 16 * 8);
        multiply_tiles(o[tile], p, b[0], b[1]);
        multiply_tiles(o[tile + 1], p, b[2], b[3]);
      }
    }
  }
  if (!active) return;

  // Through the warp's own rows of `queries`, so that whole lines are written.
  __syncwarp();
  for (int half = 0; half < 2; half++) {
    const float factor = 1.f / sum_of_four(total[half]);
    half_t *row = queries + (warp * 16 + g + 8 * half) * ROW + 2 * t;
    for (int tile = 0; tile < 8; tile++) store4(row + tile * 8, pack(o[tile][2 * half] * factor, o[tile][2 * half + 1] * factor));
  }
  __syncwarp();
  for (int row = lane / 8; row < 16; row += 4) {
    const int token = first_token + row, column = lane % 8 * 8;
    if (token < n) {
      store16(out + (static_cast<long long>(blockIdx.z) * n + token) * heads * 64 + head * 64 + column,
              load16(queries + (warp * 16 + row) * ROW + column));
    }
  }
}

#define ATTENTION(WARPS, BLOCKS)                                                                                      \
  extern "C" __global__ __launch_bounds__(WARPS * 32, BLOCKS) void attention_##WARPS(                                 \
      const half_t *q, const half_t *k, const half_t *v, half_t *out, const float *scales, float scale, int n, int m, \
      int query_stride, int key_stride, long long query_batch, long long key_batch, int unit_queries, int unit_keys,  \
      int heads, int together) {                                                                                       \
    attention<WARPS>(q, k, v, out, scales, scale, n, m, query_stride, key_stride, query_batch, key_batch,             \
                     unit_queries, unit_keys, heads, together);                                                       \
  }
ATTENTION(4, 3)
ATTENTION(8, 2)

/// Copies k and v of qkv [R, n, 3·H·64] to the cache [R, capacity, 2·H·64] from row `offset` on; k divided by its length
/// if `unit`. One block of 64·H / 8 threads (rounded up to whole warps) a token.
extern "C" __global__ void append_keys(const half_t *qkv, half_t *cache, int C, int capacity, int offset, int unit) {
  let_successor_start();
  wait_for_predecessor();
  const int column = threadIdx.x * 8;
  const half_t *source = qkv + (static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x) * 3 * C + C;
  half_t *target = cache + (static_cast<long long>(blockIdx.y) * capacity + offset + blockIdx.x) * 2 * C;
  float values[8] = {}, squares = 0.f;
  if (column < C) unpack(load16(source + column), values);
  for (int i = 0; i < 8; i++) squares += values[i] * values[i];
  const float factor = unit ? 1.f / fmaxf(sqrtf(sum_of_eight(squares)), 1e-12f) : 1.f;
  if (column >= C) return;
  for (int i = 0; i < 8; i++) values[i] *= factor;
  store16(target + column, pack(values));
  store16(target + C + column, load16(source + C + column));
}
