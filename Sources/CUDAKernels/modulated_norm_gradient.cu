// Norms of a block under training, forward and backward, with statistics in float32.

/// Ends one sublayer and begins the next: x' = x + γ·y, out = LN(x')·(1 + s) + b, with ε = 1e-6.
///
/// x, y, sum, out [R, n, C]; y may be null for x' = x, and sum for not writing x'. statistics [R, n, 2] gets the mean of x'
/// and what it is multiplied by, unless null. gains, scales (1 + s) and shifts have a row for each sequence, the given
/// strides apart. Grid: n, R; C is a multiple of 8 and at most 8 times the threads.
extern "C" __global__ void residual_norm(const half_t *x, const half_t *y, half_t *sum, half_t *out, float *statistics,
                                         const half_t *gains, const half_t *scales, const half_t *shifts,
                                         int gain_stride, int scale_stride, int shift_stride, int C) {
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const long long token = static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x, sequence = blockIdx.y;
  const int column = threadIdx.x * 8;
  const bool active = column < C;
  float value[8] = {};
  uint4 scale_bits = {}, shift_bits = {};
  if (active) {
    unpack(load16(x + token * C + column), value);
    scale_bits = load16(scales + sequence * scale_stride + column);
    shift_bits = load16(shifts + sequence * shift_stride + column);
    if (y) {
      float added[8], gain[8];
      unpack(load16(y + token * C + column), added);
      unpack(load16(gains + sequence * gain_stride + column), gain);
      for (int i = 0; i < 8; i++) value[i] += gain[i] * added[i];
    }
    const uint4 rounded = pack(value);
    if (sum) store16(sum + token * C + column, rounded);
    unpack(rounded, value);
  }
  float total = 0.f, squared = 0.f;
  for (int i = 0; i < 8; i++) total += value[i];
  const float mean = sum_of_block(total, scratch) / C;
  if (active) {
    for (int i = 0; i < 8; i++) squared += (value[i] - mean) * (value[i] - mean);
  }
  const float rstd = rsqrtf(sum_of_block(squared, scratch) / C + 1e-6f);
  if (statistics && threadIdx.x == 0) statistics[2 * token] = mean, statistics[2 * token + 1] = rstd;
  if (!active) return;
  float scale[8], shift[8];
  unpack(scale_bits, scale);
  unpack(shift_bits, shift);
  for (int i = 0; i < 8; i++) value[i] = (value[i] - mean) * rstd * scale[i] + shift[i];
  store16(out + token * C + column, pack(value));
}

/// The sums of COUNT numbers over a block of at most 1024 threads, a multiple of 32. Before `scratch` is used again another
/// barrier has to come.
template <int COUNT>
__device__ __forceinline__ void sums_of_block(float *sums, float (*scratch)[32]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    for (int step = 16; step > 0; step /= 2) sums[i] += __shfl_xor_sync(~0u, sums[i], step);
    if (lane == 0) scratch[i][warp] = sums[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    sums[i] = 0.f;
    for (int other = 0; other < warps; other++) sums[i] += scratch[i][other];
  }
}

/// The gradient of residual_norm. `sum` is x'; d_sum the gradient of x' from elsewhere, or null; d_out that of out.
///
/// Writes that of x, dx; and where y is given dy = γ·dx, and each block's part of those of γ, 1 + s and b in
/// partial [R, groups, 3, C]. Grid: groups of `rows` tokens, R.
extern "C" __global__ void residual_norm_backward(const half_t *d_sum, const half_t *d_out, const half_t *sum,
                                                  const half_t *y, half_t *dx, half_t *dy, float *partial,
                                                  const float *statistics, const half_t *gains, const half_t *scales,
                                                  int gain_stride, int scale_stride, int n, int C, int rows) {
  constexpr int TOGETHER = 2;
  __shared__ float scratch[2][2 * TOGETHER][32];
  let_successor_start();
  wait_for_predecessor();
  const long long sequence = blockIdx.y;
  const int column = threadIdx.x * 8;
  const bool active = column < C;
  float scale[8] = {}, gain[8] = {}, d_gain[8] = {}, d_scale[8] = {}, d_shift[8] = {};
  if (active) {
    unpack(load16(scales + sequence * scale_stride + column), scale);
    if (y) unpack(load16(gains + sequence * gain_stride + column), gain);
  }
  const uint4 zero = make_uint4(0, 0, 0, 0);
  const int from = blockIdx.x * rows, to = min(from + rows, n);
  for (int base = from, turn = 0; base < to; base += TOGETHER, turn ^= 1) {
    uint4 value_bits[TOGETHER], out_bits[TOGETHER], sum_bits[TOGETHER], y_bits[TOGETHER];
    float mean[TOGETHER], rstd[TOGETHER], sums[2 * TOGETHER];
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
      const long long token = sequence * n + base + i, at = token * C + column;
      const bool inside = active && base + i < to;
      value_bits[i] = inside ? load16(sum + at) : zero;
      out_bits[i] = inside ? load16(d_out + at) : zero;
      sum_bits[i] = inside && d_sum ? load16(d_sum + at) : zero;
      y_bits[i] = inside && y ? load16(y + at) : zero;
      mean[i] = inside ? statistics[2 * token] : 0.f;
      rstd[i] = inside ? statistics[2 * token + 1] : 0.f;
    }
    // With g = d_out·(1 + s): the sums of g, and of g times the normalised x'.
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
      float value[8], out[8];
      unpack(value_bits[i], value);
      unpack(out_bits[i], out);
      sums[2 * i] = sums[2 * i + 1] = 0.f;
      for (int c = 0; c < 8; c++) {
        sums[2 * i] += out[c] * scale[c];
        sums[2 * i + 1] += out[c] * scale[c] * (value[c] - mean[i]) * rstd[i];
      }
    }
    // The next turn writes the other half of scratch, so that one barrier a turn is enough.
    sums_of_block<2 * TOGETHER>(sums, scratch[turn]);
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
      if (!active || base + i >= to) continue;
      float value[8], out[8], result[8], added[8];
      unpack(value_bits[i], value);
      unpack(out_bits[i], out);
      unpack(sum_bits[i], result);
      unpack(y_bits[i], added);
      const float mean_g = sums[2 * i] / C, mean_product = sums[2 * i + 1] / C;
      for (int c = 0; c < 8; c++) {
        const float normal = (value[c] - mean[i]) * rstd[i];
        d_shift[c] += out[c];
        d_scale[c] += out[c] * normal;
        result[c] += rstd[i] * (out[c] * scale[c] - mean_g - normal * mean_product);
        d_gain[c] += result[c] * added[c];
      }
      const long long at = (sequence * n + base + i) * C + column;
      store16(dx + at, pack(result));
      if (y) {
        for (int c = 0; c < 8; c++) result[c] *= gain[c];
        store16(dy + at, pack(result));
      }
    }
  }
  if (!active) return;
  partial += (sequence * gridDim.x + blockIdx.x) * 3 * C + column;
  for (int c = 0; c < 8; c++) {
    partial[c] = d_gain[c];
    partial[C + c] = d_scale[c];
    partial[2 * C + c] = d_shift[c];
  }
}

/// out = u / √(mean(u²) + 1e-5) · weight with u = y·SiLU(z), for y and out [tokens, D] and the first D columns of
/// projected [tokens, stride] as z. Grid: tokens; D is at most 8 times the threads.
extern "C" __global__ void gated_norm(const half_t *y, const half_t *projected, half_t *out, const half_t *weight, int D,
                                      int stride) {
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const long long token = blockIdx.x;
  const int column = threadIdx.x * 8;
  const bool active = column < D;
  float value[8] = {}, gate[8], factor[8], squared = 0.f;
  if (active) {
    unpack(load16(y + token * D + column), value);
    unpack(load16(projected + token * stride + column, stride % 8 == 0), gate);
    unpack(load16(weight + column), factor);
    for (int c = 0; c < 8; c++) {
      value[c] *= silu(gate[c]);
      squared += value[c] * value[c];
    }
  }
  const float rstd = rsqrtf(sum_of_block(squared, scratch) / D + 1e-5f);
  if (!active) return;
  for (int c = 0; c < 8; c++) value[c] *= rstd * factor[c];
  store16(out + token * D + column, pack(value));
}

#if __CUDA_ARCH__ >= 1000
// Else the compiler may take more registers than 640 threads have.
#define GATED_NORM_BOUNDS __launch_bounds__(640)
#else
#define GATED_NORM_BOUNDS
#endif

/// The gradient of gated_norm: d_out [tokens, D] → dy; that of z in its columns of d_projected; out once more; and each
/// block's part of that of the weight, partial [blocks, D]. Grid: groups of `rows` tokens.
extern "C" __global__ GATED_NORM_BOUNDS void gated_norm_backward(const half_t *d_out, const half_t *y, const half_t *projected,
                                               const half_t *weight, half_t *dy, half_t *d_projected, half_t *out,
                                               float *partial, int tokens, int D, int stride, int rows) {
  constexpr int TOGETHER = 2;
  __shared__ float scratch[2][2 * TOGETHER][32];
  let_successor_start();
  wait_for_predecessor();
  const int column = threadIdx.x * 8;
  const bool active = column < D, aligned = stride % 8 == 0;
  float factor[8] = {}, d_weight[8] = {};
  if (active) unpack(load16(weight + column), factor);
  const uint4 zero = make_uint4(0, 0, 0, 0);
  const int from = blockIdx.x * rows, to = min(from + rows, tokens);
  for (int base = from, turn = 0; base < to; base += TOGETHER, turn ^= 1) {
    uint4 out_bits[TOGETHER], y_bits[TOGETHER], gate_bits[TOGETHER];
    float sums[2 * TOGETHER];
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
      const bool inside = active && base + i < to;
      const long long token = base + i;
      out_bits[i] = inside ? load16(d_out + token * D + column) : zero;
      y_bits[i] = inside ? load16(y + token * D + column) : zero;
      gate_bits[i] = inside ? load16(projected + token * stride + column, aligned) : zero;
    }
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
      float gradient[8], value[8], gate[8];
      unpack(out_bits[i], gradient);
      unpack(y_bits[i], value);
      unpack(gate_bits[i], gate);
      sums[2 * i] = sums[2 * i + 1] = 0.f;
      for (int c = 0; c < 8; c++) {
        const float u = value[c] * silu(gate[c]);
        sums[2 * i] += u * u;
        sums[2 * i + 1] += u * factor[c] * gradient[c];
      }
    }
    // The next turn writes the other half of scratch, so that one barrier a turn is enough.
    sums_of_block<2 * TOGETHER>(sums, scratch[turn]);
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
      if (!active || base + i >= to) continue;
      const long long token = base + i;
      float gradient[8], value[8], gate[8], d_gate[8], result[8];
      unpack(out_bits[i], gradient);
      unpack(y_bits[i], value);
      unpack(gate_bits[i], gate);
      const float rstd = rsqrtf(sums[2 * i] / D + 1e-5f), shrink = rstd * rstd * rstd * sums[2 * i + 1] / D;
      for (int c = 0; c < 8; c++) {
        const float open = reciprocal(1.f + __expf(-gate[c])), activated = gate[c] * open, u = value[c] * activated;
        const float du = rstd * factor[c] * gradient[c] - shrink * u;
        d_weight[c] += gradient[c] * u * rstd;
        result[c] = u * rstd * factor[c];
        d_gate[c] = du * value[c] * open * (1.f + gate[c] * (1.f - open));
        value[c] = du * activated;
      }
      store16(dy + token * D + column, pack(value));
      store16(out + token * D + column, pack(result));
      const uint4 packed = pack(d_gate);
      half_t *target = d_projected + token * stride + column;
      if (aligned) {
        store16(target, packed);
      } else {
        store4(target, packed.x), store4(target + 2, packed.y), store4(target + 4, packed.z), store4(target + 6, packed.w);
      }
    }
  }
  if (!active) return;
  for (int c = 0; c < 8; c++) partial[static_cast<long long>(blockIdx.x) * D + column + c] = d_weight[c];
}
