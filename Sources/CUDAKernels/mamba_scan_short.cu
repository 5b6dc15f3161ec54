// The middle of a Mamba-2 layer for few sequences of few tokens, where the time of one block is the time of all: 16 warps
// share the work of 4. Each has 16 tokens, and 16 of the head's numbers; to convolve one of x, B and C, of 16 tokens or of 4.

/// Shared memory for up to 16·GROUPS tokens.
template <int GROUPS>
struct ShortScanTiles {
  half_t xs[16 * GROUPS * ROW], bs[16 * GROUPS * ROW], cs[16 * GROUPS * ROW], hs[64 * ROW];
  float dts[16 * GROUPS], cumulative[16 * GROUPS], to_sixteenth[16 * GROUPS], decays[4], part_squares[4][16 * GROUPS];
};

/// As `mamba_shared` and `mamba_scan` together, for n ≤ 16·GROUPS: a block has one head of one sequence, and makes B and C,
/// which heads share, by itself. Grid: heads, sequences.
///
/// conv_before and state may not be written by a kernel that the one in front of this overlaps with.
template <int GROUPS>
__device__ __forceinline__ void scan_short(const half_t *projected, half_t *out, float *squares, const float *conv_weight,
                                           const float *conv_bias, const float *dt_bias, const float *decay, const float *skip,
                                           const half_t *conv_before, half_t *conv_after, half_t *state, int n, int reads_state,
                                           int keeps_state) {
  // Each warp convolves so many tokens.
  constexpr int EACH = 4 * GROUPS;
  __shared__ __align__(16) ShortScanTiles<GROUPS> tiles;
  const int head = blockIdx.x, heads = gridDim.x;
  const long long sequence = blockIdx.y;
  let_successor_start();
  const int inner = heads * 64, channels = inner + 128, own = head * 64;
  const int stride = 2 * inner + 128 + heads, groups = (n + 15) / 16;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int tile = warp / 4, part = warp % 4, from = tile * EACH;
  projected += sequence * n * stride;
  const half_t *xbc = projected + inner;
  conv_before = conv_before ? conv_before + sequence * 3 * channels : nullptr;
  conv_after = conv_after ? conv_after + sequence * 3 * channels : nullptr;

  // What weights and the scale before give was written long ago, and is read while the kernel in front still runs.
  float h[2][4] = {};
  const CarriedState own_state(state, sequence * heads + head);
  if (reads_state) unpack(own_state.read(tile, part), h[0]);
  const int channel = part == 0 ? own + lane * 2 : inner + (part - 1) * 64 + lane * 2;
  const bool convolves = part < 3 && from < groups * 16;
  uint32 window[EACH + 3] = {};
  float4 w0 = {}, w1 = {};
  float2 bias = {};
  float own_bias = 0.f, own_decay = 0.f;
  if (convolves) {
    w0 = *reinterpret_cast<const float4 *>(conv_weight + channel * 4);
    w1 = *reinterpret_cast<const float4 *>(conv_weight + channel * 4 + 4);
    bias = *reinterpret_cast<const float2 *>(conv_bias + channel);
    for (int i = 0; i < 3; i++) window[i] = tile == 0 && conv_before ? load4(conv_before + i * channels + channel) : 0;
  } else if (part == 3) {
    own_bias = dt_bias[head], own_decay = decay[head];
  }
  const float own_skip = skip[head];
#pragma unroll
  for (int j = 0; j < 2; j++) {
    half_t *row = tiles.hs + (tile * 16 + g) * ROW + part * 16 + j * 8 + 2 * t;
    store4(row, pack(h[j][0], h[j][1]));
    store4(row + 8 * ROW, pack(h[j][2], h[j][3]));
  }
  wait_for_predecessor();

  // All is asked for before anything waits.
  const int upper = tile * 16 + g, lower = upper + 8;
  uint32 gate[2][2] = {};
  float dt = 0.f;
  if (convolves) {
    const half_t *source = xbc + static_cast<long long>(from - 3) * stride + channel;
#pragma unroll
    for (int i = 0; i < EACH + 3; i++) {
      const int token = from + i - 3;
      if (token >= 0 && token < n) window[i] = load4(source + static_cast<long long>(i) * stride);
    }
  } else if (part == 3 && tile < GROUPS && lane < 16 && tile * 16 + lane < n) {
    dt = to_float(projected[static_cast<long long>(tile * 16 + lane) * stride + stride - heads + head]);
  }
  if (tile < groups) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const half_t *source = projected + own + part * 16 + j * 8 + 2 * t;
      if (upper < n) gate[j][0] = load4(source + static_cast<long long>(upper) * stride);
      if (lower < n) gate[j][1] = load4(source + static_cast<long long>(lower) * stride);
    }
  }
  const bool keeps_last_row = conv_after && warp >= 13;
  LastRow last_row;
  if (keeps_last_row) last_row.load(warp - 13, head, heads, xbc, stride, conv_before, n);
  if (part == 3 && tile < GROUPS) {
    // The logarithms of decay add up over 16 tokens. Tokens behind the end have dt = 0: they neither decay nor add.
    dt = lane < 16 && tile * 16 + lane < n ? softplus(dt + own_bias) : 0.f;
    note_decays(tiles.dts, tiles.cumulative, tiles.to_sixteenth, tiles.decays, tile, dt, own_decay);
  } else if (part == 3) {
    if (lane == 0) tiles.decays[tile] = 0.f;
  } else if (convolves) {
    half_t *target = (part == 0 ? tiles.xs : part == 1 ? tiles.bs : tiles.cs) + from * ROW + lane * 2;
    const int count = n - from;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      if (i >= count) {
        store4(target + i * ROW, 0);
        continue;
      }
      float y0 = bias.x + w0.x * first(window[i]) + w0.y * first(window[i + 1]) + w0.z * first(window[i + 2]) + w0.w * first(window[i + 3]);
      float y1 = bias.y + w1.x * second(window[i]) + w1.y * second(window[i + 1]) + w1.z * second(window[i + 2]) + w1.w * second(window[i + 3]);
      silu_of_two(y0, y1);
      store4(target + i * ROW, pack(y0, y1));
    }
  }
  __syncthreads();
  if (keeps_last_row) last_row.store(conv_after, warp - 13, head, heads);

  const float4 whole = *reinterpret_cast<const float4 *>(tiles.decays);
  if (keeps_state) {
    // h = h·(decay to the end) + (x ⊙ dt ⊙ decay to the end)ᵀ · B.
    const float fade = __expf(whole.x + whole.y + whole.z + whole.w);
#pragma unroll
    for (int j = 0; j < 2; j++) {
      for (int i = 0; i < 4; i++) h[j][i] *= fade;
    }
    for (int step = 0; step < groups; step++) {
      uint32 x[4], b[4];
      load_tiles_transposed(x, tiles.xs + (step * 16 + lane / 16 * 8 + lane % 8) * ROW + tile * 16 + lane / 8 % 2 * 8);
      load_tiles_transposed(b, tiles.bs + (step * 16 + lane % 16) * ROW + part * 16 + lane / 16 * 8);
      const float later = __expf((step < 1 ? whole.y : 0.f) + (step < 2 ? whole.z : 0.f) + (step < 3 ? whole.w : 0.f));
      for (int i = 0; i < 4; i++) {
        const float2 left = *reinterpret_cast<const float2 *>(tiles.to_sixteenth + step * 16 + i / 2 * 8 + 2 * t);
        x[i] = pack(first(x[i]) * (left.x * later), second(x[i]) * (left.y * later));
      }
      multiply_tiles(h[0], x, b[0], b[1]);
      multiply_tiles(h[1], x, b[2], b[3]);
    }
    own_state.write(h, tile, part);
  }

  if (tile < groups) {
    uint32 c[4][4];
    for (int step = 0; step < 4; step++) load_a(c[step], tiles.cs, tile * 16, step * 16);
    const float own_upper = tiles.cumulative[upper], own_lower = tiles.cumulative[lower];
    const float in_front = (tile > 0 ? whole.x : 0.f) + (tile > 1 ? whole.y : 0.f) + (tile > 2 ? whole.z : 0.f);
    const float log_upper = in_front + own_upper, log_lower = in_front + own_lower;
    float y[2][4] = {};
    if (reads_state) {
      const float fade_upper = __expf(log_upper), fade_lower = __expf(log_lower);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        multiply_row_of_tiles(y[j], c, tiles.hs + (part * 16 + j * 8) * ROW);
        y[j][0] *= fade_upper, y[j][1] *= fade_upper, y[j][2] *= fade_lower, y[j][3] *= fade_lower;
      }
    }
    // Groups of 16 tokens up to the diagonal: y += (C·Bᵀ ⊙ decay ⊙ dt) · x.
    const ScannedTokens tokens{tiles.dts, tiles.cumulative, tiles.to_sixteenth};
    for (int pair = 0; pair <= tile; pair++) {
      const float end = whole.x + (pair > 0 ? whole.y : 0.f) + (pair > 1 ? whole.z : 0.f) + (pair > 2 ? whole.w : 0.f);
      uint32 weights[4];
      weigh_group(weights, c, tiles.bs, tokens, pair, tile, make_float2(__expf(log_upper - end), __expf(log_lower - end)),
                  make_float2(own_upper, own_lower), &own_skip);
      uint32 b[4];
      load_tiles_transposed(b, tiles.xs + (pair * 16 + lane % 16) * ROW + part * 16 + lane / 16 * 8);
      multiply_tiles(y[0], weights, b[0], b[1]);
      multiply_tiles(y[1], weights, b[2], b[3]);
    }
    float sums[2] = {};
#pragma unroll
    for (int j = 0; j < 2; j++) {
      half_t *target = out + (sequence * n + upper) * inner + own + part * 16 + j * 8 + 2 * t;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const uint32 pair = gated(pack(y[j][2 * half], y[j][2 * half + 1]), gate[j][half]);
        sums[half] += first(pair) * first(pair) + second(pair) * second(pair);
        if (upper + 8 * half < n) store4(target + 8ll * half * inner, pair);
      }
    }
    for (int half = 0; half < 2; half++) {
      sums[half] = sum_of_four(sums[half]);
      if (t == 0) tiles.part_squares[part][upper + 8 * half] = sums[half];
    }
  }
  __syncthreads();
  if (threadIdx.x < n) {
    const int i = threadIdx.x;
    squares[(sequence * n + i) * heads + head] =
        tiles.part_squares[0][i] + tiles.part_squares[1][i] + tiles.part_squares[2][i] + tiles.part_squares[3][i];
  }
}

#define MAMBA_SCAN_SHORT(NAME, GROUPS)                                                                                           \
  extern "C" __global__ __launch_bounds__(512, 1) void NAME(                                                                     \
      const half_t *projected, half_t *out, float *squares, const float *conv_weight, const float *conv_bias,                    \
      const float *dt_bias, const float *decay, const float *skip, const half_t *conv_before, half_t *conv_after, half_t *state, \
      int n, int reads_state, int keeps_state) {                                                                                 \
    scan_short<GROUPS>(projected, out, squares, conv_weight, conv_bias, dt_bias, decay, skip, conv_before, conv_after, state, n, \
                       reads_state, keeps_state);                                                                                \
  }
MAMBA_SCAN_SHORT(mamba_scan_short_of_16, 1)
MAMBA_SCAN_SHORT(mamba_scan_short, 4)
