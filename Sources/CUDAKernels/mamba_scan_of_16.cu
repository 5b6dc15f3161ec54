// The middle of a Mamba-2 layer for up to 16 tokens of many sequences, where time is what reading and writing the states
// takes. A block of 4 warps has one head of one sequence; each warp has 16 of its numbers, whose states stay in registers.

/// As `mamba_shared` and `mamba_scan` together, for n ≤ 16: a block makes B and C, which heads share, by itself. Grid: heads,
/// sequences.
///
/// conv_before and state may not be written by a kernel that the one in front of this overlaps with.
extern "C" __global__ __launch_bounds__(128, 5) void mamba_scan_of_16(
    const half_t *projected, half_t *out, float *squares, const float *conv_weight, const float *conv_bias,
    const float *dt_bias, const float *decay, const float *skip, const half_t *conv_before, half_t *conv_after,
    half_t *state, int n, int reads_state, int keeps_state) {
  __shared__ __align__(16) half_t tiles[3][16 * ROW];
  __shared__ __align__(16) float dts[16], cumulative[16], to_end[16], whole[1], part_squares[4][16];
  let_successor_start();
  const int head = blockIdx.x, heads = gridDim.x, inner = heads * 64, channels = inner + 128, own = head * 64;
  const long long sequence = blockIdx.y;
  const int stride = 2 * inner + 128 + heads;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, own_row = warp * 16;
  projected += sequence * n * stride;
  const half_t *xbc = projected + inner;

  const CarriedState own_state(state, sequence * heads + head);
  uint4 carried[4] = {};
  if (reads_state) {
#pragma unroll
    for (int i = 0; i < 4; i++) carried[i] = own_state.read(warp, i);
  }
  // The first three warps convolve x, B and C, the last has dt.
  const int channel = (warp == 0 ? own : inner + (warp - 1) * 64) + lane * 2;
  uint32 window[19] = {};
  if (warp < 3 && conv_before) {
    for (int i = 0; i < 3; i++) window[i] = load4(conv_before + (sequence * 3 + i) * channels + channel);
  }
  wait_for_predecessor();
  uint32 gate[2][2] = {};
#pragma unroll
  for (int j = 0; j < 2; j++) {
    const half_t *source = projected + own + own_row + j * 8 + 2 * t;
    if (g < n) gate[j][0] = load4(source + static_cast<long long>(g) * stride);
    if (g + 8 < n) gate[j][1] = load4(source + static_cast<long long>(g + 8) * stride);
  }
  if (warp < 3) {
#pragma unroll
    for (int i = 0; i < 16; i++) {
      if (i < n) window[3 + i] = load4(xbc + static_cast<long long>(i) * stride + channel);
    }
    half_t *target = tiles[warp] + lane * 2;
    convolve(window, conv_weight + channel * 4, conv_bias + channel, [&](int i, uint32 pair) {
      store4(target + i * ROW, i < n ? pair : 0);
    });
    // Every head keeps its own channels, the first one those of B and C too.
    if (conv_after && (warp == 0 || head == 0)) {
#pragma unroll
      for (int i = 0; i < 19; i++) {
        if (i >= n && i < n + 3) store4(conv_after + (sequence * 3 + i - n) * channels + channel, window[i]);
      }
    }
  } else {
    // Tokens behind the end have dt = 0: they neither decay nor add.
    float dt = 0.f;
    if (lane < n) dt = softplus(to_float(projected[static_cast<long long>(lane) * stride + stride - heads + head]) + dt_bias[head]);
    note_decays(dts, cumulative, to_end, whole, 0, dt, decay[head]);
  }
  __syncthreads();

  const half_t *xs = tiles[0], *bs = tiles[1], *cs = tiles[2];
  uint32 c[4][4];
  for (int step = 0; step < 4; step++) load_a(c[step], cs, 0, step * 16);
  const float2 log_decay = make_float2(cumulative[g], cumulative[g + 8]);
  float y[2][4] = {};
  if (reads_state) {
    // A row of h, as it is carried, is a column of the product's right side.
    const float fade_upper = __expf(log_decay.x), fade_lower = __expf(log_decay.y);
#pragma unroll
    for (int j = 0; j < 2; j++) {
#pragma unroll
      for (int step = 0; step < 4; step++) {
        multiply_tiles(y[j], c[step], j == 0 ? carried[step].x : carried[step].y, j == 0 ? carried[step].z : carried[step].w);
      }
      y[j][0] *= fade_upper, y[j][1] *= fade_upper, y[j][2] *= fade_lower, y[j][3] *= fade_lower;
    }
  }
  {
    const ScannedTokens tokens{dts, cumulative, to_end};
    uint32 weights[4], b[4];
    weigh_group(weights, c, bs, tokens, 0, 0, make_float2(0.f, 0.f), log_decay, skip + head);
    load_tiles_transposed(b, xs + lane % 16 * ROW + own_row + lane / 16 * 8);
    multiply_tiles(y[0], weights, b[0], b[1]);
    multiply_tiles(y[1], weights, b[2], b[3]);
  }
  if (keeps_state) {
    // h = h·(decay to the end) + (x ⊙ dt ⊙ decay to the end)ᵀ · B.
    const float fade = __expf(whole[0]);
    uint32 x[4];
    load_tiles_transposed(x, xs + (lane / 16 * 8 + lane % 8) * ROW + own_row + lane / 8 % 2 * 8);
    for (int i = 0; i < 4; i++) {
      const float2 left = *reinterpret_cast<const float2 *>(to_end + i / 2 * 8 + 2 * t);
      x[i] = pack(first(x[i]) * left.x, second(x[i]) * left.y);
    }
#pragma unroll
    for (int pair = 0; pair < 4; pair++) {
      float h[2][4];
      unpack(carried[pair], h[0]);
      for (int i = 0; i < 8; i++) h[i / 4][i % 4] *= fade;
      uint32 b[4];
      load_tiles_transposed(b, bs + lane % 16 * ROW + pair * 16 + lane / 16 * 8);
      multiply_tiles(h[0], x, b[0], b[1]);
      multiply_tiles(h[1], x, b[2], b[3]);
      own_state.write(h, warp, pair);
    }
  }
  float sums[2] = {};
#pragma unroll
  for (int j = 0; j < 2; j++) {
    half_t *target = out + (sequence * n + g) * inner + own + own_row + j * 8 + 2 * t;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const uint32 pair = gated(pack(y[j][2 * half], y[j][2 * half + 1]), gate[j][half]);
      sums[half] += first(pair) * first(pair) + second(pair) * second(pair);
      if (g + 8 * half < n) store4(target + 8ll * half * inner, pair);
    }
  }
  for (int half = 0; half < 2; half++) {
    sums[half] = sum_of_four(sums[half]);
    if (t == 0) part_squares[warp][g + 8 * half] = sums[half];
  }
  __syncthreads();
  if (threadIdx.x < n) {
    const int i = threadIdx.x;
    squares[(sequence * n + i) * heads + head] = part_squares[0][i] + part_squares[1][i] + part_squares[2][i] + part_squares[3][i];
  }
}
