/// Ends one sublayer and begins the next: x += γ·y, out = LN(x)·(1 + s) + b, with ε = 1e-6.
///
/// x [R, n, C] in place; y [parts, R, n, C], the sum of whose parts and of bias [C] (or null) is added, or null to leave x
/// as it is; modulations [conditions, stride], of which row
/// min(r, last_condition) belongs to sequence r, with γ, s and b at the given offsets. One block a token; C is a multiple
/// of 8 and at most 8 times the threads.
/// Where `squares` [R, groups, n] is given, y is divided by the root of their mean over `inner` (RMSNorm, ε = 1e-5) first.
extern "C" __global__ void modulated_norm(half_t *x, const half_t *y, half_t *out, const half_t *gains,
                                          const half_t *modulations, const float *squares, int C, int gain_stride,
                                          int gain_offset, int stride, int scale_offset, int shift_offset,
                                          int last_condition, int groups, int inner, const half_t *bias, int parts) {
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const long long token = static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x;
  const int condition = min(static_cast<int>(blockIdx.y), last_condition);
  const int column = threadIdx.x * 8;
  const bool active = column < C;

  float value[8] = {};
  if (active) unpack(load16(x + token * C + column), value);
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
      float added[8], gain[8];
      unpack(load16(y + token * C + column), added);
      for (int part = 1; part < parts; part++) {
        float more[8];
        unpack(load16(y + (part * static_cast<long long>(gridDim.y) * gridDim.x + token) * C + column), more);
        for (int i = 0; i < 8; i++) added[i] += more[i];
      }
      if (bias) {
        float offset[8];
        unpack(load16(bias + column), offset);
        for (int i = 0; i < 8; i++) added[i] += offset[i];
      }
      unpack(load16(gains + static_cast<long long>(condition) * gain_stride + gain_offset + column), gain);
      for (int i = 0; i < 8; i++) value[i] += gain[i] * (added[i] * factor);
      const uint4 rounded = pack(value);
      store16(x + token * C + column, rounded);
      unpack(rounded, value);
    }
  }
  if (!out) return;

  float sum = 0.f;
  for (int i = 0; i < 8; i++) sum += value[i];
  const float mean = sum_of_block(sum, scratch) / C;
  float squared = 0.f;
  if (active) {
    for (int i = 0; i < 8; i++) squared += (value[i] - mean) * (value[i] - mean);
  }
  const float rstd = rsqrtf(sum_of_block(squared, scratch) / C + 1e-6f);
  if (!active) return;
  const half_t *own = modulations + static_cast<long long>(condition) * stride + column;
  float scale[8], shift[8];
  unpack(load16(own + scale_offset), scale);
  unpack(load16(own + shift_offset), shift);
  for (int i = 0; i < 8; i++) value[i] = (value[i] - mean) * rstd * (1.f + scale[i]) + shift[i];
  store16(out + token * C + column, pack(value));
}
