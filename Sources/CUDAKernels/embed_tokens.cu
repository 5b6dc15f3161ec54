// What the blocks of a scale read: the token map's 32 channels to the width of the model, and where each token stands.

/// x [2·rows, C], twice the same: input [rows, 32] · weightᵀ + bias + positions for weight [C, 32], positions [n, C]; row
/// r stands at position r % n. C a multiple of 32. Each warp has 16 rows and 32 columns. Grid: groups of 256 columns,
/// groups of 16 rows; 256 threads.
extern "C" __global__ __launch_bounds__(256) void embed_tokens(const half_t *input, const half_t *weight,
                                                               const half_t *bias, const half_t *positions, half_t *x,
                                                               int rows, int n, int C) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int left = blockIdx.x * 256 + warp * 32, upper = blockIdx.y * 16 + g;
  const bool active = left < C;
  uint32 b[4][4], added[4][3];
  if (active) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int column = left + j * 8 + 2 * t;
      const half_t *row = weight + (left + j * 8 + g) * 32 + 2 * t;
      for (int k = 0; k < 4; k++) b[j][k] = load4(row + 8 * k);
      added[j][0] = load4(bias + column);
      for (int half = 0; half < 2; half++) {
        added[j][1 + half] = load4(positions + static_cast<long long>((upper + 8 * half) % n) * C + column);
      }
    }
  }
  let_successor_start();
  wait_for_predecessor();
  if (!active) return;
  uint32 a[2][4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int row = upper + i % 2 * 8;
    const half_t *source = input + static_cast<long long>(row) * 32 + i / 2 * 8 + 2 * t;
    a[0][i] = row < rows ? load4(source) : 0;
    a[1][i] = row < rows ? load4(source + 16) : 0;
  }
#pragma unroll
  for (int j = 0; j < 4; j++) {
    float d[4] = {};
    multiply_tiles(d, a[0], b[j][0], b[j][1]);
    multiply_tiles(d, a[1], b[j][2], b[j][3]);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = upper + 8 * half;
      if (row >= rows) continue;
      const uint32 offset = added[j][0], position = added[j][1 + half];
      const uint32 sum = pack(d[2 * half] + first(offset) + first(position), d[2 * half + 1] + second(offset) + second(position));
      half_t *target = x + static_cast<long long>(row) * C + left + j * 8 + 2 * t;
      store4(target, sum);
      store4(target + static_cast<long long>(rows) * C, sum);
    }
  }
}
