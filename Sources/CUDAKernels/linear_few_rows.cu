// Linear layers of few tokens, where time is what reading the weights takes. Each warp of a block has an eighth of K for
// the block's rows of the weight; it asks for its first weights before it waits for the kernel in front of it, so that
// they arrive while that one still runs.

__device__ __forceinline__ float gelu(float x) {
  const float inner = 0.7978845608f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.f + tanhf(inner));
}

/// y [M, N] = x [M, K] · weightᵀ + bias, for weight [N, K]; M ≤ 16·MT, K a multiple of 256, 8·NT rows of the weight a
/// block of 8 warps.
template <int MT, int NT>
__device__ __forceinline__ void linear_few_rows(const half_t *x, const half_t *weight, const half_t *bias, half_t *y,
                                                int M, int N, int K, int with_gelu) {
  extern __shared__ float shares[];  // [8 warps, 16·MT, 8·NT]
  constexpr int AHEAD = 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int first_row = blockIdx.x * 8 * NT, steps = K / 256;
  // A lane reads 8 neighbours of K; the products take them in another order than they lie, the same for x and weight.
  const int offset = warp * (K / 8) + t * 8;
  const half_t *w[NT];
  for (int tile = 0; tile < NT; tile++) w[tile] = weight + static_cast<long long>(min(first_row + tile * 8 + g, N - 1)) * K + offset;
  uint4 b[AHEAD][NT];
#pragma unroll
  for (int step = 0; step < AHEAD; step++) {
    for (int tile = 0; tile < NT; tile++) {
      if (step < steps) b[step][tile] = __ldcs(reinterpret_cast<const uint4 *>(w[tile] + step * 32));
    }
  }
  let_successor_start();
  wait_for_predecessor();
  const half_t *rows[2 * MT];
  for (int i = 0; i < 2 * MT; i++) rows[i] = x + static_cast<long long>(min(i * 8 + g, M - 1)) * K + offset;

  float d[MT][NT][4] = {};
  for (int start = 0; start < steps; start += AHEAD) {
#pragma unroll
    for (int ahead = 0; ahead < AHEAD; ahead++) {
      const int step = start + ahead;
      if (step >= steps) break;
      uint4 a[2 * MT];
      for (int i = 0; i < 2 * MT; i++) a[i] = load16(rows[i] + step * 32);
#pragma unroll
      for (int m = 0; m < MT; m++) {
        const uint4 upper = a[2 * m], lower = a[2 * m + 1];
        const uint32 left[4] = {upper.x, lower.x, upper.y, lower.y}, right[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
        for (int tile = 0; tile < NT; tile++) {
          multiply_tiles(d[m][tile], left, b[ahead][tile].x, b[ahead][tile].y);
          multiply_tiles(d[m][tile], right, b[ahead][tile].z, b[ahead][tile].w);
        }
      }
      for (int tile = 0; tile < NT; tile++) {
        if (step + AHEAD < steps) b[ahead][tile] = __ldcs(reinterpret_cast<const uint4 *>(w[tile] + (step + AHEAD) * 32));
      }
    }
  }

  constexpr int WIDTH = 8 * NT;
  for (int m = 0; m < MT; m++) {
    for (int tile = 0; tile < NT; tile++) {
      float *own = shares + (warp * 16 * MT + m * 16 + g) * WIDTH + tile * 8 + 2 * t;
      own[0] = d[m][tile][0], own[1] = d[m][tile][1];
      own[8 * WIDTH] = d[m][tile][2], own[8 * WIDTH + 1] = d[m][tile][3];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 16 * MT * WIDTH / 2; i += blockDim.x) {
    const int row = i / (WIDTH / 2), column = i % (WIDTH / 2) * 2, n = first_row + column;
    if (row >= M || n >= N) continue;
    float left = bias ? to_float(bias[n]) : 0.f, right = bias ? to_float(bias[n + 1]) : 0.f;
    for (int part = 0; part < 8; part++) {
      const float *sum = shares + (part * 16 * MT + row) * WIDTH + column;
      left += sum[0], right += sum[1];
    }
    if (with_gelu) left = gelu(left), right = gelu(right);
    store4(y + static_cast<long long>(row) * N + n, pack(left, right));
  }
}

#define LINEAR_FEW_ROWS(MT, NT)                                                                                      \
  extern "C" __global__ __launch_bounds__(256) void linear_few_rows_##MT##_##NT(                                     \
      const half_t *x, const half_t *weight, const half_t *bias, half_t *y, int M, int N, int K, int with_gelu) {    \
    linear_few_rows<MT, NT>(x, weight, bias, y, M, N, K, with_gelu);                                                 \
  }
LINEAR_FEW_ROWS(1, 1)
LINEAR_FEW_ROWS(1, 2)
LINEAR_FEW_ROWS(2, 1)
LINEAR_FEW_ROWS(2, 2)
LINEAR_FEW_ROWS(2, 4)
LINEAR_FEW_ROWS(3, 1)
LINEAR_FEW_ROWS(3, 2)
LINEAR_FEW_ROWS(3, 4)
LINEAR_FEW_ROWS(4, 1)
LINEAR_FEW_ROWS(4, 2)
LINEAR_FEW_ROWS(4, 4)
LINEAR_FEW_ROWS(5, 1)
LINEAR_FEW_ROWS(5, 2)
LINEAR_FEW_ROWS(5, 4)
