// What a scale's tokens add to f̂, and what the next scale reads: codes, bicubic enlargement, φ, the sum, and the area
// average, all in float32. Each block has 4 channels of one picture, and enlarges all channels, since φ mixes them.
constexpr int MAP_CHANNELS = 4;
/// Neighbouring threads that share a pixel's channels.
constexpr int MAP_PARTS = 4;

/// PyTorch's cubic weights (A = −0.75) of the four neighbours of a point that lies `t` behind the second.
__device__ __forceinline__ void cubic_weights(float *w, float t) {
  constexpr float A = -0.75f;
  const auto near = [](float x) { return ((A + 2.f) * x - (A + 3.f)) * x * x + 1.f; };
  const auto far = [](float x) { return ((A * x - 5.f * A) * x + 8.f * A) * x - 4.f * A; };
  w[0] = far(t + 1.f), w[1] = near(t), w[2] = near(1.f - t), w[3] = far(2.f - t);
}

/// tokens [B, h·w] → f_hat [B, C, H, W] += φ(enlarged codes), or = where `first`; and, unless null,
/// input [B, next_h·next_w, C], the average of the new f̂ over areas.
///
/// codebook [V, C]; phi_weight [C, C, 3, 3], phi_bias [C]: φ(x) = x/2 + conv(x)/2. Grid: C / 4, pictures.
/// C and the threads are multiples of 4.
/// Shared memory, as floats: C·((H + 2)·(W + 2) + 1) + 3 + 36·C + 16 + 4·H·W, h·w ints, and C·h·w floats if `staged`.
extern "C" __global__ __launch_bounds__(1024) void token_map(const long long *tokens, const float *codebook,
                                                            const float *phi_weight, const float *phi_bias,
                                                            float *f_hat, half_t *input, int C, int h, int w, int H,
                                                            int W, int next_h, int next_w, int first_scale, int staged) {
  extern __shared__ __align__(16) float map[];
  // An odd distance between channels, so that neighbours lie in different banks.
  const int row = W + 2, plane = (H + 2) * row + 1, pixels = H * W, first_channel = blockIdx.x * MAP_CHANNELS;
  // What threads that share a pixel read at once lies in different banks, too.
  const int part_channels = C / MAP_PARTS, part_taps = 9 * part_channels * MAP_CHANNELS + 4;
  float *taps = map + C * plane + (4 - C * plane % 4) % 4, *sums = taps + MAP_PARTS * part_taps;
  int *codes = reinterpret_cast<int *>(sums + MAP_CHANNELS * pixels);
  float *rows = reinterpret_cast<float *>(codes + h * w);
  const long long picture = blockIdx.y;
  for (int i = threadIdx.x; i < C * plane; i += blockDim.x) map[i] = 0.f;
  for (int i = threadIdx.x; i < 9 * C * MAP_CHANNELS; i += blockDim.x) {
    const int tap = i / MAP_CHANNELS, part = tap / (9 * part_channels);
    taps[i + 4 * part] = phi_weight[(first_channel + i % MAP_CHANNELS) * 9 * C + tap];
  }
  let_successor_start();
  wait_for_predecessor();
  for (int i = threadIdx.x; i < h * w; i += blockDim.x) codes[i] = static_cast<int>(tokens[picture * h * w + i]);
  if (staged) {
    for (int i = threadIdx.x; i < h * w * C; i += blockDim.x) {
      rows[i] = codebook[tokens[picture * h * w + i / C] * C + i % C];
    }
  }
  __syncthreads();
  // A thread walks down one column of one channel, and keeps the four rows that the next point lies between.
  const float scale_y = static_cast<float>(h) / H, scale_x = static_cast<float>(w) / W;
  const int runs = max(1, static_cast<int>(blockDim.x) / (C * W)), run_length = (H + runs - 1) / runs;
  for (int i = threadIdx.x; i < C * W * runs; i += blockDim.x) {
    const int channel = i % C, x = i / C % W, first_y = i / C / W * run_length, last_y = min(first_y + run_length, H);
    const float at_x = (x + 0.5f) * scale_x - 0.5f;
    const int left = static_cast<int>(floorf(at_x));
    int columns[4];
    float wx[4], wy[4], lines[4];
    cubic_weights(wx, at_x - left);
#pragma unroll
    for (int d = 0; d < 4; d++) columns[d] = min(max(left + d - 1, 0), w - 1);
    const auto line_at = [&](int y) {
      const int line = min(max(y, 0), h - 1) * w;
      float sum = 0.f;
#pragma unroll
      for (int d = 0; d < 4; d++) {
        const int place = line + columns[d];
        sum += wx[d] * (staged ? rows[place * C + channel] : codebook[static_cast<long long>(codes[place]) * C + channel]);
      }
      return sum;
    };
    int below = 0;
    for (int y = first_y; y < last_y; y++) {
      const float at_y = (y + 0.5f) * scale_y - 0.5f;
      const int top = static_cast<int>(floorf(at_y));
      if (y == first_y) {
#pragma unroll
        for (int d = 0; d < 4; d++) lines[d] = line_at(top + d - 1);
        below = top;
      }
      for (; below < top; below++) {
        lines[0] = lines[1], lines[1] = lines[2], lines[2] = lines[3];
        lines[3] = line_at(below + 3);
      }
      cubic_weights(wy, at_y - top);
      map[channel * plane + (y + 1) * row + x + 1] = wy[0] * lines[0] + wy[1] * lines[1] + wy[2] * lines[2] + wy[3] * lines[3];
    }
  }
  __syncthreads();

  float *own = f_hat + (picture * C + first_channel) * pixels;
  const int part = threadIdx.x % MAP_PARTS;
  for (int start = 0; start < pixels; start += blockDim.x / MAP_PARTS) {
    const int place = start + threadIdx.x / MAP_PARTS, pixel = min(place, pixels - 1);
    const float *corner = map + pixel / W * row + pixel % W, *weights = taps + part * part_taps;
    float sum[MAP_CHANNELS] = {};
    for (int i = 0; i < part_channels; i++) {
      const float *values = corner + (part * part_channels + i) * plane;
#pragma unroll
      for (int tap = 0; tap < 9; tap++) {
        const float value = values[tap / 3 * row + tap % 3];
        const float4 weight = *reinterpret_cast<const float4 *>(weights + (i * 9 + tap) * MAP_CHANNELS);
        sum[0] += value * weight.x, sum[1] += value * weight.y, sum[2] += value * weight.z, sum[3] += value * weight.w;
      }
    }
    for (int c = 0; c < MAP_CHANNELS; c++) {
      const float whole = phi_bias[first_channel + c] + sum_of_four(sum[c]);
      if (c != part || place >= pixels) continue;
      const float added = 0.5f * corner[(first_channel + c) * plane + row + 1] + 0.5f * whole;
      const float total = first_scale ? added : own[c * pixels + pixel] + added;
      own[c * pixels + pixel] = total;
      sums[c * pixels + pixel] = total;
    }
  }
  if (!input) return;
  __syncthreads();
  const int count = next_h * next_w;
  for (int i = threadIdx.x; i < count * MAP_CHANNELS / 2; i += blockDim.x) {
    const int c = i % (MAP_CHANNELS / 2) * 2, token = i / (MAP_CHANNELS / 2), y = token / next_w, x = token % next_w;
    const int top = y * H / next_h, bottom = ((y + 1) * H + next_h - 1) / next_h;
    const int left = x * W / next_w, right = ((x + 1) * W + next_w - 1) / next_w;
    float a = 0.f, b = 0.f;
    for (int j = top; j < bottom; j++) {
      for (int k = left; k < right; k++) a += sums[c * pixels + j * W + k], b += sums[(c + 1) * pixels + j * W + k];
    }
    const float area = static_cast<float>((bottom - top) * (right - left));
    store4(input + (picture * count + token) * C + first_channel + c, pack(a / area, b / area));
  }
}
