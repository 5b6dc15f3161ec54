// What a scale's tokens add to f̂, and what the next scale reads: codes, bicubic enlargement, φ, the sum, and the area
// average, all in float32. A block has 4 channels of some rows of a picture, and enlarges all channels there, since φ mixes them.
// The blocks of all rows of 4 channels are a cluster: an area may lie in the rows of several.
constexpr int MAP_CHANNELS = 4;
/// Neighbouring threads that share the channels of two pixels.
constexpr int MAP_PARTS = 8;

/// PyTorch's cubic weights (A = −0.75) of the four neighbours of a point that lies `t` behind the second.
__device__ __forceinline__ void cubic_weights(float *w, float t) {
  constexpr float A = -0.75f;
  const auto near = [](float x) { return ((A + 2.f) * x - (A + 3.f)) * x * x + 1.f; };
  const auto far = [](float x) { return ((A * x - 5.f * A) * x + 8.f * A) * x - 4.f * A; };
  w[0] = far(t + 1.f), w[1] = near(t), w[2] = near(1.f - t), w[3] = far(2.f - t);
}

/// The rows of a picture that a block has, and those of the codes that it enlarges for them.
struct MapStrip {
  /// Of f̂; φ reads one more on each side.
  int first, end;
  int first_line, end_line;

  __device__ __forceinline__ MapStrip(int strip, int strips, int h, int H) {
    const int rows = (H + strips - 1) / strips;
    first = min(strip * rows, H), end = min(first + rows, H);
    const float scale = static_cast<float>(h) / H;
    first_line = max(static_cast<int>(floorf((first - 0.5f) * scale - 0.5f)) - 1, 0);
    end_line = min(static_cast<int>(floorf((end + 0.5f) * scale - 0.5f)) + 3, h);
    first_line = min(first_line, end_line - 1);
  }
};

/// tokens [B, h·w] → f_hat [B, C, H, W] += φ(enlarged codes), or = where `first_scale`; and, unless null,
/// input [B, next_h·next_w, C], the average of the new f̂ over areas.
///
/// codebook [V, C]; phi_weight [C, C, 3, 3], phi_bias [C]: φ(x) = x/2 + conv(x)/2. Grid: STRIPS·C / 4 in clusters of STRIPS,
/// pictures. C is a multiple of 8, W even. With rows = H / STRIPS, rounded up, shared memory in floats: C·((rows + 2)·(W + 2) + 1)
/// + 3 + 36·C + 32 + 4·rows·W + 4·next_h·next_w, h·w ints, and C·h·w floats if `staged`.
template <int STRIPS>
__device__ __forceinline__ void add_token_map(const long long *tokens, const float *codebook, const float *phi_weight,
                                              const float *phi_bias, float *f_hat, half_t *input, int C, int h, int w, int H,
                                              int W, int next_h, int next_w, int first_scale, int staged) {
  extern __shared__ __align__(16) float map[];
  const MapStrip strip(blockIdx.x % STRIPS, STRIPS, h, H);
  // An odd distance between channels, so that neighbours lie in different banks.
  const int all_rows = (H + STRIPS - 1) / STRIPS, row = W + 2, plane = ((all_rows + 2) * row) | 1;
  const int first_channel = blockIdx.x / STRIPS * MAP_CHANNELS;
  // What threads that share a pixel read at once lies in different banks, too.
  const int part_channels = C / MAP_PARTS, part_taps = 9 * part_channels * MAP_CHANNELS + 4;
  float *taps = map + C * plane + (4 - C * plane % 4) % 4, *sums = taps + MAP_PARTS * part_taps;
  float *averages = sums + MAP_CHANNELS * all_rows * W;
  int *codes = reinterpret_cast<int *>(averages + MAP_CHANNELS * next_h * next_w);
  float *lines_of_codes = reinterpret_cast<float *>(codes + h * w);
  const long long picture = blockIdx.y;
  for (int i = threadIdx.x; i < C * plane; i += blockDim.x) map[i] = 0.f;
  for (int i = threadIdx.x; i < 9 * C * MAP_CHANNELS; i += blockDim.x) {
    const int tap = i / MAP_CHANNELS, part = tap / (9 * part_channels);
    taps[i + 4 * part] = phi_weight[(first_channel + i % MAP_CHANNELS) * 9 * C + tap];
  }
  let_successor_start();
  wait_for_predecessor();
  tokens += picture * h * w;
  const int first_code = strip.first_line * w, end_code = strip.end_line * w;
  for (int i = first_code + threadIdx.x; i < end_code; i += blockDim.x) codes[i] = static_cast<int>(tokens[i]);
  if (staged) {
    for (int i = first_code * C + threadIdx.x; i < end_code * C; i += blockDim.x) {
      lines_of_codes[i] = codebook[tokens[i / C] * C + i % C];
    }
  }
  __syncthreads();
  // A thread walks down one column of one channel, and keeps the four lines that the next point lies between.
  const float scale_y = static_cast<float>(h) / H, scale_x = static_cast<float>(w) / W;
  const int first_enlarged = max(strip.first - 1, 0), enlarged = min(strip.end + 1, H) - first_enlarged;
  const int runs = max(1, static_cast<int>(blockDim.x) / (C * W)), run_length = (enlarged + runs - 1) / runs;
  for (int i = threadIdx.x; i < C * W * runs; i += blockDim.x) {
    const int channel = i % C, x = i / C % W, first_y = first_enlarged + i / C / W * run_length;
    const int last_y = min(first_y + run_length, first_enlarged + enlarged);
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
        sum += wx[d] * (staged ? lines_of_codes[place * C + channel] : codebook[static_cast<long long>(codes[place]) * C + channel]);
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
      map[channel * plane + (y - strip.first + 1) * row + x + 1] = wy[0] * lines[0] + wy[1] * lines[1] + wy[2] * lines[2] + wy[3] * lines[3];
    }
  }
  __syncthreads();

  const int pixels = (strip.end - strip.first) * W;
  float *own = f_hat + (picture * C + first_channel) * H * W + strip.first * W;
  const int part = threadIdx.x % MAP_PARTS, own_channel = part % MAP_CHANNELS;
  for (int start = 0; start < pixels; start += blockDim.x / MAP_PARTS * 2) {
    const int place = start + threadIdx.x / MAP_PARTS * 2, pixel = min(place, pixels - 2), own_pixel = pixel + part / MAP_CHANNELS;
    const float *corner = map + pixel / W * row + pixel % W, *weights = taps + part * part_taps;
    const float before = first_scale || place >= pixels ? 0.f : own[own_channel * H * W + own_pixel];
    float sum[2][MAP_CHANNELS] = {};
    for (int i = 0; i < part_channels; i++) {
      const float *values = corner + (part * part_channels + i) * plane;
#pragma unroll
      for (int y = 0; y < 3; y++) {
        const float across[4] = {values[y * row], values[y * row + 1], values[y * row + 2], values[y * row + 3]};
#pragma unroll
        for (int x = 0; x < 3; x++) {
          const float4 weight = *reinterpret_cast<const float4 *>(weights + (i * 9 + y * 3 + x) * MAP_CHANNELS);
#pragma unroll
          for (int j = 0; j < 2; j++) {
            sum[j][0] += across[x + j] * weight.x, sum[j][1] += across[x + j] * weight.y;
            sum[j][2] += across[x + j] * weight.z, sum[j][3] += across[x + j] * weight.w;
          }
        }
      }
    }
    float whole = 0.f;
#pragma unroll
    for (int i = 0; i < 2 * MAP_CHANNELS; i++) {
      const float total = sum_of_eight(sum[i / MAP_CHANNELS][i % MAP_CHANNELS]);
      if (i == part) whole = total;
    }
    if (place >= pixels) continue;
    whole += phi_bias[first_channel + own_channel];
    const float enlarged_here = map[(first_channel + own_channel) * plane + (own_pixel / W + 1) * row + own_pixel % W + 1];
    const float total = before + 0.5f * enlarged_here + 0.5f * whole;
    own[own_channel * H * W + own_pixel] = total;
    sums[own_channel * all_rows * W + own_pixel] = total;
  }
  if (!input) return;
  __syncthreads();

  // What this strip has of each area; then each block adds up some of the areas.
  const int count = next_h * next_w;
  for (int i = threadIdx.x; i < count * MAP_CHANNELS; i += blockDim.x) {
    const int channel = i % MAP_CHANNELS, token = i / MAP_CHANNELS, y = token / next_w, x = token % next_w;
    const int top = max(y * H / next_h, strip.first), bottom = min(((y + 1) * H + next_h - 1) / next_h, strip.end);
    const int left = x * W / next_w, right = ((x + 1) * W + next_w - 1) / next_w;
    float sum = 0.f;
    for (int j = top; j < bottom; j++) {
      for (int k = left; k < right; k++) sum += sums[channel * all_rows * W + (j - strip.first) * W + k];
    }
    averages[i] = sum;
  }
  Cluster<STRIPS>::arrive(), Cluster<STRIPS>::wait();
  for (int i = threadIdx.x * STRIPS + blockIdx.x % STRIPS; i < count * MAP_CHANNELS / 2; i += blockDim.x * STRIPS) {
    const int channel = i % (MAP_CHANNELS / 2) * 2, token = i / (MAP_CHANNELS / 2), y = token / next_w, x = token % next_w;
    const int top = y * H / next_h, bottom = ((y + 1) * H + next_h - 1) / next_h;
    const int left = x * W / next_w, right = ((x + 1) * W + next_w - 1) / next_w;
    float2 sum = make_float2(0.f, 0.f);
#pragma unroll
    for (int block = 0; block < STRIPS; block++) {
      const float2 part_sum = Cluster<STRIPS>::read(reinterpret_cast<const float2 *>(averages + token * MAP_CHANNELS + channel), block);
      sum.x += part_sum.x, sum.y += part_sum.y;
    }
    const float area = static_cast<float>((bottom - top) * (right - left));
    store4(input + (picture * count + token) * C + first_channel + channel, pack(sum.x / area, sum.y / area));
  }
  // Nobody leaves while others read what it has.
  Cluster<STRIPS>::arrive(), Cluster<STRIPS>::wait();
}

#define TOKEN_MAP(NAME, STRIPS)                                                                                               \
  extern "C" __global__ CLUSTER(STRIPS) __launch_bounds__(1024) void NAME(                                                    \
      const long long *tokens, const float *codebook, const float *phi_weight, const float *phi_bias, float *f_hat,           \
      half_t *input, int C, int h, int w, int H, int W, int next_h, int next_w, int first_scale, int staged) {                \
    add_token_map<STRIPS>(tokens, codebook, phi_weight, phi_bias, f_hat, input, C, h, w, H, W, next_h, next_w, first_scale,   \
                          staged);                                                                                            \
  }
TOKEN_MAP(token_map, 1)
#if __CUDA_ARCH__ >= 900
TOKEN_MAP(token_map_of_4, 4)
#endif
