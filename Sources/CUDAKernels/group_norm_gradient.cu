// The gradient of SiLU(group norm(x)), channels last. With x̂ = (x − μ)/σ, u = weight·x̂ + shift, y = SiLU(u) and
// du = dy·SiLU′(u), a group of n numbers has
//   dx = (weight·du − mean(weight·du) − x̂·mean(weight·du·x̂)) / σ,
// and a channel dweight = Σ du·x̂, dshift = Σ du. Sums run over slices of a picture and then over slices in their order.

__device__ __forceinline__ float silu_gradient(float u) {
  const float s = reciprocal(1.f + __expf(-u));
  return s * (1.f + u * (1.f - s));
}

/// sums [B, slices, 32, 2] of norm_statistics → moments float32 [B, 2, C]: what x̂ is, x·first + second.
/// Grid: pictures; 512 threads.
extern "C" __global__ __launch_bounds__(512) void norm_moments(const float *sums, float *moments, int slices, int pixels, int C) {
  __shared__ float parts[SLICE_PARTS][2 * GROUPS];
  let_successor_start();
  wait_for_predecessor();
  sum_parts_of_slices<512>(sums + static_cast<long long>(blockIdx.x) * slices * 2 * GROUPS, slices, threadIdx.x, parts);
  __syncthreads();
  const float count = static_cast<float>(pixels) * (C / GROUPS);
  float *own = moments + static_cast<long long>(blockIdx.x) * 2 * C;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    const int group = c / (C / GROUPS);
    const float mean = sum_of_parts(parts, group, 0) / count;
    const float scale = rsqrtf(fmaxf(sum_of_parts(parts, group, 1) / count - mean * mean, 0.f) + 1e-6f);
    own[c] = scale;
    own[C + c] = -mean * scale;
  }
}

/// x, dy [B, pixels, C] → sums float32 [B, slices, 2, C]: Σ du and Σ du·x̂ of a slice of pixels.
/// Grid: slices, pictures; threads: a multiple of C / 8. Shared memory: 16 floats a thread.
extern "C" __global__ void norm_silu_gradient_sums(const half_t *x, const half_t *dy, const float *factors,
                                                   const float *moments, float *sums, int pixels, int C) {
  extern __shared__ float partial[];
  let_successor_start();
  wait_for_predecessor();
  const int chunks = C / 8, rows = blockDim.x / chunks, channel = threadIdx.x % chunks * 8, row = threadIdx.x / chunks;
  const int slice = (pixels + gridDim.x - 1) / gridDim.x, from = blockIdx.x * slice, to = min(from + slice, pixels);
  const long long picture = blockIdx.y;
  float factor[8], term[8], scale[8], offset[8], sum[8] = {}, product[8] = {};
  for (int c = 0; c < 8; c++) {
    const long long place = picture * 2 * C + channel + c;
    factor[c] = factors[place], term[c] = factors[place + C];
    scale[c] = moments[place], offset[c] = moments[place + C];
  }
  for (int pixel = from + row; pixel < to; pixel += rows) {
    const long long place = (picture * pixels + pixel) * C + channel;
    float value[8], gradient[8];
    unpack(load16(x + place), value);
    unpack(load16(dy + place), gradient);
    for (int c = 0; c < 8; c++) {
      const float du = gradient[c] * silu_gradient(value[c] * factor[c] + term[c]);
      sum[c] += du, product[c] += du * (value[c] * scale[c] + offset[c]);
    }
  }
  for (int c = 0; c < 8; c++) {
    partial[row * 2 * C + channel + c] = sum[c];
    partial[row * 2 * C + C + channel + c] = product[c];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * C; i += blockDim.x) {
    float total = 0.f;
    for (int r = 0; r < rows; r++) total += partial[r * 2 * C + i];
    sums[(picture * gridDim.x + blockIdx.x) * 2 * C + i] = total;
  }
}

/// sums [B, slices, 2, C] → totals float32 [B, 2, C] over the slices, and coefficients float32 [B, 2, C]: dx is
/// du·factor + x·first + second. Grid: pictures; 512 threads. Shared memory: 2·C floats.
extern "C" __global__ __launch_bounds__(512) void norm_silu_gradient_totals(const float *sums, const half_t *weight,
                                                                            const float *moments, float *totals,
                                                                            float *coefficients, int slices,
                                                                            int pixels, int C) {
  extern __shared__ float own_totals[];
  let_successor_start();
  wait_for_predecessor();
  const long long picture = blockIdx.x;
  for (int i = threadIdx.x; i < 2 * C; i += blockDim.x) {
    const float *own = sums + picture * slices * 2 * C + i;
    float total = 0.f;
    for (int slice = 0; slice < slices; slice++) total += own[static_cast<long long>(slice) * 2 * C];
    own_totals[i] = total;
    totals[picture * 2 * C + i] = total;
  }
  __syncthreads();
  const int size = C / GROUPS;
  const float count = static_cast<float>(pixels) * size;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    const int start = c / size * size;
    float sum = 0.f, product = 0.f;
    for (int other = start; other < start + size; other++) {
      const float gain = to_float(weight[other]);
      sum += gain * own_totals[other], product += gain * own_totals[C + other];
    }
    const float scale = moments[picture * 2 * C + c], offset = moments[picture * 2 * C + C + c];
    const float slope = -scale * product / count;
    coefficients[picture * 2 * C + c] = slope * scale;
    coefficients[picture * 2 * C + C + c] = slope * offset - scale * sum / count;
  }
}

/// x, dy [B, pixels, C] → dx. Grid: groups of pixels, pictures; threads: a multiple of C / 8.
extern "C" __global__ void norm_silu_gradient(const half_t *x, const half_t *dy, const float *factors,
                                              const float *coefficients, half_t *dx, int pixels, int C) {
  let_successor_start();
  wait_for_predecessor();
  const int chunks = C / 8, rows = blockDim.x / chunks, channel = threadIdx.x % chunks * 8;
  const long long picture = blockIdx.y;
  float factor[8], term[8], slope[8], offset[8];
  for (int c = 0; c < 8; c++) {
    const long long place = picture * 2 * C + channel + c;
    factor[c] = factors[place], term[c] = factors[place + C];
    slope[c] = coefficients[place], offset[c] = coefficients[place + C];
  }
  for (int pixel = blockIdx.x * rows + threadIdx.x / chunks; pixel < pixels; pixel += gridDim.x * rows) {
    const long long place = (picture * pixels + pixel) * C + channel;
    float value[8], gradient[8];
    unpack(load16(x + place), value);
    unpack(load16(dy + place), gradient);
    for (int c = 0; c < 8; c++) {
      const float du = gradient[c] * silu_gradient(value[c] * factor[c] + term[c]);
      value[c] = du * factor[c] + value[c] * slope[c] + offset[c];
    }
    store16(dx + place, pack(value));
  }
}
