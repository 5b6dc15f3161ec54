// The middle of a Mamba-2 layer for the tokens of one scale: convolution, SiLU, the selective scan and the gate.
// State 64, head size 64, convolution of width 4, one group. One block of 4 warps has one head of one sequence, and walks
// through chunks of 64 tokens; h stays in registers as float32.

/// 64 channels of the causal convolution and SiLU for tokens start … start + 63, into a tile. `x` is at the channels of
/// the sequence's first token; `before` [3, stride_before] are the rows in front of it, or null for zeros.
__device__ __forceinline__ void convolve(half_t *tile, const half_t *x, long long stride, const half_t *before,
                                         int stride_before, const float *weight, const float *bias, int start, int n) {
  const int channel = threadIdx.x % 32 * 2, from = threadIdx.x / 32 * 16;
  float w[2][4], window[2][3];
  const float bias0 = bias[channel], bias1 = bias[channel + 1];
  for (int tap = 0; tap < 4; tap++) w[0][tap] = weight[channel * 4 + tap], w[1][tap] = weight[channel * 4 + 4 + tap];
  uint32 rows[19];
#pragma unroll
  for (int i = 0; i < 19; i++) {
    const int token = start + from + i - 3;
    rows[i] = 0;
    if (token >= 0 && token < n) rows[i] = load4(x + token * stride + channel);
    if (token < 0 && before) rows[i] = load4(before + (token + 3) * stride_before + channel);
  }
  for (int i = 0; i < 3; i++) window[0][i] = first(rows[i]), window[1][i] = second(rows[i]);
#pragma unroll
  for (int i = 0; i < 16; i++) {
    const float now0 = first(rows[i + 3]), now1 = second(rows[i + 3]);
    float y0 = bias0 + w[0][0] * window[0][0] + w[0][1] * window[0][1] + w[0][2] * window[0][2] + w[0][3] * now0;
    float y1 = bias1 + w[1][0] * window[1][0] + w[1][1] * window[1][1] + w[1][2] * window[1][2] + w[1][3] * now1;
    const bool inside = start + from + i < n;
    store4(tile + (from + i) * ROW + channel, inside ? pack(silu(y0), silu(y1)) : 0);
    window[0][0] = window[0][1], window[0][1] = window[0][2], window[0][2] = now0;
    window[1][0] = window[1][1], window[1][1] = window[1][2], window[1][2] = now1;
  }
}

/// The last 3 rows before the next scale, of 64 channels.
__device__ __forceinline__ void keep_last_rows(half_t *after, const half_t *x, long long stride, const half_t *before,
                                               int stride_before, int n) {
  for (int i = threadIdx.x; i < 3 * 32; i += blockDim.x) {
    const int token = n - 3 + i / 32, channel = i % 32 * 2;
    uint32 row = 0;
    if (token >= 0) row = load4(x + token * stride + channel);
    if (token < 0 && before) row = load4(before + (token + 3) * stride_before + channel);
    store4(after + i / 32 * stride_before + channel, row);
  }
}

/// projected [R, n, 2·D + 128 + H] = [z, x, B, C, dt] → out [R, n, D] = (scan + D·x)·SiLU(z), and the sum of its squares
/// over each head in squares [R, n, H].
///
/// conv_before, conv_after [R, 3, D + 128] and state [R, H, 64, 64] (in place): what is carried between scales; null
/// where nothing came before or nothing comes after (`reads_state`, `keeps_state` for the state). Grid: heads, sequences.
extern "C" __global__ __launch_bounds__(128) void mamba_scan(
    const half_t *projected, half_t *out, float *squares, const float *conv_weight, const float *conv_bias,
    const float *dt_bias, const float *decay, const float *skip, const half_t *conv_before, half_t *conv_after,
    float *state, int n, int reads_state, int keeps_state) {
  __shared__ __align__(16) half_t xs[64 * ROW], bs[64 * ROW], cs[64 * ROW], hs[64 * ROW];
  __shared__ float dts[64], cumulative[64];
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.x, heads = gridDim.x, inner = heads * 64, channels = inner + 128;
  const long long sequence = blockIdx.y;
  const int stride = 2 * inner + 128 + heads;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  projected += sequence * n * stride;
  const half_t *xbc = projected + inner;
  if (conv_before) conv_before += sequence * 3 * channels;
  const int own = head * 64;

  float h[8][4] = {};
  float *own_state = state + (sequence * heads + head) * 4096 + (warp * 16 + g) * 64 + 2 * t;
  if (reads_state) {
    for (int tile = 0; tile < 8; tile++) {
      const float2 upper = *reinterpret_cast<const float2 *>(own_state + tile * 8);
      const float2 lower = *reinterpret_cast<const float2 *>(own_state + 8 * 64 + tile * 8);
      h[tile][0] = upper.x, h[tile][1] = upper.y, h[tile][2] = lower.x, h[tile][3] = lower.y;
    }
  }

  for (int start = 0; start < n; start += 64) {
    __syncthreads();
    convolve(xs, xbc + own, stride, conv_before ? conv_before + own : nullptr, channels, conv_weight + own * 4,
             conv_bias + own, start, n);
    convolve(bs, xbc + inner, stride, conv_before ? conv_before + inner : nullptr, channels, conv_weight + inner * 4,
             conv_bias + inner, start, n);
    convolve(cs, xbc + inner + 64, stride, conv_before ? conv_before + inner + 64 : nullptr, channels,
             conv_weight + (inner + 64) * 4, conv_bias + inner + 64, start, n);
    if (warp == 0) {
      // Two tokens a lane: lane, and lane + 32. Tokens behind the end have dt = 0: they neither decay nor add.
      float sums[2], offset = 0.f;
      for (int half = 0; half < 2; half++) {
        const int token = start + half * 32 + lane;
        const float dt =
            token < n ? softplus(to_float(projected[static_cast<long long>(token) * stride + stride - heads + head]) + dt_bias[head]) : 0.f;
        dts[half * 32 + lane] = dt;
        sums[half] = dt * decay[head];
        for (int step = 1; step < 32; step *= 2) {
          const float left = __shfl_up_sync(~0u, sums[half], step);
          if (lane >= step) sums[half] += left;
        }
        sums[half] += offset;
        offset = __shfl_sync(~0u, sums[half], 31);
        cumulative[half * 32 + lane] = sums[half];
      }
    }
    // h as [p, state], each warp its own rows of p.
    for (int tile = 0; tile < 8; tile++) {
      half_t *row = hs + (warp * 16 + g) * ROW + tile * 8 + 2 * t;
      store4(row, pack(h[tile][0], h[tile][1]));
      store4(row + 8 * ROW, pack(h[tile][2], h[tile][3]));
    }
    __syncthreads();

    uint32 c[4][4];
    for (int step = 0; step < 4; step++) load_a(c[step], cs, warp * 16, step * 16);
    const int upper = warp * 16 + g, lower = upper + 8;
    const float log_upper = cumulative[upper], log_lower = cumulative[lower];
    float y[8][4] = {};
    if (reads_state || start > 0) {
      const float fade_upper = __expf(log_upper), fade_lower = __expf(log_lower);
#pragma unroll
      for (int tile = 0; tile < 8; tile++) {
        const half_t *row = hs + (tile * 8 + g) * ROW + 2 * t;
#pragma unroll
        for (int step = 0; step < 4; step++) multiply_tiles(y[tile], c[step], load4(row + step * 16), load4(row + step * 16 + 8));
        y[tile][0] *= fade_upper, y[tile][1] *= fade_upper, y[tile][2] *= fade_lower, y[tile][3] *= fade_lower;
      }
    }
    // Pairs of 16 tokens up to the diagonal: y += (C·Bᵀ ⊙ decay ⊙ dt) · x.
    for (int pair = 0; pair <= warp; pair++) {
      float s[2][4] = {};
      for (int tile = 0; tile < 2; tile++) {
        const half_t *row = bs + (pair * 16 + tile * 8 + g) * ROW + 2 * t;
#pragma unroll
        for (int step = 0; step < 4; step++) multiply_tiles(s[tile], c[step], load4(row + step * 16), load4(row + step * 16 + 8));
        for (int i = 0; i < 4; i++) {
          const int j = pair * 16 + tile * 8 + 2 * t + i % 2, at = i < 2 ? upper : lower;
          // The exponent is chosen before exp, for behind the diagonal it would overflow.
          s[tile][i] = j <= at ? s[tile][i] * dts[j] * __expf((i < 2 ? log_upper : log_lower) - cumulative[j]) : 0.f;
        }
      }
      const uint32 weights[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]), pack(s[1][2], s[1][3])};
#pragma unroll
      for (int tile = 0; tile < 8; tile += 2) {
        uint32 b[4];
        load_tiles_transposed(b, xs + (pair * 16 + lane % 16) * ROW + tile * 8 + lane / 16 * 8);
        multiply_tiles(y[tile], weights, b[0], b[1]);
        multiply_tiles(y[tile + 1], weights, b[2], b[3]);
      }
    }
    // h = h·(decay to the end) + (x ⊙ dt ⊙ decay to the end)ᵀ · B.
    if (keeps_state || start + 64 < n) {
      const float log_end = cumulative[63], fade = __expf(log_end);
      for (int tile = 0; tile < 8; tile++) {
        for (int i = 0; i < 4; i++) h[tile][i] *= fade;
      }
      for (int step = 0; step < 4; step++) {
        uint32 x[4];
        load_tiles_transposed(x, xs + (step * 16 + lane / 16 * 8 + lane % 8) * ROW + warp * 16 + lane / 8 % 2 * 8);
        for (int i = 0; i < 4; i++) {
          const int j = step * 16 + i / 2 * 8 + 2 * t;
          x[i] = pack(first(x[i]) * dts[j] * __expf(log_end - cumulative[j]),
                      second(x[i]) * dts[j + 1] * __expf(log_end - cumulative[j + 1]));
        }
#pragma unroll
        for (int tile = 0; tile < 8; tile += 2) {
          uint32 b[4];
          load_tiles_transposed(b, bs + (step * 16 + lane % 16) * ROW + tile * 8 + lane / 16 * 8);
          multiply_tiles(h[tile], x, b[0], b[1]);
          multiply_tiles(h[tile + 1], x, b[2], b[3]);
        }
      }
    }
    // Each warp has read its own rows of C; they now hold its rows of y.
    __syncwarp();
    for (int tile = 0; tile < 8; tile++) {
      half_t *row = cs + upper * ROW + tile * 8 + 2 * t;
      const uint32 x_upper = load4(xs + upper * ROW + tile * 8 + 2 * t), x_lower = load4(xs + lower * ROW + tile * 8 + 2 * t);
      store4(row, pack(y[tile][0] + skip[head] * first(x_upper), y[tile][1] + skip[head] * second(x_upper)));
      store4(row + 8 * ROW, pack(y[tile][2] + skip[head] * first(x_lower), y[tile][3] + skip[head] * second(x_lower)));
    }
    __syncwarp();
    for (int row = lane / 8; row < 16; row += 4) {
      const int token = start + warp * 16 + row, column = lane % 8 * 8;
      const bool inside = token < n;
      float values[8], gate[8], sum = 0.f;
      unpack(load16(cs + (warp * 16 + row) * ROW + column), values);
      unpack(inside ? load16(projected + static_cast<long long>(token) * stride + own + column) : make_uint4(0, 0, 0, 0), gate);
      for (int i = 0; i < 8; i++) values[i] *= silu(gate[i]);
      const uint4 rounded = pack(values);
      unpack(rounded, values);
      for (int i = 0; i < 8; i++) sum += values[i] * values[i];
      sum = sum_of_eight(sum);
      if (inside) {
        store16(out + (sequence * n + token) * inner + own + column, rounded);
        if (lane % 8 == 0) squares[(sequence * n + token) * heads + head] = sum;
      }
    }
  }

  if (keeps_state) {
    for (int tile = 0; tile < 8; tile++) {
      *reinterpret_cast<float2 *>(own_state + tile * 8) = make_float2(h[tile][0], h[tile][1]);
      *reinterpret_cast<float2 *>(own_state + 8 * 64 + tile * 8) = make_float2(h[tile][2], h[tile][3]);
    }
  }
  if (conv_after) {
    conv_after += sequence * 3 * channels;
    keep_last_rows(conv_after + own, xbc + own, stride, conv_before ? conv_before + own : nullptr, channels, n);
    if (head == 0) {
      for (int part = inner; part < channels; part += 64) {
        keep_last_rows(conv_after + part, xbc + part, stride, conv_before ? conv_before + part : nullptr, channels, n);
      }
    }
  }
}
