// Attention inside a scale of up to 256 tokens on Hopper's matrix units. All keys and values of a head lie in shared memory at
// once; each group of four warps has 64 queries in each of some rounds, and takes 64 keys at a time.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// What a row is multiplied by to be a unit vector, of which each of four lanes has 16 numbers.
__device__ __forceinline__ float unit_factor(const uint4 *numbers) {
  float squares = 0.f;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float values[8];
    unpack(numbers[i], values);
    for (int c = 0; c < 8; c++) squares += values[c] * values[c];
  }
  return rsqrtf(fmaxf(sum_of_four(squares), 1e-24f));
}

/// What a row of a box is multiplied by to be a unit vector, for two neighbouring threads, each of which looks at one half.
__device__ __forceinline__ float unit_factor(const unsigned char *box, int row, int half) {
  float squares = 0.f;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float numbers[8];
    unpack(*reinterpret_cast<const uint4 *>(box + place_in_box(row, half * 4 + i)), numbers);
    for (int c = 0; c < 8; c++) squares += numbers[c] * numbers[c];
  }
  squares += __shfl_xor_sync(~0u, squares, 1);
  return rsqrtf(fmaxf(squares, 1e-24f));
}

/// Multiplies the factors of a row of a box and of the eighth behind it by what makes unit vectors of them, for the four lanes of
/// both, of which this is lane t.
__device__ __forceinline__ void multiply_by_unit_factors(float *factors, const unsigned char *box, int row, int t) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    uint4 numbers[2];
    for (int i = 0; i < 2; i++) numbers[i] = *reinterpret_cast<const uint4 *>(box + place_in_box(row + 8 * half, 2 * t + i));
    factors[half] *= unit_factor(numbers);
  }
}

/// What rows of boxes are multiplied by to be unit vectors, two threads a row.
template <int THREADS>
__device__ __forceinline__ void measure_rows(float *factors, const unsigned char *matrix, int rows) {
  const int half = threadIdx.x % 2;
  for (int row = threadIdx.x / 2; row < rows; row += THREADS / 2) {
    const float factor = unit_factor(matrix, row, half);
    if (half == 0) factors[row] = factor;
  }
}

// Scores of 64 queries and 64 keys are a group's sums: a lane has 16 of each of two rows, the halves of what follows.

/// Multiplies scores by what their 64 keys are multiplied by.
__device__ __forceinline__ void multiply_by_key_factors(float *s, const float *factors) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const float2 key = *reinterpret_cast<const float2 *>(factors + i * 8 + 2 * t);
    s[4 * i] *= key.x, s[4 * i + 1] *= key.y, s[4 * i + 2] *= key.x, s[4 * i + 3] *= key.y;
  }
}

/// Of keys from `start` on, those from `end` on get no weight.
__device__ __forceinline__ void leave_out_keys(float *s, int start, int end) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 32; i++) s[i] = start + i / 4 * 8 + 2 * t + i % 2 < end ? s[i] : -1e30f;
}

/// The highest score of a row, or `top` where that is higher.
__device__ __forceinline__ float highest_score(const float *s, int half, float top) {
#pragma unroll
  for (int i = 0; i < 8; i++) top = fmaxf(top, fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
  top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
  return fmaxf(top, __shfl_xor_sync(~0u, top, 2));
}

/// Multiplies a row's sums.
__device__ __forceinline__ void multiply_row(float *o, int half, float factor) {
#pragma unroll
  for (int i = 0; i < 8; i++) o[4 * i + 2 * half] *= factor, o[4 * i + 2 * half + 1] *= factor;
}

/// Divides sums by their total weights and writes a warp's 16 rows of a head, of which those before `n` exist, to out [R, n, C].
/// They go through rows of a box from `first_row` on, which no other warp uses, so that whole lines are written.
__device__ __forceinline__ void write_rows(half_t *out, int C, int head, int first_token, int n, const float *o, const float *total,
                                           unsigned char *box, int first_row) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float factor = 1.f / sum_of_four(total[half]);
    for (int i = 0; i < 8; i++) {
      unsigned char *const eight = box + place_in_box(first_row + g + 8 * half, i);
      *reinterpret_cast<uint32 *>(eight + 4 * t) = pack(o[4 * i + 2 * half] * factor, o[4 * i + 2 * half + 1] * factor);
    }
  }
  __syncwarp();
  const int eight = lane % 8;
  half_t *const target = out + (static_cast<long long>(blockIdx.z) * n + first_token) * C + head * 64 + eight * 8;
#pragma unroll
  for (int row = lane / 8; row < 16; row += 4) {
    if (first_token + row < n) {
      store16(target + row * C, *reinterpret_cast<const uint4 *>(box + place_in_box(first_row + row, eight)));
    }
  }
}

/// As `attention_at_once`, by GROUPS groups of four warps; `qkv` has boxes of 64 rows. Grid: groups of 64·GROUPS·ROUNDS queries,
/// heads, sequences. Shared memory: 1023 bytes, 64·GROUPS·ROUNDS + 2·ALL rows of 128, and ALL floats.
template <int GROUPS_OF_WARPS, int ROUNDS, int ALL>
__device__ __forceinline__ void attention_by_groups(const Boxes &qkv, half_t *out, const float *scales, float scale, int n, int unit) {
  constexpr int THREADS = GROUPS_OF_WARPS * 128, QUERIES = GROUPS_OF_WARPS * 64 * ROUNDS;
  extern __shared__ __align__(128) unsigned char boxes[];
  __shared__ Gate keys_are_here, values_are_here;
  const BoxMemory memory(boxes);
  const uint32 base = memory.address;
  unsigned char *const queries = memory.bytes, *const keys = queries + QUERIES * 128;
  float *const key_factors = reinterpret_cast<float *>(keys + 2 * ALL * 128);
  const int head = blockIdx.y, C = gridDim.y * 64, first_query = blockIdx.x * QUERIES;
  // What lies behind the end is zeros, as products with zero weights have to be.
  const int padded = (n + 63) / 64 * 64;
  if (threadIdx.x == 0) {
    keys_are_here.begin(1), values_are_here.begin(1);
    show_gates();
    qkv.expect_use();
  }
  __syncthreads();
  let_successor_start();
  wait_for_predecessor();
  if (threadIdx.x == 0) {
    const int query_rows = min(QUERIES, padded - first_query);
    const auto fetch = [&](uint32 target, int column, int start, int rows, Gate &gate) {
      for (int row = 0; row < rows; row += 64) qkv.copy(target + row * 128, column + head * 64, start + row, blockIdx.z, gate);
    };
    keys_are_here.expect((query_rows + padded) * 128);
    fetch(base, 0, first_query, query_rows, keys_are_here);
    fetch(base + QUERIES * 128, C, 0, padded, keys_are_here);
    values_are_here.expect(padded * 128);
    fetch(base + (QUERIES + ALL) * 128, 2 * C, 0, padded, values_are_here);
  }
  const int group = threadIdx.x / 128, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint64 all_queries = box_descriptor(base), all_keys = box_descriptor(base + QUERIES * 128);
  const uint64 all_values = box_descriptor(base + (QUERIES + ALL) * 128);
  // In powers of two, as exp2 is what the hardware has.
  const float own_scale = 1.44269504f * (scales ? scales[head] : scale);
  // Of unit vectors the scale is the highest score there can be. Where no score can be so far below it that bfloat16 has no
  // number for it, the highest of each row need not be looked for.
  const bool is_bounded = HALF_IS_BFLOAT16 && unit && own_scale < 50.f;
  keys_are_here.wait(0);
  if (unit) {
    measure_rows<THREADS>(key_factors, keys, padded);
    __syncthreads();
  }
  for (int round = 0; round < ROUNDS; round++) {
    const int group_row = (round * GROUPS_OF_WARPS + group) * 64, own_row = group_row + warp * 16;
    const int first_token = first_query + own_row;
    if (first_query + group_row >= n) return;
    float s[32], o[32];
    const auto multiply_by_keys = [&](int start) {
#pragma unroll
      for (int step = 0; step < 4; step++) {
        multiply_64_by_64(s, all_queries + group_row * 8 + step * 2, all_keys + start * 8 + step * 2, step > 0);
      }
    };
    begin_products();
    multiply_by_keys(0);
    commit_products();
    float factors[2] = {own_scale, own_scale};
    if (unit) multiply_by_unit_factors(factors, queries, own_row + g, t);
    float highest[2] = {-1e30f, -1e30f}, total[2] = {};
    for (int start = 0; start < n; start += 64) {
      wait_for_products_but<0>();
      settle(s);
      if (unit) multiply_by_key_factors(s, key_factors + start);
      if (n - start < 64) leave_out_keys(s, start, n);
      float offsets[2] = {own_scale, own_scale};
      if (!is_bounded) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const float top = highest_score(s, half, highest[half]);
          const float fade = exp2f((highest[half] - top) * factors[half]);
          highest[half] = top, total[half] *= fade, offsets[half] = top * factors[half];
          if (start > 0) multiply_row(o, half, fade);
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
      if (start == 0) values_are_here.wait(0);
      begin_products();
#pragma unroll
      for (int step = 0; step < 4; step++) multiply_by_columns(o, weights[step], all_values + (start + step * 16) * 8, start + step > 0);
      commit_products();
      if (start + 64 < n) {
        begin_products();
        multiply_by_keys(start + 64);
        commit_products();
      }
    }
    wait_for_products_but<0>();
    settle(o);
    write_rows(out, C, head, first_token, n, o, total, queries, own_row);
  }
}

#define ATTENTION_WGMMA(GROUPS_OF_WARPS, ROUNDS, ALL, BLOCKS)                                                                   \
  extern "C" __global__                                                                                                         \
  __launch_bounds__(GROUPS_OF_WARPS * 128, BLOCKS) void attention_wgmma_##GROUPS_OF_WARPS##_##ROUNDS##_##ALL(                   \
      const __grid_constant__ Boxes qkv, half_t *out, const float *scales, float scale, int n, int unit) {                      \
    attention_by_groups<GROUPS_OF_WARPS, ROUNDS, ALL>(qkv, out, scales, scale, n, unit);                                        \
  }
ATTENTION_WGMMA(1, 1, 64, 4)
ATTENTION_WGMMA(1, 1, 256, 2)
ATTENTION_WGMMA(2, 1, 128, 2)
ATTENTION_WGMMA(2, 2, 256, 2)
#endif
