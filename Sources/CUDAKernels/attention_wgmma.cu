// Attention inside a scale of up to 256 tokens on Hopper's matrix units. All keys and values of a head lie in shared memory at
// once; each group of four warps has 64 queries in each of some rounds, and takes 64 keys at a time.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// What rows of a matrix in planes are multiplied by to be unit vectors, two threads a row.
template <int THREADS, int PLANE>
__device__ __forceinline__ void measure_rows(float *factors, const unsigned char *matrix, int rows) {
  const int half = threadIdx.x % 2;
  for (int row = threadIdx.x / 2; row < rows; row += THREADS / 2) {
    const unsigned char *own = matrix + half * 4 * PLANE + row * 16;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float numbers[8];
      unpack(*reinterpret_cast<const uint4 *>(own + i * PLANE), numbers);
      for (int c = 0; c < 8; c++) squares += numbers[c] * numbers[c];
    }
    squares += __shfl_xor_sync(~0u, squares, 1);
    if (half == 0) factors[row] = rsqrtf(fmaxf(squares, 1e-24f));
  }
}

/// As `attention_at_once`, by GROUPS groups of four warps. Grid: groups of 64·GROUPS·ROUNDS queries, heads, sequences. Shared
/// memory: 8 planes of 64·GROUPS·ROUNDS + 1 rows, 16 of ALL + 1 rows, and
/// ALL floats.
template <int GROUPS_OF_WARPS, int ROUNDS, int ALL>
__device__ __forceinline__ void attention_by_groups(const half_t *qkv, half_t *out, const float *scales, float scale, int n,
                                                    int unit) {
  constexpr int THREADS = GROUPS_OF_WARPS * 128, QUERIES = GROUPS_OF_WARPS * 64 * ROUNDS;
  constexpr int QUERY_PLANE = QUERIES * 16 + 16, KEY_PLANE = ALL * 16 + 16;
  extern __shared__ __align__(128) unsigned char planes[];
  unsigned char *const queries = planes, *const keys = queries + 8 * QUERY_PLANE, *const values = keys + 8 * KEY_PLANE;
  float *const key_factors = reinterpret_cast<float *>(values + 8 * KEY_PLANE);
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.y, C = gridDim.y * 64, stride = 3 * C, first_query = blockIdx.x * QUERIES;
  const int group = threadIdx.x / 128, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // What lies behind the end has to be zeros, as products with zero weights have to be.
  const int padded = (n + 63) / 64 * 64, plane = threadIdx.x % 8, first_row = threadIdx.x / 8;
  const half_t *own = qkv + static_cast<long long>(blockIdx.z) * n * stride + head * 64 + plane * 8;
  const auto fetch = [&](unsigned char *matrix, int plane_bytes, int start, int rows, int column) {
    for (int row = first_row; row < rows; row += THREADS / 8) {
      copy16_async(reinterpret_cast<half_t *>(matrix + plane * plane_bytes + row * 16), own + (start + row) * stride + column,
                   start + row < n);
    }
  };
  fetch(queries, QUERY_PLANE, first_query, min(QUERIES, padded - first_query), 0);
  fetch(keys, KEY_PLANE, 0, padded, C);
  commit_copies();
  fetch(values, KEY_PLANE, 0, padded, 2 * C);
  commit_copies();
  wait_for_copies_but<1>();
  __syncthreads();
  if (unit) measure_rows<THREADS, KEY_PLANE>(key_factors, keys, padded);
  wait_for_copies();
  show_to_matrix_units();
  __syncthreads();

  const uint64 all_queries = matrix_descriptor(queries, QUERY_PLANE, 128);
  const uint64 all_keys = matrix_descriptor(keys, KEY_PLANE, 128), all_values = matrix_descriptor(values, 128, KEY_PLANE);
  // In powers of two, as exp2 is what the hardware has.
  const float own_scale = 1.44269504f * (scales ? scales[head] : scale);
  // Of unit vectors the scale is the highest score there can be. Where no score can be so far below it that bfloat16 has no
  // number for it, the highest of each row need not be looked for.
  const bool is_bounded = HALF_IS_BFLOAT16 && unit && own_scale < 50.f;
  for (int round = 0; round < ROUNDS; round++) {
    const int group_row = (round * GROUPS_OF_WARPS + group) * 64, own_row = group_row + warp * 16;
    const int first_token = first_query + own_row;
    if (first_query + group_row >= n) return;
    float s[32], o[32];
    const auto multiply_by_keys = [&](int start) {
#pragma unroll
      for (int step = 0; step < 4; step++) {
        multiply_64_by_64(s, all_queries + group_row + step * 2 * (QUERY_PLANE / 16), all_keys + start + step * 2 * (KEY_PLANE / 16),
                          step > 0);
      }
    };
    begin_products();
    multiply_by_keys(0);
    commit_products();
    float factors[2] = {own_scale, own_scale};
    if (unit) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float squares = 0.f;
        for (int i = 0; i < 2; i++) {
          float numbers[8];
          unpack(*reinterpret_cast<const uint4 *>(queries + (2 * t + i) * QUERY_PLANE + (own_row + g + 8 * half) * 16), numbers);
          for (int c = 0; c < 8; c++) squares += numbers[c] * numbers[c];
        }
        factors[half] *= rsqrtf(fmaxf(sum_of_four(squares), 1e-24f));
      }
    }
    float highest[2] = {-1e30f, -1e30f}, total[2] = {};
    for (int start = 0; start < n; start += 64) {
      wait_for_products_but<0>();
      settle(s);
      if (unit) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const float2 key = *reinterpret_cast<const float2 *>(key_factors + start + i * 8 + 2 * t);
          s[4 * i] *= key.x, s[4 * i + 1] *= key.y, s[4 * i + 2] *= key.x, s[4 * i + 3] *= key.y;
        }
      }
      if (n - start < 64) {
#pragma unroll
        for (int i = 0; i < 32; i++) s[i] = start + i / 4 * 8 + 2 * t + i % 2 < n ? s[i] : -1e30f;
      }
      float offsets[2] = {own_scale, own_scale};
      if (!is_bounded) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float top = highest[half];
#pragma unroll
          for (int i = 0; i < 8; i++) top = fmaxf(top, fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
          top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
          top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
          const float fade = exp2f((highest[half] - top) * factors[half]);
          highest[half] = top, total[half] *= fade, offsets[half] = top * factors[half];
          if (start == 0) continue;
#pragma unroll
          for (int i = 0; i < 8; i++) o[4 * i + 2 * half] *= fade, o[4 * i + 2 * half + 1] *= fade;
        }
      }
      uint32 weights[4][4];
#pragma unroll
      for (int i = 0; i < 16; i++) {
        const int half = i % 2;
        const float left = exp2f(s[2 * i] * factors[half] - offsets[half]), right = exp2f(s[2 * i + 1] * factors[half] - offsets[half]);
        total[half] += left + right;
        weights[i / 4][i % 4] = pack(left, right);
      }
      begin_products();
#pragma unroll
      for (int step = 0; step < 4; step++) multiply_by_columns(o, weights[step], all_values + start + step * 16, start + step > 0);
      commit_products();
      if (start + 64 < n) {
        begin_products();
        multiply_by_keys(start + 64);
        commit_products();
      }
    }
    wait_for_products_but<0>();
    settle(o);

    // Through the warp's own queries, so that whole lines are written.
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float factor = 1.f / sum_of_four(total[half]);
      unsigned char *row = queries + (own_row + g + 8 * half) * 16 + 4 * t;
      for (int i = 0; i < 8; i++) {
        *reinterpret_cast<uint32 *>(row + i * QUERY_PLANE) = pack(o[4 * i + 2 * half] * factor, o[4 * i + 2 * half + 1] * factor);
      }
    }
    __syncwarp();
    half_t *const target = out + (static_cast<long long>(blockIdx.z) * n + first_token) * C + head * 64 + plane * 8;
#pragma unroll
    for (int row = lane / 8; row < 16; row += 4) {
      if (first_token + row < n) {
        store16(target + row * C, *reinterpret_cast<const uint4 *>(queries + plane * QUERY_PLANE + (own_row + row) * 16));
      }
    }
  }
}

#define ATTENTION_WGMMA(GROUPS_OF_WARPS, ROUNDS, ALL, BLOCKS)                                                                   \
  extern "C" __global__                                                                                                         \
  __launch_bounds__(GROUPS_OF_WARPS * 128, BLOCKS) void attention_wgmma_##GROUPS_OF_WARPS##_##ROUNDS##_##ALL(                   \
      const half_t *qkv, half_t *out, const float *scales, float scale, int n, int unit) {                                      \
    attention_by_groups<GROUPS_OF_WARPS, ROUNDS, ALL>(qkv, out, scales, scale, n, unit);                                        \
  }
ATTENTION_WGMMA(1, 1, 64, 4)
ATTENTION_WGMMA(1, 1, 256, 2)
ATTENTION_WGMMA(2, 1, 128, 2)
ATTENTION_WGMMA(2, 2, 256, 2)
#endif
