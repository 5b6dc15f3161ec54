// Cross entropy of 16-bit logits, and the gradient of GELU.

/// losses [rows] = −Σ_v target_v·log softmax(logits)_v, and the logarithm of each row's sum of exponentials, in `logs`.
///
/// logits [rows, V]; the target has 1 − smoothing at targets [rows], and smoothing / V everywhere. One block a row, 256
/// threads; V is a multiple of 8.
extern "C" __global__ __launch_bounds__(256) void cross_entropy(const half_t *logits, const long long *targets,
                                                                float *losses, float *logs, int V, float smoothing) {
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const long long row = blockIdx.x;
  logits += row * V;
  float top = -3e38f;
  for (int column = threadIdx.x * 8; column < V; column += 256 * 8) {
    float value[8];
    unpack(load16(logits + column), value);
    for (int i = 0; i < 8; i++) top = fmaxf(top, value[i]);
  }
  top = max_of_block(top, scratch);
  float total = 0.f, sum = 0.f;
  for (int column = threadIdx.x * 8; column < V; column += 256 * 8) {
    float value[8];
    unpack(load16(logits + column), value);
    for (int i = 0; i < 8; i++) total += __expf(value[i] - top), sum += value[i];
  }
  total = sum_of_block(total, scratch);
  sum = sum_of_block(sum, scratch);
  if (threadIdx.x > 0) return;
  const float log = top + logf(total);
  logs[row] = log;
  losses[row] = log - (1.f - smoothing) * to_float(logits[targets[row]]) - smoothing * sum / V;
}

/// The gradient of cross_entropy, [rows, V]: (softmax(logits) − target)·d_losses [rows].
extern "C" __global__ __launch_bounds__(256) void cross_entropy_backward(const half_t *logits, const long long *targets,
                                                                         const float *logs, const float *d_losses,
                                                                         half_t *d_logits, int V, float smoothing) {
  let_successor_start();
  wait_for_predecessor();
  const long long row = blockIdx.x;
  const float log = logs[row], factor = d_losses[row], share = smoothing / V;
  const int target = static_cast<int>(targets[row]);
  for (int column = threadIdx.x * 8; column < V; column += 256 * 8) {
    float value[8];
    unpack(load16(logits + row * V + column), value);
    for (int i = 0; i < 8; i++) {
      value[i] = factor * (__expf(value[i] - log) - share - (column + i == target ? 1.f - smoothing : 0.f));
    }
    store16(d_logits + row * V + column, pack(value));
  }
}

/// The gradient of GELU (tanh form) at x [rows, N], in `dx`, from that of its value, d_out; the value once more, in `out`; and
/// each block's part of the sum of dx over rows, partial [groups, N].
///
/// Grid: groups of 2048 columns, groups of `together` rows; 256 threads. N is a multiple of 8.
extern "C" __global__ __launch_bounds__(256) void gelu_backward(const half_t *x, const half_t *d_out, half_t *dx, half_t *out,
                                                                float *partial, int rows, int N, int together) {
  let_successor_start();
  wait_for_predecessor();
  const int column = (blockIdx.x * 256 + threadIdx.x) * 8;
  if (column >= N) return;
  const int from = blockIdx.y * together, to = min(from + together, rows);
  float sum[8] = {};
#pragma unroll 2
  for (int row = from; row < to; row++) {
    const long long at = static_cast<long long>(row) * N + column;
    float value[8], gradient[8], result[8];
    unpack(load16(x + at), value);
    unpack(load16(d_out + at), gradient);
    for (int i = 0; i < 8; i++) {
      const float squared = value[i] * value[i];
      const float inner = 0.7978845608f * value[i] * (1.f + 0.044715f * squared);
      // tanh through exp, which is exact to a few units in the last place also for large numbers.
      const float bend = 1.f - 2.f * reciprocal(1.f + __expf(2.f * inner));
      const float slope = 0.7978845608f * (1.f + 3.f * 0.044715f * squared);
      result[i] = 0.5f * value[i] * (1.f + bend);
      gradient[i] *= 0.5f * (1.f + bend) + 0.5f * value[i] * (1.f - bend * bend) * slope;
      sum[i] += gradient[i];
    }
    store16(dx + at, pack(gradient));
    store16(out + at, pack(result));
  }
  for (int i = 0; i < 8; i++) partial[static_cast<long long>(blockIdx.y) * N + column + i] = sum[i];
}
