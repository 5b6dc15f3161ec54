// The middle of a Mamba-2 layer for few sequences of many tokens, where the time of one block is the time of all: the whole scale at once,
// each warp with 16 of its tokens. A block has one head of one sequence, or two, and makes B and C, which heads share, by itself.
// From Hopper on two blocks, a cluster, share the tokens: the second one is handed the state by the first.

/// What `mamba_scan_at_once` has of a head in shared memory, for 16·WARPS tokens.
template <int WARPS>
struct ScannedHead {
  half_t x[16 * WARPS * ROW], h[64 * ROW];
  float dts[16 * WARPS], cumulative[16 * WARPS], to_end[16 * WARPS], to_sixteenth[16 * WARPS];
  /// The logarithm of each warp's decay.
  float decays[16];
  union {
    /// What the first of two blocks hands over of h: of each thread its numbers of a tile.
    float4 handed[32 / WARPS][32 * WARPS];
    half_t y[16 * WARPS * ROW];
  };
};

/// Shared memory of `mamba_scan_at_once`.
template <int WARPS, int HEADS>
struct ScanMemory {
  half_t b[16 * WARPS * ROW], c[16 * WARPS * ROW];
  ScannedHead<WARPS> heads[HEADS];
};

/// As `mamba_shared` and `mamba_scan` together, for n ≤ 16·WARPS, or 32·WARPS if two blocks SHARE. WARPS warps have one of the
/// block's HEADS. Grid: groups of HEADS heads, sequences; if blocks share, twice the groups, in clusters of two.
/// state may not be written by a kernel that the one in front of this overlaps with.
template <int WARPS, bool SHARE, int HEADS>
__device__ __forceinline__ void mamba_scan_at_once(const half_t *projected, half_t *out, float *squares,
                                                   const float *conv_weight, const float *conv_bias,
                                                   const float *dt_bias, const float *decay, const float *skip,
                                                   const half_t *conv_before, half_t *conv_after, half_t *state, int n,
                                                   int reads_state, int keeps_state) {
  using Pair = Cluster<2>;
  extern __shared__ __align__(16) half_t stages[];
  auto &shared = *reinterpret_cast<ScanMemory<WARPS, HEADS> *>(stages);
  if (SHARE) Pair::arrive();
  let_successor_start();
  const int team = HEADS == 1 ? 0 : threadIdx.x / (32 * WARPS), thread = threadIdx.x % (32 * WARPS);
  auto &memory = shared.heads[team];
  const int heads = (SHARE ? gridDim.x / 2 : gridDim.x) * HEADS, head = (SHARE ? blockIdx.x / 2 : blockIdx.x) * HEADS + team;
  const bool is_first = !SHARE || blockIdx.x % 2 == 0, is_last = !SHARE || !is_first;
  const int inner = heads * 64, channels = inner + 128, own = head * 64;
  const long long sequence = blockIdx.y;
  const int stride = 2 * inner + 128 + heads;
  const int warp = thread / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // This block's tokens: `from` in the scale, `place` among them.
  const int half = (n + 31) / 32 * 16, begin = is_first ? 0 : half, end = SHARE && is_first ? min(half, n) : n;
  const int place = warp * 16, from = begin + place;
  const bool active = from < end;
  projected += sequence * n * stride;
  const half_t *xbc = projected + inner;
  if (conv_before) conv_before += sequence * 3 * channels;

  // Of h [p, state] each warp has 16 rows and a part of the columns.
  constexpr int STATE_TILES = 32 / WARPS;
  const int p = warp % 4 * 16, first_state = warp / 4 * (8 * STATE_TILES);
  float h[STATE_TILES][4] = {};
  const CarriedState own_state(state, sequence * heads + head);
  if (reads_state && is_first) {
#pragma unroll
    for (int i = 0; i < STATE_TILES / 2; i++) unpack(own_state.read(p / 16, first_state / 16 + i), h[2 * i]);
  }
  // What the scale before left was written long ago; this is what the kernel in front writes.
  wait_for_predecessor();
  // Channels of x, B and C in turn, of which two heads share B and C; all is asked for before anything waits.
  constexpr int WINDOWS = HEADS == 1 ? 3 : 2;
  const int places[3] = {own + lane * 2, inner + team * 64 + lane * 2, inner + 64 + lane * 2};
  uint32 windows[WINDOWS][19];
  half_t step = 0;
  if (lane < 16 && from + lane < end) step = projected[static_cast<long long>(from + lane + 1) * stride - heads + head];
  if (active) {
#pragma unroll
    for (int i = 0; i < WINDOWS; i++) {
      load_window(windows[i], xbc + places[i], stride, conv_before ? conv_before + places[i] : nullptr, channels, from, end);
    }
  }

  const bool keeps_last_row = conv_after && is_last && warp < 3;
  LastRow last_row;
  if (keeps_last_row) last_row.load(warp, head, heads, xbc, stride, conv_before, n);

  // The logarithms of decay add up, first in each warp. Tokens behind the end have dt = 0: they neither decay nor add.
  const float dt = lane < 16 && from + lane < end ? softplus(to_float(step) + dt_bias[head]) : 0.f;
  float sum = dt * decay[head];
  for (int step = 1; step < 16; step *= 2) {
    const float before = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += before;
  }
  const float whole = __shfl_sync(~0u, sum, 15);
  if (lane == 0) memory.decays[warp] = whole;
  __syncthreads();
  float offset = 0.f, total = 0.f;
#pragma unroll
  for (int i = 0; i < WARPS; i++) {
    if (i < warp) offset += memory.decays[i];
    total += memory.decays[i];
  }
  if (lane < 16) {
    memory.dts[place + lane] = dt;
    memory.cumulative[place + lane] = offset + sum;
    // What is left of what each token adds, at the scale's end and at that of the token's group of 16.
    memory.to_end[place + lane] = dt * __expf(total - offset - sum);
    memory.to_sixteenth[place + lane] = dt * __expf(whole - sum);
  }
  half_t *tiles[3] = {memory.x, team == 0 ? shared.b : shared.c, shared.c};
#pragma unroll
  for (int i = 0; i < WINDOWS; i++) {
    half_t *tile = tiles[i] + place * ROW + lane * 2;
    if (!active) continue;
    convolve(windows[i], conv_weight + places[i] * 4, conv_bias + places[i], [&](int token, uint32 pair) {
      store4(tile + token * ROW, from + token < end ? pair : 0);
    });
  }
#pragma unroll
  for (int tile = 0; tile < STATE_TILES; tile++) {
    half_t *row = memory.h + (p + g) * ROW + first_state + tile * 8 + 2 * t;
    store4(row, pack(h[tile][0], h[tile][1]));
    store4(row + 8 * ROW, pack(h[tile][2], h[tile][3]));
  }
  // What the end needs of z is under way meanwhile; 16 bytes at a time where rows begin at multiples of 16 bytes.
  const half_t *gates = projected + own + lane % 8 * 8;
  uint4 gate[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int token = from + lane / 8 + 4 * i;
    gate[i] = make_uint4(0, 0, 0, 0);
    if (token < end) gate[i] = load16(gates + static_cast<long long>(token) * stride, stride % 8 == 0);
  }
  __syncthreads();

  const float fade = __expf(total);
  if (keeps_state || (SHARE && is_first)) {
    // h = h·(decay to the end) + (x ⊙ dt ⊙ decay to the end)ᵀ · B.
#pragma unroll
    for (int tile = 0; tile < STATE_TILES; tile++) {
      for (int i = 0; i < 4; i++) h[tile][i] *= fade;
    }
    for (int step = 0; begin + step * 16 < end; step++) {
      uint32 x[4];
      load_tiles_transposed(x, memory.x + (step * 16 + lane / 16 * 8 + lane % 8) * ROW + p + lane / 8 % 2 * 8);
      for (int i = 0; i < 4; i++) {
        const float2 left = *reinterpret_cast<const float2 *>(memory.to_end + step * 16 + i / 2 * 8 + 2 * t);
        x[i] = pack(first(x[i]) * left.x, second(x[i]) * left.y);
      }
#pragma unroll
      for (int tile = 0; tile < STATE_TILES; tile += 2) {
        uint32 b[4];
        load_tiles_transposed(b, shared.b + (step * 16 + lane % 16) * ROW + first_state + tile * 8 + lane / 16 * 8);
        multiply_tiles(h[tile], x, b[0], b[1]);
        multiply_tiles(h[tile + 1], x, b[2], b[3]);
      }
    }
  }
  if (SHARE) {
    Pair::wait();
    if (is_first) {
#pragma unroll
      for (int tile = 0; tile < STATE_TILES; tile++) {
        Pair::write(&memory.handed[tile][thread], 1, make_float4(h[tile][0], h[tile][1], h[tile][2], h[tile][3]));
      }
    }
    Pair::arrive();
  }
  if (keeps_last_row) last_row.store(conv_after + sequence * 3 * channels, warp, head, heads);

  uint32 c[4][4];
  for (int step = 0; step < 4; step++) load_a(c[step], shared.c, place, step * 16);
  const int upper = place + g, lower = upper + 8;
  const float log_upper = memory.cumulative[upper], log_lower = memory.cumulative[lower];
  const float fade_upper = __expf(log_upper), fade_lower = __expf(log_lower);
  float y[8][4] = {};
  if (active) {
    // Groups of 16 tokens up to the diagonal: y += (C·Bᵀ ⊙ decay ⊙ dt) · x.
    const ScannedTokens tokens{memory.dts, memory.cumulative, memory.to_sixteenth};
    for (int pair = 0; pair <= warp; pair++) {
      const float end_of_pair = memory.cumulative[pair * 16 + 15];
      uint32 weights[4];
      weigh_group(weights, c, shared.b, tokens, pair, warp,
                  make_float2(__expf(log_upper - end_of_pair), __expf(log_lower - end_of_pair)),
                  make_float2(log_upper, log_lower), skip + head);
#pragma unroll
      for (int tile = 0; tile < 8; tile += 2) {
        uint32 b[4];
        load_tiles_transposed(b, memory.x + (pair * 16 + lane % 16) * ROW + tile * 8 + lane / 16 * 8);
        multiply_tiles(y[tile], weights, b[0], b[1]);
        multiply_tiles(y[tile + 1], weights, b[2], b[3]);
      }
    }
  }
  if (SHARE) Pair::wait();
  if (!is_first) {
    // The state as the first block leaves it.
#pragma unroll
    for (int tile = 0; tile < STATE_TILES; tile++) {
      const float4 handed = memory.handed[tile][thread];
      half_t *row = memory.h + (p + g) * ROW + first_state + tile * 8 + 2 * t;
      store4(row, pack(handed.x, handed.y));
      store4(row + 8 * ROW, pack(handed.z, handed.w));
      h[tile][0] += handed.x * fade, h[tile][1] += handed.y * fade, h[tile][2] += handed.z * fade, h[tile][3] += handed.w * fade;
    }
    __syncthreads();
  }
  if (keeps_state && is_last) {
#pragma unroll
    for (int i = 0; i < STATE_TILES / 2; i++) own_state.write(h + 2 * i, p / 16, first_state / 16 + i);
  }
  if (!active) return;
  if (reads_state || !is_first) {
#pragma unroll
    for (int tile = 0; tile < 8; tile++) {
      float carried[4] = {};
      multiply_row_of_tiles(carried, c, memory.h + tile * 8 * ROW);
      y[tile][0] += carried[0] * fade_upper, y[tile][1] += carried[1] * fade_upper;
      y[tile][2] += carried[2] * fade_lower, y[tile][3] += carried[3] * fade_lower;
    }
  }
  // What was handed over has been read, and its place holds the rows of y.
  for (int tile = 0; tile < 8; tile++) {
    half_t *row = memory.y + upper * ROW + tile * 8 + 2 * t;
    store4(row, pack(y[tile][0], y[tile][1]));
    store4(row + 8 * ROW, pack(y[tile][2], y[tile][3]));
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int row = lane / 8 + 4 * i, token = from + row, column = lane % 8 * 8;
    float values[8], z[8], square = 0.f;
    unpack(load16(memory.y + (place + row) * ROW + column), values);
    unpack(gate[i], z);
    for (int k = 0; k < 8; k += 2) silu_of_two(z[k], z[k + 1]);
    for (int k = 0; k < 8; k++) values[k] *= z[k];
    const uint4 rounded = pack(values);
    unpack(rounded, values);
    for (int k = 0; k < 8; k++) square += values[k] * values[k];
    square = sum_of_eight(square);
    if (token < end) {
      store16(out + (sequence * n + token) * inner + own + column, rounded);
      if (lane % 8 == 0) squares[(sequence * n + token) * heads + head] = square;
    }
  }
}

#define MAMBA_SCAN_AT_ONCE(NAME, WARPS, BLOCKS, HEADS)                                                                  \
  extern "C" __global__ CLUSTER(BLOCKS) __launch_bounds__(WARPS * HEADS * 32, 16 / (WARPS * HEADS)) void mamba_scan_##NAME( \
      const half_t *projected, half_t *out, float *squares, const float *conv_weight, const float *conv_bias,           \
      const float *dt_bias, const float *decay, const float *skip, const half_t *conv_before, half_t *conv_after,       \
      half_t *state, int n, int reads_state, int keeps_state) {                                                         \
    mamba_scan_at_once<WARPS, BLOCKS == 2, HEADS>(projected, out, squares, conv_weight, conv_bias, dt_bias, decay,      \
                                                  skip, conv_before, conv_after, state, n, reads_state, keeps_state);   \
  }
MAMBA_SCAN_AT_ONCE(at_once_8, 8, 1, 1)
MAMBA_SCAN_AT_ONCE(at_once_16, 16, 1, 1)
MAMBA_SCAN_AT_ONCE(of_two_blocks, 8, 2, 1)
MAMBA_SCAN_AT_ONCE(of_two_heads, 8, 2, 2)
