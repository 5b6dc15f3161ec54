// The middle of a Mamba-2 layer for the tokens of one scale: convolution, SiLU, the selective scan and the gate.
// State 64, head size 64, convolution of width 4, one group. `mamba_shared` makes B and C, which all heads share. In
// `mamba_scan` one block of 4 warps has one head of one sequence, and walks through chunks of 64 tokens; h stays in
// registers as float32.

/// The rows of two channels that the causal convolution of 16 tokens reads: 3 in front of token `from`, and its own.
/// `before` [3, stride_before] are the rows in front of the sequence, or null for zeros.
__device__ __forceinline__ void load_window(uint32 *rows, const half_t *x, long long stride, const half_t *before,
                                            int stride_before, int from, int n) {
  x += (from - 3) * stride;
#pragma unroll
  for (int i = 0; i < 19; i++) {
    const int token = from + i - 3;
    rows[i] = 0;
    if (token >= 0 && token < n) rows[i] = load4(x);
    if (i < 3 && token < 0 && before) rows[i] = load4(before + (token + 3) * stride_before);
    x += stride;
  }
}

/// The last 3 rows before the next scale, of 64 channels.
__device__ __forceinline__ void keep_last_rows(half_t *after, const half_t *x, long long stride, const half_t *before,
                                               int stride_before, int n) {
  for (int i = threadIdx.x; i < 3 * 32; i += blockDim.x) {
    const int token = n - 3 + i / 32, channel = i % 32 * 2;
    uint32 row = 0;
    if (token >= 0) row = load4(x + token * stride + channel);
    if (token < 0 && before) row = load4(before + (token + 3) * stride_before + channel);
    store4(after + i / 32 * stride_before + channel, row);
  }
}

/// The last 3 rows before the next scale, of 64 channels of x of a head, and for the first head of B and C too. A warp has one
/// row of them, which it asks for long before it stores it.
struct LastRow {
  uint32 pairs[3] = {};

  __device__ __forceinline__ static int channel(int part, int head, int heads) {
    return (part == 0 ? head : heads + part - 1) * 64 + threadIdx.x % 32 * 2;
  }

  __device__ __forceinline__ void load(int row, int head, int heads, const half_t *xbc, long long stride, const half_t *before, int n) {
    const int token = n - 3 + row;
#pragma unroll
    for (int part = 0; part < 3; part++) {
      if (part > 0 && head > 0) break;
      if (token >= 0) {
        pairs[part] = load4(xbc + token * stride + channel(part, head, heads));
      } else if (before) {
        pairs[part] = load4(before + (token + 3) * (heads + 2) * 64 + channel(part, head, heads));
      }
    }
  }

  __device__ __forceinline__ void store(half_t *after, int row, int head, int heads) const {
#pragma unroll
    for (int part = 0; part < 3; part++) {
      if (part == 0 || head == 0) store4(after + row * (heads + 2) * 64 + channel(part, head, heads), pairs[part]);
    }
  }
};

/// What is carried of a head's h [p, state] between scales: 16-bit [R, H, 4, 4, 32, 8], by 16 rows, by 16 columns, by lanes,
/// each with its numbers of two tiles side by side. In float32 it would be most of what short scales read and write.
struct CarriedState {
  half_t *numbers;

  __device__ __forceinline__ CarriedState(half_t *state, long long head) : numbers(state + head * 4096 + threadIdx.x % 32 * 8) {}

  /// Of a tile its rows g and g + 8, then those of its neighbour.
  __device__ __forceinline__ uint4 read(int rows, int columns) const { return load16(numbers + (rows * 4 + columns) * 256); }

  __device__ __forceinline__ void write(const float (*h)[4], int rows, int columns) const {
    store16(numbers + (rows * 4 + columns) * 256, pack(h[0]));
  }
};

/// What a scan knows of its tokens, in shared memory.
struct ScannedTokens {
  const float *dts;
  /// Logarithms of decay, from one beginning for all tokens of a group of 16.
  const float *cumulative;
  /// dt, times what is left at the end of the token's group.
  const float *to_sixteenth;
};

/// Adds up the logarithms of decay of the 16 tokens of a group, of which a warp's first lanes have dt, and notes what they
/// are, what is left of what each token adds at the end of the group, and the logarithm of the whole group.
__device__ __forceinline__ void note_decays(float *dts, float *cumulative, float *to_sixteenth, float *decays, int group, float dt,
                                            float decay) {
  const int lane = threadIdx.x % 32, token = group * 16 + lane;
  float sum = dt * decay;
  for (int step = 1; step < 16; step *= 2) {
    const float before = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += before;
  }
  const float whole = __shfl_sync(~0u, sum, 15);
  if (lane < 16) {
    dts[token] = dt;
    cumulative[token] = sum;
    to_sixteenth[token] = dt * __expf(whole - sum);
  }
  if (lane == 0) decays[group] = whole;
}

/// C·Bᵀ ⊙ decay ⊙ dt of the 16 tokens of group `own` (rows) and of group `group` ≤ `own`, as an operand of the product with x.
/// In front of the diagonal decay is a product of what a row and what a column has; on it stands D (`skip`) too.
///
/// `row` is what is left between the end of `group` and rows g and g + 8, `log_decay` those rows' logarithms as in `cumulative`.
__device__ __forceinline__ void weigh_group(uint32 *weights, const uint32 (*c)[4], const half_t *bs, const ScannedTokens &tokens,
                                            int group, int own, float2 row, float2 log_decay, const float *skip) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, upper = own * 16 + g, lower = upper + 8;
  float s[2][4] = {};
#pragma unroll
  for (int tile = 0; tile < 2; tile++) {
    multiply_row_of_tiles(s[tile], c, bs + (group * 16 + tile * 8) * ROW);
    const int first_j = group * 16 + tile * 8 + 2 * t;
    if (group < own) {
      const float2 column = *reinterpret_cast<const float2 *>(tokens.to_sixteenth + first_j);
      s[tile][0] *= row.x * column.x, s[tile][1] *= row.x * column.y;
      s[tile][2] *= row.y * column.x, s[tile][3] *= row.y * column.y;
      continue;
    }
    for (int i = 0; i < 4; i++) {
      const int j = first_j + i % 2, at = i < 2 ? upper : lower;
      // The exponent is chosen before exp, for behind the diagonal it would overflow.
      s[tile][i] = j <= at ? s[tile][i] * tokens.dts[j] * __expf((i < 2 ? log_decay.x : log_decay.y) - tokens.cumulative[j]) : 0.f;
      if (j == at) s[tile][i] += *skip;
    }
  }
  weights[0] = pack(s[0][0], s[0][1]), weights[1] = pack(s[0][2], s[0][3]);
  weights[2] = pack(s[1][0], s[1][1]), weights[3] = pack(s[1][2], s[1][3]);
}

/// y·SiLU(z) for two numbers; y in 16 bits is what the gate is applied to, in every form of the scan.
__device__ __forceinline__ uint32 gated(uint32 y, uint32 z) {
  float gate0 = first(z), gate1 = second(z);
  silu_of_two(gate0, gate1);
  return pack(first(y) * gate0, second(y) * gate1);
}

/// B and C of projected [R, n, 2·D + 128 + H] = [z, x, B, C, dt], convolved and activated: shared [R, n, 128]; or, where it
/// CUTS them, chunks of 64 tokens in planes of 8 columns, [R, chunks, 16, 64, 8] with zeros behind the end.
template <bool CUTS>
__device__ __forceinline__ void make_shared(const half_t *projected, half_t *shared, const float *conv_weight,
                                            const float *conv_bias, const half_t *conv_before, half_t *conv_after, int n,
                                            int heads) {
  let_successor_start();
  wait_for_predecessor();
  const int inner = heads * 64, channels = inner + 128, stride = 2 * inner + 128 + heads;
  const int own = threadIdx.x % 64 * 2, channel = inner + own, from = blockIdx.x * 32 + threadIdx.x / 64 * 16;
  const long long sequence = blockIdx.y;
  const half_t *xbc = projected + sequence * n * stride + inner;
  if (conv_before) conv_before += sequence * 3 * channels;
  if (CUTS || from < n) {
    uint32 rows[19];
    load_window(rows, xbc + channel, stride, conv_before ? conv_before + channel : nullptr, channels, from, n);
    half_t *out = CUTS ? shared + (sequence * ((n + 63) / 64) + from / 64) * 64 * 128 + own / 8 * 512 + from % 64 * 8 + own % 8
                       : shared + (sequence * n + from) * 128 + own;
    convolve(rows, conv_weight + channel * 4, conv_bias + channel, [&](int i, uint32 pair) {
      if (CUTS || from + i < n) store4(out + i * (CUTS ? 8 : 128), from + i < n ? pair : 0);
    });
  }
  if (conv_after && blockIdx.x == 0) {
    conv_after += sequence * 3 * channels;
    for (int part = inner; part < channels; part += 64) {
      keep_last_rows(conv_after + part, xbc + part, stride, conv_before ? conv_before + part : nullptr, channels, n);
    }
  }
}

#define MAMBA_SHARED(NAME, CUTS)                                                                                           \
  extern "C" __global__ __launch_bounds__(128) void NAME(const half_t *projected, half_t *shared, const float *conv_weight, \
                                                         const float *conv_bias, const half_t *conv_before,                \
                                                         half_t *conv_after, int n, int heads) {                           \
    make_shared<CUTS>(projected, shared, conv_weight, conv_bias, conv_before, conv_after, n, heads);                       \
  }
// conv_before, conv_after [R, 3, D + 128]: what is carried between scales, or null. Grid: groups of 32 tokens (up to the end of
// the last chunk), sequences.
MAMBA_SHARED(mamba_shared, false)
MAMBA_SHARED(mamba_shared_in_planes, true)

/// What a block of 128 threads fetches of one head, chunk after chunk: what is convolved, 67 rows of 64 channels of which 3 are
/// those in front, the gates and the steps.
struct HeadChunks {
  /// Of one sequence.
  const half_t *projected;
  half_t *raw, *gates;
  uint32 *steps;
  int n, stride, head, heads;
  /// Where this thread's parts of the next chunk begin.
  int next_raw, next_gates;

  __device__ __forceinline__ int column() const { return threadIdx.x % 8 * 8; }
  __device__ __forceinline__ int first_row() const { return threadIdx.x / 8; }
  /// Each warp copies the gates of its own 16 tokens.
  __device__ __forceinline__ int first_gate() const { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 8; }
  /// 16 bytes at a time where rows begin at multiples of 16 bytes: an even number of heads gives multiples of 4.
  __device__ __forceinline__ bool is_aligned() const { return stride % 8 == 0; }

  __device__ __forceinline__ HeadChunks(const half_t *all, long long sequence, half_t *raw, half_t *gates, uint32 *steps, int n,
                                        int head, int heads)
      : raw(raw), gates(gates), steps(steps), n(n), stride(heads * 129 + 128), head(head), heads(heads) {
    projected = all + sequence * n * stride;
    next_raw = (heads + head) * 64 + (first_row() - 3) * stride + column();
    next_gates = head * 64 + first_gate() * stride + column();
  }

  /// The rows in front of the first chunk, `before` [3, D + 128], or zeros where it is null.
  __device__ __forceinline__ void fetch_before(const half_t *before) const {
    if (first_row() >= 3) return;
    copy16_async(raw + first_row() * 64 + column(), before + first_row() * (heads * 64 + 128) + head * 64 + column(), before != nullptr);
  }

  __device__ __forceinline__ void fetch_raw(int start) {
    const int token = start + first_row() - 3;
    half_t *const target = raw + first_row() * 64 + column();
    const half_t *const source = projected + next_raw;
    next_raw += 64 * stride;
    const bool aligned = is_aligned();
    if (token >= 0) copy16_async(target, source, token < n, aligned);
    if (aligned) {
#pragma unroll
      for (int i = 1; i < 4; i++) copy16_async(target + i * 16 * 64, source + i * 16 * stride, token + 16 * i < n);
    } else {
#pragma unroll 1
      for (int i = 1; i < 4; i++) copy16_async(target + i * 16 * 64, source + i * 16 * stride, token + 16 * i < n, false);
    }
    if (first_row() < 3) copy16_async(target + 64 * 64, source + 64 * stride, token + 64 < n, aligned);
    // With its neighbour, as copies have 4 bytes at least.
    if (threadIdx.x < 64 && start + threadIdx.x < n) {
      const half_t *const pair = projected + (start + threadIdx.x + 1) * stride - heads + head / 2 * 2;
      copy4_async(steps + threadIdx.x, pair);
    }
  }

  __device__ __forceinline__ void fetch_gates(int start) {
    half_t *const target = gates + first_gate() * ROW + column();
    const half_t *const source = projected + next_gates;
    next_gates += 64 * stride;
    const int token = start + first_gate();
    if (is_aligned()) {
#pragma unroll
      for (int i = 0; i < 4; i++) copy16_async(target + i * 4 * ROW, source + i * 4 * stride, token + 4 * i < n);
    } else {
#pragma unroll 1
      for (int i = 0; i < 4; i++) copy16_async(target + i * 4 * ROW, source + i * 4 * stride, token + 4 * i < n, false);
    }
  }

  /// dt before its bias, of a token of the chunk that has come.
  __device__ __forceinline__ float step(int token) const { return head % 2 ? second(steps[token]) : first(steps[token]); }

  /// The last 3 rows of the last chunk, which still lie where they came in, to `after` [3, D + 128].
  __device__ __forceinline__ void keep_last(half_t *after) const {
    if (threadIdx.x >= 96) return;
    const int row = threadIdx.x / 32, channel = threadIdx.x % 32 * 2, last_start = (n - 1) / 64 * 64;
    store4(after + row * (heads * 64 + 128) + head * 64 + channel, load4(raw + (n - last_start + row) * 64 + channel));
  }
};

/// projected [R, n, 2·D + 128 + H] = [z, x, B, C, dt], with B and C ready in shared [R, n, 128] → out [R, n, D] =
/// (scan + D·x)·SiLU(z), and the sum of its squares over each head in squares [R, n, H].
///
/// conv_before, conv_after [R, 3, D + 128] and state (`CarriedState`, in place): what is carried between scales; null
/// where nothing came before or nothing comes after (`reads_state`, `keeps_state` for the state). Grid: heads, sequences.
/// Shared memory: 5·64 rows, and 67 of 64 numbers.
extern "C" __global__ __launch_bounds__(128, 4) void mamba_scan(
    const half_t *projected, const half_t *shared, half_t *out, float *squares, const float *conv_weight,
    const float *conv_bias, const float *dt_bias, const float *decay, const float *skip, const half_t *conv_before,
    half_t *conv_after, half_t *state, int n, int reads_state, int keeps_state) {
  extern __shared__ __align__(16) half_t dynamic[];
  half_t *xs = dynamic, *bs = xs + 64 * ROW, *cs = bs + 64 * ROW, *hs = cs + 64 * ROW, *zs = hs + 64 * ROW, *raw = zs + 64 * ROW;
  // By token, the logarithms from the beginning of its group of 16; and those of whole groups.
  __shared__ __align__(16) float dts[64], cumulative[64], to_sixteenth[64], decays[4];
  __shared__ uint32 steps[64];
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.x, heads = gridDim.x, inner = heads * 64, channels = inner + 128;
  const long long sequence = blockIdx.y;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  shared += sequence * n * 128;
  HeadChunks chunks(projected, sequence, raw, zs, steps, n, head, heads);
  const int own = head * 64, column = chunks.column();

  float h[8][4] = {};
  const CarriedState own_state(state, sequence * heads + head);
  uint4 carried[4] = {};
  if (reads_state) {
#pragma unroll
    for (int i = 0; i < 4; i++) carried[i] = own_state.read(warp, i);
  }

  const auto fetch_shared = [&](int start) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int row = chunks.first_row() + 16 * i;
      const half_t *source = shared + (start + row) * 128 + column;
      copy16_async(bs + row * ROW + column, source, start + row < n);
      copy16_async(cs + row * ROW + column, source + 64, start + row < n);
    }
  };
  // Of the first chunk all is asked for at once.
  chunks.fetch_before(conv_before ? conv_before + sequence * 3 * channels : nullptr);
  chunks.fetch_raw(0);
  commit_copies();
  fetch_shared(0);
  commit_copies();
  chunks.fetch_gates(0);
  commit_copies();
#pragma unroll
  for (int i = 0; i < 4; i++) unpack(carried[i], h[2 * i]);
  const float own_bias = dt_bias[head], own_decay = decay[head];
  for (int start = 0; start < n; start += 64) {
    const int count = min(64, n - start);
    const bool active = warp * 16 < count;
    if (start == 0) wait_for_copies_but<2>(); else wait_for_copies();
    __syncthreads();
    if (start > 0) {
      fetch_shared(start);
      commit_copies();
      chunks.fetch_gates(start);
      commit_copies();
    }
    const int channel = own + lane * 2;
    // Each warp adds up the logarithms of decay of its 16 tokens. Tokens behind the end have dt = 0: they neither decay
    // nor add.
    const float dt = lane < 16 && warp * 16 + lane < count ? softplus(chunks.step(warp * 16 + lane) + own_bias) : 0.f;
    note_decays(dts, cumulative, to_sixteenth, decays, warp, dt, own_decay);
    half_t *tile = xs + warp * 16 * ROW + lane * 2;
    if (active) {
      uint32 window[19];
      for (int i = 0; i < 19; i++) window[i] = load4(raw + (warp * 16 + i) * 64 + lane * 2);
      convolve(window, conv_weight + channel * 4, conv_bias + channel, [&](int i, uint32 pair) {
        store4(tile + i * ROW, warp * 16 + i < count ? pair : 0);
      });
    } else {
      for (int i = 0; i < 16; i++) store4(tile + i * ROW, 0);
    }
    // h as [p, state], each warp its own rows of p.
    for (int tile = 0; tile < 8; tile++) {
      half_t *row = hs + (warp * 16 + g) * ROW + tile * 8 + 2 * t;
      store4(row, pack(h[tile][0], h[tile][1]));
      store4(row + 8 * ROW, pack(h[tile][2], h[tile][3]));
    }
    wait_for_copies_but<1>();
    __syncthreads();
    // What the next chunk convolves is under way while this one is computed.
    if (start + 64 < n) chunks.fetch_raw(start + 64);
    commit_copies();

    const float4 groups = *reinterpret_cast<const float4 *>(decays);
    // h = h·(decay to the end) + (x ⊙ dt ⊙ decay to the end)ᵀ · B.
    if (keeps_state || start + 64 < n) {
      const float fade = __expf(groups.x + groups.y + groups.z + groups.w);
      for (int tile = 0; tile < 8; tile++) {
        for (int i = 0; i < 4; i++) h[tile][i] *= fade;
      }
      for (int step = 0; step * 16 < count; step++) {
        uint32 x[4];
        load_tiles_transposed(x, xs + (step * 16 + lane / 16 * 8 + lane % 8) * ROW + warp * 16 + lane / 8 % 2 * 8);
        const float rest = (step < 1 ? groups.y : 0.f) + (step < 2 ? groups.z : 0.f) + (step < 3 ? groups.w : 0.f);
        const float later = __expf(rest);
        for (int i = 0; i < 4; i++) {
          const float2 left = *reinterpret_cast<const float2 *>(to_sixteenth + step * 16 + i / 2 * 8 + 2 * t);
          x[i] = pack(first(x[i]) * (left.x * later), second(x[i]) * (left.y * later));
        }
#pragma unroll
        for (int tile = 0; tile < 8; tile += 2) {
          uint32 b[4];
          load_tiles_transposed(b, bs + (step * 16 + lane % 16) * ROW + tile * 8 + lane / 16 * 8);
          multiply_tiles(h[tile], x, b[0], b[1]);
          multiply_tiles(h[tile + 1], x, b[2], b[3]);
        }
      }
    }
    if (!active) continue;
    uint32 c[4][4];
    for (int step = 0; step < 4; step++) load_a(c[step], cs, warp * 16, step * 16);
    const int upper = warp * 16 + g, lower = upper + 8;
    // From the beginning of the group of 16, and of the chunk.
    const float own_upper = cumulative[upper], own_lower = cumulative[lower];
    const float in_front = (warp > 0 ? groups.x : 0.f) + (warp > 1 ? groups.y : 0.f) + (warp > 2 ? groups.z : 0.f);
    const float log_upper = in_front + own_upper, log_lower = in_front + own_lower;
    float y[8][4] = {};
    if (reads_state || start > 0) {
      const float fade_upper = __expf(log_upper), fade_lower = __expf(log_lower);
#pragma unroll
      for (int tile = 0; tile < 8; tile++) {
        multiply_row_of_tiles(y[tile], c, hs + tile * 8 * ROW);
        y[tile][0] *= fade_upper, y[tile][1] *= fade_upper, y[tile][2] *= fade_lower, y[tile][3] *= fade_lower;
      }
    }
    // Groups of 16 tokens up to the diagonal: y += (C·Bᵀ ⊙ decay ⊙ dt) · x.
    const ScannedTokens tokens{dts, cumulative, to_sixteenth};
    for (int pair = 0; pair <= warp; pair++) {
      const float end = groups.x + (pair > 0 ? groups.y : 0.f) + (pair > 1 ? groups.z : 0.f) + (pair > 2 ? groups.w : 0.f);
      uint32 weights[4];
      weigh_group(weights, c, bs, tokens, pair, warp, make_float2(__expf(log_upper - end), __expf(log_lower - end)),
                  make_float2(own_upper, own_lower), skip + head);
#pragma unroll
      for (int tile = 0; tile < 8; tile += 2) {
        uint32 b[4];
        load_tiles_transposed(b, xs + (pair * 16 + lane % 16) * ROW + tile * 8 + lane / 16 * 8);
        multiply_tiles(y[tile], weights, b[0], b[1]);
        multiply_tiles(y[tile + 1], weights, b[2], b[3]);
      }
    }
    wait_for_copies_but<1>();
    // Each warp has read its own rows of C; they now hold its rows of y.
    __syncwarp();
    for (int tile = 0; tile < 8; tile++) {
      half_t *row = cs + upper * ROW + tile * 8 + 2 * t;
      store4(row, pack(y[tile][0], y[tile][1]));
      store4(row + 8 * ROW, pack(y[tile][2], y[tile][3]));
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int row = lane / 8 + 4 * i, token = start + warp * 16 + row, column = lane % 8 * 8;
      const bool inside = token < n;
      float values[8], z[8], sum = 0.f;
      unpack(load16(cs + (warp * 16 + row) * ROW + column), values);
      unpack(load16(zs + (warp * 16 + row) * ROW + column), z);
      for (int c = 0; c < 8; c += 2) silu_of_two(z[c], z[c + 1]);
      for (int c = 0; c < 8; c++) values[c] *= z[c];
      const uint4 rounded = pack(values);
      unpack(rounded, values);
      for (int c = 0; c < 8; c++) sum += values[c] * values[c];
      sum = sum_of_eight(sum);
      if (inside) {
        store16(out + (sequence * n + token) * inner + own + column, rounded);
        if (lane % 8 == 0) squares[(sequence * n + token) * heads + head] = sum;
      }
    }
  }

  if (keeps_state) {
    for (int i = 0; i < 4; i++) own_state.write(h + 2 * i, warp, i);
  }
  if (conv_after) chunks.keep_last(conv_after + sequence * 3 * channels);
}
