/// The sums of two numbers over a block of at most 1024 threads, a multiple of 32; `scratch` holds 64 numbers.
__device__ __forceinline__ void sums_of_block(float &a, float &b, float *scratch) {
  for (int step = 16; step > 0; step /= 2) a += __shfl_xor_sync(~0u, a, step), b += __shfl_xor_sync(~0u, b, step);
  const int warps = blockDim.x / 32, lane = threadIdx.x % 32;
  if (lane == 0) scratch[threadIdx.x / 32] = a, scratch[32 + threadIdx.x / 32] = b;
  __syncthreads();
  a = b = 0.f;
  for (int i = 0; i < warps; i++) a += scratch[i], b += scratch[32 + i];
}

/// A thread's eight columns of what the class and the weights give.
struct Modulation {
  uint4 scale, shift, gain, bias;
};

/// A thread's eight columns of a token, and its share of the squares.
template <int PARTS>
struct NormedToken {
  uint4 x, y[PARTS];
  float squares[2];
};

/// What the kernels below share: their arguments, and the steps of a token.
///
/// x += γ·y, out = LN(x)·(1 + s) + b, with ε = 1e-6: x [R, n, C] in place; y [parts, R, n, C], the sum of whose parts and of
/// bias [C] (or null) is added, or null to leave x as it is; modulations [conditions, stride], of which row
/// min(r, last_condition) belongs to sequence r, with γ, s and b at the given offsets. C is a multiple of 8 and at most 8 times
/// the threads.
/// Where `squares` [R, n, groups] is given, y is divided by the root of their mean over `inner` (RMSNorm, ε = 1e-5) first.
/// Where `scales` [R, n] is given, out is in 8 bits (e4m3) and to be multiplied by its token's scale.
template <int PARTS>
struct ModulatedNorm {
  half_t *x;
  const half_t *y;
  half_t *out;
  const half_t *gains, *modulations;
  const float *squares;
  int C, gain_stride, gain_offset, stride, scale_offset, shift_offset, last_condition, groups, inner;
  const half_t *bias;
  int parts;
  float *scales;
  int n;

  __device__ __forceinline__ int column() const { return threadIdx.x * 8; }
  __device__ __forceinline__ bool active() const { return column() < C; }

  __device__ __forceinline__ Modulation modulation() const {
    const int condition = min(static_cast<int>(blockIdx.y), last_condition);
    const half_t *own = modulations + static_cast<long long>(condition) * stride + column();
    Modulation result;
    if (active() && out) result.scale = load16(own + scale_offset), result.shift = load16(own + shift_offset);
    if (active() && y) {
      result.gain = load16(gains + static_cast<long long>(condition) * gain_stride + gain_offset + column());
      if (bias) result.bias = load16(bias + column());
    }
    return result;
  }

  /// Asks for all of a token before anything waits.
  __device__ __forceinline__ NormedToken<PARTS> load(int i) const {
    NormedToken<PARTS> result;
    const long long token = static_cast<long long>(blockIdx.y) * n + i;
    if (active()) result.x = load16(x + token * C + column());
    if (active() && y) {
      const long long part_size = static_cast<long long>(gridDim.y) * n * C;
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
        if (part < parts) result.y[part] = load16(y + part * part_size + token * C + column());
      }
    }
    result.squares[0] = result.squares[1] = 0.f;
    if (y && squares) {
      const float *own = squares + token * groups;
      const int lane = threadIdx.x % 32;
      if (lane < groups) result.squares[0] = own[lane];
      for (int group = lane + 32; group < groups; group += 32) result.squares[1] += own[group];
    }
    return result;
  }

  /// `scratch` holds 96 numbers that nobody reads any more.
  __device__ __forceinline__ void finish(const Modulation &own, const NormedToken<PARTS> &read, int i, float *scratch) const {
    const long long token = static_cast<long long>(blockIdx.y) * n + i;
    float value[8] = {};
    if (y) {
      float factor = 1.f;
      if (squares) {
        float sum = read.squares[0] + read.squares[1];
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        factor = rsqrtf(sum / inner + 1e-5f);
      }
      if (active()) {
        float added[8] = {}, gain[8];
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
          if (part >= parts) break;
          float more[8];
          unpack(read.y[part], more);
          for (int c = 0; c < 8; c++) added[c] += more[c];
        }
        if (bias) {
          float offset[8];
          unpack(own.bias, offset);
          for (int c = 0; c < 8; c++) added[c] += offset[c];
        }
        unpack(read.x, value);
        unpack(own.gain, gain);
        for (int c = 0; c < 8; c++) value[c] += gain[c] * (added[c] * factor);
        const uint4 rounded = pack(value);
        store16(x + token * C + column(), rounded);
        unpack(rounded, value);
      }
    } else if (active()) {
      unpack(read.x, value);
    }
    if (!out) return;

    float sum = 0.f, squared = 0.f;
    for (int c = 0; c < 8; c++) sum += value[c], squared += value[c] * value[c];
    sums_of_block(sum, squared, scratch);
    const float mean = sum / C;
    const float rstd = rsqrtf(fmaxf(squared / C - mean * mean, 0.f) + 1e-6f);
    float top = 0.f;
    if (active()) {
      float scale[8], shift[8];
      unpack(own.scale, scale);
      unpack(own.shift, shift);
      for (int c = 0; c < 8; c++) {
        value[c] = (value[c] - mean) * rstd * (1.f + scale[c]) + shift[c];
        top = fmaxf(top, fabsf(value[c]));
      }
    }
    if (scales) {
      const float scale = scale_of_8_bits(max_of_block(top, scratch + 64));
      if (threadIdx.x == 0) scales[token] = scale;
      if (active()) reinterpret_cast<uint2 *>(out)[(token * C + column()) / 8] = pack_to_8(value, 1.f / scale);
    } else if (active()) {
      store16(out + token * C + column(), pack(value));
    }
  }
};

/// Ends one sublayer and begins the next. A block has a token.
/// Nothing of the modulations, the gains and the bias may be written by a kernel that the one in front of this overlaps with.
template <int PARTS>
__device__ __forceinline__ void norm_token(const ModulatedNorm<PARTS> &norm) {
  __shared__ float scratch[96];
  let_successor_start();
  // What the class and the weights give was written long ago, and is read while the kernel in front still runs.
  const Modulation own = norm.modulation();
  wait_for_predecessor();
  norm.finish(own, norm.load(blockIdx.x), blockIdx.x, scratch);
}

/// The same for many tokens: a block has EACH of them, and asks for one while the one before is under work.
__device__ __forceinline__ void norm_tokens(const ModulatedNorm<1> &norm) {
  constexpr int EACH = 4;
  __shared__ float scratch[2][96];
  let_successor_start();
  const Modulation own = norm.modulation();
  wait_for_predecessor();
  const int from = blockIdx.x * EACH, to = min(from + EACH, norm.n);
  NormedToken<1> next = norm.load(from);
  for (int i = from; i < to; i++) {
    const NormedToken<1> read = next;
    if (i + 1 < to) next = norm.load(i + 1);
    norm.finish(own, read, i, scratch[i % 2]);
  }
}

#define MODULATED_NORM(NAME, PARTS, STEPS)                                                                                    \
  extern "C" __global__ void NAME(half_t *x, const half_t *y, half_t *out, const half_t *gains, const half_t *modulations,    \
                                  const float *squares, int C, int gain_stride, int gain_offset, int stride, int scale_offset, \
                                  int shift_offset, int last_condition, int groups, int inner, const half_t *bias, int parts, \
                                  float *scales, int n) {                                                                     \
    STEPS(ModulatedNorm<PARTS>{x, y, out, gains, modulations, squares, C, gain_stride, gain_offset, stride, scale_offset,     \
                               shift_offset, last_condition, groups, inner, bias, parts, scales, n});                         \
  }
MODULATED_NORM(modulated_norm_of_sum, 1, norm_token)
MODULATED_NORM(modulated_norm_of_parts, 8, norm_token)
MODULATED_NORM(modulated_norm_of_many, 1, norm_tokens)

/// GELU (tanh form) of rows x [rows, N], to 8 bits with a scale each: out [rows, N], scales [rows]. One block a row; N a
/// multiple of 8 and at most 32 times the threads.
extern "C" __global__ void gelu_to_8(const half_t *x, uint2 *out, float *scales, int N) {
  constexpr int EACH = 4;
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const long long row = blockIdx.x;
  x += row * N, out += row * (N / 8);
  uint4 read[EACH];
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int chunk = threadIdx.x + i * blockDim.x;
    read[i] = chunk * 8 < N ? load16(x + chunk * 8) : make_uint4(0, 0, 0, 0);
  }
  float value[EACH][8], top = 0.f;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    unpack(read[i], value[i]);
    for (int c = 0; c < 8; c++) value[i][c] = gelu(value[i][c]), top = fmaxf(top, fabsf(value[i][c]));
  }
  const float scale = scale_of_8_bits(max_of_block(top, scratch));
  if (threadIdx.x == 0) scales[row] = scale;
  const float factor = 1.f / scale;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int chunk = threadIdx.x + i * blockDim.x;
    if (chunk * 8 < N) out[chunk] = pack_to_8(value[i], factor);
  }
}
