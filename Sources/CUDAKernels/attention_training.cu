// What training does around libtorch's attention: unit queries and keys, and their gradient.

/// Divides queries and keys of qkv [tokens, 3, H, 64] by their lengths, in place, and multiplies queries by scales [H].
///
/// lengths [tokens, 2, H] gets what they were divided by. Grid: groups of 32 tokens, H; 256 threads, 8 to a token.
extern "C" __global__ __launch_bounds__(256) void unit_heads(half_t *qkv, const float *scales, float *lengths, int tokens,
                                                             int heads) {
  let_successor_start();
  wait_for_predecessor();
  const long long token = blockIdx.x * 32 + threadIdx.x / 8;
  const int head = blockIdx.y;
  const bool inside = token < tokens;
#pragma unroll
  for (int part = 0; part < 2; part++) {
    half_t *row = qkv + (token * 3 + part) * heads * 64 + head * 64 + threadIdx.x % 8 * 8;
    float value[8] = {}, sum = 0.f;
    if (inside) unpack(load16(row), value);
    for (int i = 0; i < 8; i++) sum += value[i] * value[i];
    const float length = fmaxf(sqrtf(sum_of_eight(sum)), 1e-12f);
    const float factor = (part == 0 ? scales[head] : 1.f) / length;
    for (int i = 0; i < 8; i++) value[i] *= factor;
    if (!inside) continue;
    store16(row, pack(value));
    if (threadIdx.x % 8 == 0) lengths[(token * 2 + part) * heads + head] = length;
  }
}

/// The gradient of unit_heads: dq, dk, dv [tokens, H, 64], of what it left in qkv, → d_qkv [tokens, 3, H, 64]; and each
/// block's part of its sum over tokens, sums [blocks, 3, H, 64], and of the gradient of the scales, partial [blocks, H].
/// Where `lengths` is null they are only brought together.
///
/// Grid: groups of 256 tokens, H; 256 threads, 8 to a token.
extern "C" __global__ __launch_bounds__(256) void unit_heads_backward(const half_t *qkv, const half_t *dq, const half_t *dk,
                                                                      const half_t *dv, const float *scales,
                                                                      const float *lengths, half_t *d_qkv, float *sums,
                                                                      float *partial, int tokens, int heads) {
  __shared__ float parts[8][3][64];
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.y, column = head * 64 + threadIdx.x % 8 * 8, width = heads * 64;
  const float scale = lengths ? scales[head] : 1.f;
  float d_scale = 0.f, sum[3][8] = {};
  for (int turn = 0; turn < 8; turn++) {
    const long long token = blockIdx.x * 256 + turn * 32 + threadIdx.x / 8;
    const bool inside = token < tokens;
    float gradients[3][8] = {};
    if (inside) {
      unpack(load16(dq + token * width + column), gradients[0]);
      unpack(load16(dk + token * width + column), gradients[1]);
      unpack(load16(dv + token * width + column), gradients[2]);
    }
#pragma unroll
    for (int part = 0; part < 2 && lengths; part++) {
      float unit[8] = {}, dot = 0.f, length = 1.f;
      if (inside) {
        unpack(load16(qkv + (token * 3 + part) * width + column), unit);
        length = lengths[(token * 2 + part) * heads + head];
      }
      const float own = part == 0 ? scale : 1.f;
      for (int i = 0; i < 8; i++) {
        unit[i] /= own;
        dot += unit[i] * gradients[part][i];
      }
      if (part == 0) d_scale += dot;
      dot = sum_of_eight(dot);
      for (int i = 0; i < 8; i++) gradients[part][i] = (gradients[part][i] - unit[i] * dot) * (own / length);
    }
#pragma unroll
    for (int part = 0; part < 3; part++) {
      if (inside) store16(d_qkv + (token * 3 + part) * width + column, pack(gradients[part]));
      for (int i = 0; i < 8; i++) sum[part][i] += gradients[part][i];
    }
  }
  // Over the 4 tokens of a warp, then over warps.
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int part = 0; part < 3; part++) {
    for (int i = 0; i < 8; i++) {
      sum[part][i] += __shfl_xor_sync(~0u, sum[part][i], 8);
      sum[part][i] += __shfl_xor_sync(~0u, sum[part][i], 16);
      if (lane < 8) parts[warp][part][lane * 8 + i] = sum[part][i];
    }
  }
  __syncthreads();
  if (threadIdx.x < 192) {
    const int part = threadIdx.x / 64, i = threadIdx.x % 64;
    float total = 0.f;
    for (int other = 0; other < 8; other++) total += parts[other][part][i];
    sums[(blockIdx.x * 3ll + part) * width + head * 64 + i] = total;
  }
  if (!lengths) return;
  d_scale = sum_of_block(d_scale, scratch);
  if (threadIdx.x == 0) partial[static_cast<long long>(blockIdx.x) * heads + head] = d_scale;
}
