/// The sums of two numbers over a block of at most 1024 threads, a multiple of 32; `scratch` holds 64 numbers.
__device__ __forceinline__ void sums_of_block(float &a, float &b, float *scratch) {
  for (int step = 16; step > 0; step /= 2) a += __shfl_xor_sync(~0u, a, step), b += __shfl_xor_sync(~0u, b, step);
  const int warps = blockDim.x / 32, lane = threadIdx.x % 32;
  if (lane == 0) scratch[threadIdx.x / 32] = a, scratch[32 + threadIdx.x / 32] = b;
  __syncthreads();
  a = b = 0.f;
  for (int i = 0; i < warps; i++) a += scratch[i], b += scratch[32 + i];
}

/// Ends one sublayer and begins the next: x += γ·y, out = LN(x)·(1 + s) + b, with ε = 1e-6.
///
/// x [R, n, C] in place; y [parts, R, n, C], parts ≤ MOST_PARTS, the sum of whose parts and of bias [C] (or null) is added, or null to leave x
/// as it is; modulations [conditions, stride], of which row
/// min(r, last_condition) belongs to sequence r, with γ, s and b at the given offsets. One block a token; C is a multiple
/// of 8 and at most 8 times the threads.
/// Where `scales` [R, n] is given, out is in 8 bits (e4m3) and to be multiplied by its token's scale.
/// Nothing of the modulations, the gains and the bias may be written by a kernel that the one in front of this overlaps with.
/// Where `squares` [R, groups, n] is given, y is divided by the root of their mean over `inner` (RMSNorm, ε = 1e-5) first.
template <int MOST_PARTS>
__device__ __forceinline__ void modulated_norm(half_t *x, const half_t *y, half_t *out, const half_t *gains,
                                               const half_t *modulations, const float *squares, int C, int gain_stride,
                                               int gain_offset, int stride, int scale_offset, int shift_offset,
                                               int last_condition, int groups, int inner, const half_t *bias, int parts,
                                               float *scales) {
  __shared__ float scratch[96];
  let_successor_start();
  const long long token = static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x;
  const int condition = min(static_cast<int>(blockIdx.y), last_condition);
  const int column = threadIdx.x * 8;
  const bool active = column < C;
  // What the class and the weights give was written long ago, and is read while the kernel in front still runs.
  const half_t *own = modulations + static_cast<long long>(condition) * stride + column;
  uint4 own_scale, own_shift, own_gain, own_bias;
  if (active && out) own_scale = load16(own + scale_offset), own_shift = load16(own + shift_offset);
  if (active && y) {
    own_gain = load16(gains + static_cast<long long>(condition) * gain_stride + gain_offset + column);
    if (bias) own_bias = load16(bias + column);
  }
  wait_for_predecessor();

  // All is asked for before anything waits.
  uint4 own_x, own_y[MOST_PARTS];
  if (active) own_x = load16(x + token * C + column);
  if (active && y) {
    const long long part_size = static_cast<long long>(gridDim.y) * gridDim.x * C;
#pragma unroll
    for (int part = 0; part < MOST_PARTS; part++) {
      if (part < parts) own_y[part] = load16(y + part * part_size + token * C + column);
    }
  }
  float value[8] = {};
  if (y) {
    float factor = 1.f;
    if (squares) {
      float sum = 0.f;
      squares += static_cast<long long>(blockIdx.y) * groups * gridDim.x + blockIdx.x;
      for (int i = threadIdx.x % 32; i < groups; i += 32) sum += squares[i * gridDim.x];
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
      factor = rsqrtf(sum / inner + 1e-5f);
    }
    if (active) {
      float added[8] = {}, gain[8];
#pragma unroll
      for (int part = 0; part < MOST_PARTS; part++) {
        if (part >= parts) break;
        float more[8];
        unpack(own_y[part], more);
        for (int i = 0; i < 8; i++) added[i] += more[i];
      }
      if (bias) {
        float offset[8];
        unpack(own_bias, offset);
        for (int i = 0; i < 8; i++) added[i] += offset[i];
      }
      unpack(own_x, value);
      unpack(own_gain, gain);
      for (int i = 0; i < 8; i++) value[i] += gain[i] * (added[i] * factor);
      const uint4 rounded = pack(value);
      store16(x + token * C + column, rounded);
      unpack(rounded, value);
    }
  } else if (active) {
    unpack(own_x, value);
  }
  if (!out) return;

  float sum = 0.f, squared = 0.f;
  for (int i = 0; i < 8; i++) sum += value[i], squared += value[i] * value[i];
  sums_of_block(sum, squared, scratch);
  const float mean = sum / C;
  const float rstd = rsqrtf(fmaxf(squared / C - mean * mean, 0.f) + 1e-6f);
  float top = 0.f;
  if (active) {
    float scale[8], shift[8];
    unpack(own_scale, scale);
    unpack(own_shift, shift);
    for (int i = 0; i < 8; i++) {
      value[i] = (value[i] - mean) * rstd * (1.f + scale[i]) + shift[i];
      top = fmaxf(top, fabsf(value[i]));
    }
  }
  if (scales) {
    const float scale = scale_of_8_bits(max_of_block(top, scratch + 64));
    if (threadIdx.x == 0) scales[token] = scale;
    if (active) reinterpret_cast<uint2 *>(out)[(token * C + column) / 8] = pack_to_8(value, 1.f / scale);
  } else if (active) {
    store16(out + token * C + column, pack(value));
  }
}

#define MODULATED_NORM(NAME, MOST_PARTS)                                                                              \
  extern "C" __global__ void NAME(half_t *x, const half_t *y, half_t *out, const half_t *gains,                       \
                                  const half_t *modulations, const float *squares, int C, int gain_stride,            \
                                  int gain_offset, int stride, int scale_offset, int shift_offset,                    \
                                  int last_condition, int groups, int inner, const half_t *bias, int parts,           \
                                  float *scales) {                                                                    \
    modulated_norm<MOST_PARTS>(x, y, out, gains, modulations, squares, C, gain_stride, gain_offset, stride,           \
                               scale_offset, shift_offset, last_condition, groups, inner, bias, parts, scales);       \
  }
MODULATED_NORM(modulated_norm_of_sum, 1)
MODULATED_NORM(modulated_norm_of_parts, 8)

/// GELU (tanh form) of rows x [rows, N], to 8 bits with a scale each: out [rows, N], scales [rows]. One block a row; N a
/// multiple of 8 and at most 8·EACH times the threads.
extern "C" __global__ __launch_bounds__(256) void gelu_to_8(const half_t *x, uint2 *out, float *scales, int N) {
  constexpr int EACH = 8;
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const long long row = blockIdx.x;
  float value[EACH][8], top = 0.f;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int column = (threadIdx.x + i * blockDim.x) * 8;
    if (column >= N) break;
    unpack(load16(x + row * N + column), value[i]);
    for (int c = 0; c < 8; c++) value[i][c] = gelu(value[i][c]), top = fmaxf(top, fabsf(value[i][c]));
  }
  const float scale = scale_of_8_bits(max_of_block(top, scratch));
  if (threadIdx.x == 0) scales[row] = scale;
  const float factor = 1.f / scale;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int column = (threadIdx.x + i * blockDim.x) * 8;
    if (column >= N) break;
    out[(row * N + column) / 8] = pack_to_8(value[i], factor);
  }
}
