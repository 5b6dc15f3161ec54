// Group normalisation of the tokenizer's decoder, channels last, with what stands around it: the bias of the convolution
// in front, the sum of a residual block, the interleaving of an upsampling. 32 groups, ε = 1e-6.
// Pixels are summed in slices whose number depends on the picture's size alone, and slices in their order, so that a
// picture does not depend on the batch.
constexpr int GROUPS = 32;
constexpr int AT_ONCE = 4;

/// Sums over a block's threads, each of which has eight channels and one of `rows` rows; `sums` gets each group's, and of its squares.
__device__ __forceinline__ void sum_up_groups(float *partial, const float *sum, const float *squares, int rows, int C, float *sums) {
  const int chunks = C / 8, chunk = threadIdx.x % chunks, row = threadIdx.x / chunks;
  for (int c = 0; c < 8; c++) {
    partial[row * 2 * C + chunk * 8 + c] = sum[c];
    partial[row * 2 * C + C + chunk * 8 + c] = squares[c];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * C; i += blockDim.x) {
    float total = 0.f;
    for (int r = 0; r < rows; r++) total += partial[r * 2 * C + i];
    partial[i] = total;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * GROUPS; i += blockDim.x) {
    const int group = i / 2, size = C / GROUPS;
    const float *channels = partial + i % 2 * C + group * size;
    float total = 0.f;
    for (int c = 0; c < size; c++) total += channels[c];
    sums[i] = total;
  }
}

/// Makes x and sums it up: sums [B, slices, 32, 2] get each group's sum and sum of squares.
///
/// What x is, for pictures of H × W pixels and C channels (threads: a multiple of C / 8):
/// - kind 0: source [B, H, W, stride], of which the first C channels count, + bias;
/// - kind 1: source [B, H, W, C] + other [B, H, W, stride] + bias;
/// - kind 2: source [B, H/2 + 1, W/2 + 1, 2, 2, C], of which pixel (i, j) is at (i/2 + i%2, j/2 + j%2, i%2, j%2), + bias.
/// `out` [B, H, W, C] gets x where it is not null. Shared memory: 16 floats a thread. Grid: slices, pictures.
extern "C" __global__ void norm_statistics(const half_t *source, const half_t *other, const half_t *bias, half_t *out,
                                           float *sums, int kind, int H, int W, int C, int stride) {
  extern __shared__ float partial[];
  let_successor_start();
  wait_for_predecessor();
  const int chunks = C / 8, rows = blockDim.x / chunks, chunk = threadIdx.x % chunks, row = threadIdx.x / chunks;
  const int pixels = H * W, slice = (pixels + gridDim.x - 1) / gridDim.x, from = blockIdx.x * slice;
  const int to = min(from + slice, pixels);
  const long long picture = blockIdx.y;
  float offset[8] = {}, sum[8] = {}, squares[8] = {};
  if (bias) unpack(load16(bias + chunk * 8), offset);
  // Several pixels at a time, so that their loads overlap.
  for (int start = from + row; start < to; start += rows * AT_ONCE) {
    uint4 read[AT_ONCE], more[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const int pixel = start + i * rows;
      if (pixel >= to) break;
      long long place = picture * pixels + pixel;
      if (kind == 1) more[i] = load16(other + place * stride + chunk * 8);
      if (kind == 2) {
        const int y = pixel / W, x = pixel % W;
        place = ((picture * (H / 2 + 1) + y / 2 + y % 2) * (W / 2 + 1) + x / 2 + x % 2) * 4 + y % 2 * 2 + x % 2;
      }
      read[i] = load16(source + place * (kind == 0 ? stride : C) + chunk * 8);
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const int pixel = start + i * rows;
      if (pixel >= to) break;
      float value[8];
      unpack(read[i], value);
      for (int c = 0; c < 8; c++) value[c] += offset[c];
      if (kind == 1) {
        float added[8];
        unpack(more[i], added);
        for (int c = 0; c < 8; c++) value[c] += added[c];
      }
      if (out) {
        const uint4 rounded = pack(value);
        store16(out + (picture * pixels + pixel) * C + chunk * 8, rounded);
        unpack(rounded, value);
      }
      for (int c = 0; c < 8; c++) sum[c] += value[c], squares[c] += value[c] * value[c];
    }
  }
  sum_up_groups(partial, sum, squares, rows, C, sums + (picture * gridDim.x + blockIdx.x) * 2 * GROUPS);
}

/// Makes x [B, pixels, C] of float32 parts [parts, B, pixels, C] + bias + added (or null), and sums it up as `norm_statistics`
/// does. Threads, shared memory and grid as there.
extern "C" __global__ void norm_statistics_of_parts(const float *parts, const half_t *added, const half_t *bias, half_t *out,
                                                    float *sums, int count, int pixels, int C) {
  extern __shared__ float partial[];
  let_successor_start();
  wait_for_predecessor();
  const int chunks = C / 8, rows = blockDim.x / chunks, channel = threadIdx.x % chunks * 8, row = threadIdx.x / chunks;
  const int slice = (pixels + gridDim.x - 1) / gridDim.x, to = min(blockIdx.x * slice + slice, pixels);
  const long long picture = blockIdx.y, apart = static_cast<long long>(gridDim.y) * pixels * C;
  float sum[8] = {}, squares[8] = {};
  for (int pixel = blockIdx.x * slice + row; pixel < to; pixel += rows) {
    const long long place = (picture * pixels + pixel) * C + channel;
    float value[8];
    unpack(load16(bias + channel), value);
#pragma unroll 10
    for (int part = 0; part < count; part++) {
      const float4 *read = reinterpret_cast<const float4 *>(parts + part * apart + place);
      const float4 low = read[0], high = read[1];
      value[0] += low.x, value[1] += low.y, value[2] += low.z, value[3] += low.w;
      value[4] += high.x, value[5] += high.y, value[6] += high.z, value[7] += high.w;
    }
    if (added) {
      float other[8];
      unpack(load16(added + place), other);
      for (int c = 0; c < 8; c++) value[c] += other[c];
    }
    const uint4 rounded = pack(value);
    store16(out + place, rounded);
    unpack(rounded, value);
    for (int c = 0; c < 8; c++) sum[c] += value[c], squares[c] += value[c] * value[c];
  }
  sum_up_groups(partial, sum, squares, rows, C, sums + (picture * gridDim.x + blockIdx.x) * 2 * GROUPS);
}

/// In so many parts slices are summed up.
constexpr int SLICE_PARTS = 8;

/// The sums over some parts of the slices of a picture, by THREADS threads, from `thread` on: parts [SLICE_PARTS, 2·GROUPS]. In
/// the same order whatever THREADS is, and with many loads under way.
template <int THREADS>
__device__ __forceinline__ void sum_parts_of_slices(const float *sums, int slices, int thread, float (*parts)[2 * GROUPS]) {
  constexpr int OWN = SLICE_PARTS * 2 * GROUPS / THREADS, AT_ONCE = OWN == 1 ? 16 : 32 / OWN;
  const int number = thread % (2 * GROUPS), first = thread / (2 * GROUPS) * OWN, each = (slices + SLICE_PARTS - 1) / SLICE_PARTS;
  sums += number;
  float sum[OWN] = {};
  for (int start = 0; start < each; start += AT_ONCE) {
    float read[OWN][AT_ONCE];
#pragma unroll
    for (int part = 0; part < OWN; part++) {
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        const int slice = (first + part) * each + start + i;
        read[part][i] = start + i < each && slice < slices ? sums[slice * 2 * GROUPS] : 0.f;
      }
    }
#pragma unroll
    for (int part = 0; part < OWN; part++) {
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) sum[part] += read[part][i];
    }
  }
#pragma unroll
  for (int part = 0; part < OWN; part++) parts[first + part][number] = sum[part];
}

/// The sum over parts of a group's sums (0) or squares (1).
__device__ __forceinline__ float sum_of_parts(const float (*parts)[2 * GROUPS], int group, int which) {
  float total = 0.f;
#pragma unroll
  for (int part = 0; part < SLICE_PARTS; part++) total += parts[part][2 * group + which];
  return total;
}

/// What a channel is multiplied by, and what is then added, so that it is normalised, times weight, plus shift; `count` numbers
/// make a group, and `bias` is still to be added to x.
__device__ __forceinline__ float2 norm_factor(const float (*parts)[2 * GROUPS], int group, float count, float weight, float shift,
                                              float bias) {
  const float mean = sum_of_parts(parts, group, 0) / count;
  const float variance = fmaxf(sum_of_parts(parts, group, 1) / count - mean * mean, 0.f);
  const float factor = weight * rsqrtf(variance + 1e-6f);
  return make_float2(factor, shift + (bias - mean) * factor);
}

/// The factors and terms of a picture of C ≤ 5·THREADS channels: factors [2, C] of sums [slices, 32, 2], by THREADS threads, from
/// `thread` on, which meet by `meet`; `bias` may be null. Waits for the kernel in front.
template <int THREADS, typename Meet>
__device__ __forceinline__ void make_factors(const float *sums, int slices, const half_t *weight, const half_t *shift, const half_t *bias,
                                             float *factors, int pixels, int C, int thread, float (*parts)[2 * GROUPS], Meet meet) {
  // What the weights are is known before.
  constexpr int MOST = 5;
  float weights[MOST], shifts[MOST];
#pragma unroll
  for (int i = 0; i < MOST; i++) {
    const int c = thread + i * THREADS;
    if (c < C) weights[i] = to_float(weight[c]), shifts[i] = to_float(shift[c]);
  }
  wait_for_predecessor();
  sum_parts_of_slices<THREADS>(sums, slices, thread, parts);
  meet();
  const float count = static_cast<float>(pixels) * (C / GROUPS);
#pragma unroll
  for (int i = 0; i < MOST; i++) {
    const int c = thread + i * THREADS;
    if (c >= C) break;
    const float2 factor = norm_factor(parts, c / (C / GROUPS), count, weights[i], shifts[i], bias ? to_float(bias[c]) : 0.f);
    factors[c] = factor.x, factors[C + c] = factor.y;
  }
}

/// sums [B, slices, 32, 2] → factors float32 [B, 2, C]: x·factor + term is the normalised x, times weight, plus shift,
/// where `bias` (or null) is still to be added to x. C ≤ 2560. Grid: pictures; 512 threads.
extern "C" __global__ __launch_bounds__(512) void norm_factors(const float *sums, const half_t *weight,
                                                               const half_t *shift, const half_t *bias, float *factors,
                                                               int slices, int pixels, int C) {
  __shared__ float parts[SLICE_PARTS][2 * GROUPS];
  let_successor_start();
  const long long picture = blockIdx.x;
  make_factors<512>(sums + picture * slices * 2 * GROUPS, slices, weight, shift, bias, factors + picture * 2 * C, pixels, C, threadIdx.x,
                    parts, [] { __syncthreads(); });
}

/// out [B, pixels, C] = x·factor + term for x [B, pixels, stride], and SiLU of it where `activates`. Each thread keeps the factors of eight channels.
/// Grid: groups of pixels, pictures; threads: a multiple of C / 8.
extern "C" __global__ void norm_silu(const half_t *x, const float *factors, half_t *out, int pixels, int C,
                                     int stride, int activates) {
  let_successor_start();
  wait_for_predecessor();
  const int chunks = C / 8, rows = blockDim.x / chunks, channel = threadIdx.x % chunks * 8;
  float factor[8], term[8];
  const float *own = factors + static_cast<long long>(blockIdx.y) * 2 * C + channel;
  for (int c = 0; c < 8; c++) factor[c] = own[c], term[c] = own[C + c];
  const long long picture = static_cast<long long>(blockIdx.y) * pixels;
  for (int start = blockIdx.x * rows * AT_ONCE + threadIdx.x / chunks; start < pixels; start += gridDim.x * rows * AT_ONCE) {
    uint4 read[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (start + i * rows < pixels) read[i] = load16(x + (picture + start + i * rows) * stride + channel);
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      if (start + i * rows >= pixels) break;
      float value[8];
      unpack(read[i], value);
      for (int c = 0; c < 8; c++) {
        value[c] = value[c] * factor[c] + term[c];
        if (activates) value[c] = silu(value[c]);
      }
      store16(out + (picture + start + i * rows) * C + channel, pack(value));
    }
  }
}
