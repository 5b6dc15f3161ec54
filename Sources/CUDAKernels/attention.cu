// Attention of 64 queries of one head and one sequence per block of 4 warps, over tiles of 64 keys, with a running
// softmax. Head size 64.
constexpr int QUERIES = 64;
constexpr int KEYS = 64;

/// Loads 64 rows of 64 numbers; rows from `count` on become zero. If `unit`, each row is divided by its length.
__device__ __forceinline__ void load_rows(half_t *tile, const half_t *source, long long stride, int count, bool unit) {
  const int column = threadIdx.x % 8 * 8;
  for (int row = threadIdx.x / 8; row < 64; row += 16) {
    uint4 packed = make_uint4(0, 0, 0, 0);
    if (row < count) packed = load16(source + row * stride + column);
    if (unit) {
      float values[8], squares = 0.f;
      unpack(packed, values);
      for (int i = 0; i < 8; i++) squares += values[i] * values[i];
      const float factor = 1.f / fmaxf(sqrtf(sum_of_eight(squares)), 1e-12f);
      for (int i = 0; i < 8; i++) values[i] *= factor;
      packed = pack(values);
    }
    store16(tile + row * ROW + column, packed);
  }
}

/// out [R, n, H·64] = softmax(scale · q·kᵀ) · v, for q at [R, n, ·] with strides, k and v likewise with m rows.
///
/// `scales` [H] is the scale of each head; where it is null, `scale` is that of all. `unit_queries` and `unit_keys` ask
/// for division by their lengths. Grid: tiles of queries, heads, sequences.
extern "C" __global__ __launch_bounds__(128) void attention(
    const half_t *q, const half_t *k, const half_t *v, half_t *out, const float *scales, float scale, int n, int m,
    int query_stride, int key_stride, long long query_batch, long long key_batch, int unit_queries, int unit_keys) {
  __shared__ __align__(16) half_t queries[QUERIES * ROW], keys[KEYS * ROW], values[KEYS * ROW];
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.y, width = gridDim.y * 64, tile_start = blockIdx.x * QUERIES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // In powers of two, as exp2 is what the hardware has.
  const float base2 = 1.44269504f * (scales ? scales[head] : scale);
  q += blockIdx.z * query_batch + static_cast<long long>(tile_start) * query_stride + head * 64;
  k += blockIdx.z * key_batch + head * 64;
  v += blockIdx.z * key_batch + head * 64;
  load_rows(queries, q, query_stride, n - tile_start, unit_queries);
  __syncthreads();
  uint32 a[4][4];
  for (int step = 0; step < 4; step++) load_a(a[step], queries, warp * 16, step * 16);

  float o[8][4] = {};
  float highest[2] = {-1e30f, -1e30f}, total[2] = {};
  for (int start = 0; start < m; start += KEYS) {
    __syncthreads();
    load_rows(keys, k + static_cast<long long>(start) * key_stride, key_stride, m - start, unit_keys);
    load_rows(values, v + static_cast<long long>(start) * key_stride, key_stride, m - start, false);
    __syncthreads();
    float s[8][4] = {};
#pragma unroll
    for (int tile = 0; tile < 8; tile++) {
      const half_t *row = keys + (tile * 8 + g) * ROW + 2 * t;
#pragma unroll
      for (int step = 0; step < 4; step++) multiply_tiles(s[tile], a[step], load4(row + step * 16), load4(row + step * 16 + 8));
      for (int i = 0; i < 4; i++) {
        const bool inside = start + tile * 8 + 2 * t + i % 2 < m;
        s[tile][i] = inside ? s[tile][i] * base2 : -1e30f;
      }
    }
    for (int half = 0; half < 2; half++) {
      float top = highest[half];
      for (int tile = 0; tile < 8; tile++) top = fmaxf(top, fmaxf(s[tile][2 * half], s[tile][2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      const float fade = exp2f(highest[half] - top);
      highest[half] = top;
      total[half] *= fade;
      for (int tile = 0; tile < 8; tile++) {
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          s[tile][i] = exp2f(s[tile][i] - top);
          total[half] += s[tile][i];
          o[tile][i] *= fade;
        }
      }
    }
#pragma unroll
    for (int step = 0; step < 4; step++) {
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

  // Through the warp's own rows of `queries`, so that whole lines are written.
  __syncwarp();
  for (int half = 0; half < 2; half++) {
    const float factor = 1.f / sum_of_four(total[half]);
    half_t *row = queries + (warp * 16 + g + 8 * half) * ROW + 2 * t;
    for (int tile = 0; tile < 8; tile++) store4(row + tile * 8, pack(o[tile][2 * half] * factor, o[tile][2 * half + 1] * factor));
  }
  __syncwarp();
  for (int row = lane / 8; row < 16; row += 4) {
    const int token = tile_start + warp * 16 + row, column = lane % 8 * 8;
    if (token < n) {
      store16(out + (static_cast<long long>(blockIdx.z) * n + token) * width + head * 64 + column,
              load16(queries + (warp * 16 + row) * ROW + column));
    }
  }
}

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
