// The end of the tokenizer's decoder: group norm, SiLU, the 3 × 3 convolution to three colours and the cut to [−1, 1]. A
// convolution with so few outputs is bound by reading its input, which is normalised on the way into shared memory.
// A block of 8 warps has 8 rows of 16 pixels; each warp is one row.
constexpr int TILE_ROWS = 8, TILE_COLUMNS = 16, HALO_COLUMNS = TILE_COLUMNS + 2;
constexpr int HALO = (TILE_ROWS + 2) * HALO_COLUMNS;

/// x [B, H, W, C], factors [B, 2, C] of the norm, weight [9, 8, C] (outputs behind the third are zero), bias [3] → image
/// float32 [B, 3, H, W].
///
/// C a multiple of 16, at most 2048. Shared memory: (HALO + 72) · (C + 8) numbers. Grid: tiles across, tiles down, pictures.
extern "C" __global__ __launch_bounds__(256) void last_convolution(const half_t *x, const float *factors,
                                                                   const half_t *weight, const half_t *bias,
                                                                   float *image, int H, int W, int C) {
  extern __shared__ __align__(16) half_t pixels[];
  const int stride = C + 8, chunks = C / 8;
  half_t *taps = pixels + HALO * stride;
  for (int i = threadIdx.x; i < 72 * chunks; i += blockDim.x) {
    copy16_async(taps + i / chunks * stride + i % chunks * 8, weight + i * 8, true);
  }
  let_successor_start();
  wait_for_predecessor();
  const int top = blockIdx.y * TILE_ROWS, left = blockIdx.x * TILE_COLUMNS;
  const long long picture = blockIdx.z;
  // Each thread has eight channels, and several pixels at a time, so that their loads overlap.
  constexpr int AT_ONCE = 5;
  const int channel = threadIdx.x % chunks * 8, rows = blockDim.x / chunks;
  if (threadIdx.x < rows * chunks) {
    float factor[8], term[8];
    const float *own = factors + picture * 2 * C + channel;
    for (int c = 0; c < 8; c++) factor[c] = own[c], term[c] = own[C + c];
    for (int start = threadIdx.x / chunks; start < HALO; start += rows * AT_ONCE) {
      uint4 read[AT_ONCE];
      uint32 inside = 0;
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        const int place = start + i * rows;
        const int row = top + place / HALO_COLUMNS - 1, column = left + place % HALO_COLUMNS - 1;
        read[i] = make_uint4(0, 0, 0, 0);
        if (place < HALO && row >= 0 && row < H && column >= 0 && column < W) {
          inside |= 1u << i;
          read[i] = load16(x + ((picture * H + row) * W + column) * C + channel);
        }
      }
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) {
        const int place = start + i * rows;
        if (place >= HALO) break;
        float value[8];
        unpack(read[i], value);
        for (int c = 0; c < 8; c++) value[c] = value[c] * factor[c] + term[c];
        for (int c = 0; c < 8; c += 2) silu_of_two(value[c], value[c + 1]);
        store16(pixels + place * stride + channel, inside >> i & 1 ? pack(value) : make_uint4(0, 0, 0, 0));
      }
    }
  }
  wait_for_copies();
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // Several sums, so that a product need not wait for the one before.
  float parts[3][4] = {};
  const half_t *own_pixels = pixels + (warp * HALO_COLUMNS + lane % 16) * stride + lane / 16 * 8, *own_taps = taps + g * stride + 2 * t;
  for (int k = 0; k < C; k += 16) {
#pragma unroll
    for (int tap = 0; tap < 9; tap++) {
      uint32 a[4];
      load_tiles(a, own_pixels + (tap / 3 * HALO_COLUMNS + tap % 3) * stride + k);
      const half_t *column = own_taps + tap * 8 * stride + k;
      multiply_tiles(parts[tap % 3], a, load4(column), load4(column + 8));
    }
  }
  const int y = top + warp;
  for (int i = 0; i < 4; i++) {
    const int colour = 2 * t + i % 2, column = left + g + i / 2 * 8;
    if (colour < 3 && y < H && column < W) {
      image[((picture * 3 + colour) * H + y) * W + column] = fminf(fmaxf(parts[0][i] + parts[1][i] + parts[2][i] + to_float(bias[colour]), -1.f), 1.f);
    }
  }
}
