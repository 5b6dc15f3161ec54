// `mamba_scan` on Hopper's matrix units: the four warps of a block are the group that multiplies, so that a chunk of 64 tokens
// is four products of 64 × 64. With so few warps what counts is how long each waits.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// What is written by rows, and what comes in one copy.
constexpr int SCAN_PLANE = 64 * 16 + 16, COPIED_PLANE = 64 * 16;

/// C·Bᵀ ⊙ decay ⊙ dt of 16 tokens with each of the chunk up to themselves, as operands of the product with x; on the
/// diagonal stands D (`skip`) too. `s` is C·Bᵀ; `decays` are the logarithms of the four groups of 16 tokens, `log_decay` what
/// they are at rows g and g + 8 from the beginning of the chunk.
__device__ __forceinline__ void weigh_chunk(uint32 (*weights)[4], const float *s, const ScannedTokens &tokens, float4 decays,
                                            float2 log_decay, float skip) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  float end = 0.f;
#pragma unroll
  for (int group = 0; group < 4; group++) {
    end += (&decays.x)[group];
    const float *const own = s + group * 8;
    if (group > warp) {
      for (int i = 0; i < 4; i++) weights[group][i] = 0;
    } else if (group < warp) {
      // What is left between the end of the group and the rows, times what is left there of each column.
      const float upper = __expf(log_decay.x - end), lower = __expf(log_decay.y - end);
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float2 column = *reinterpret_cast<const float2 *>(tokens.to_sixteenth + group * 16 + i * 8 + 2 * t);
        weights[group][2 * i] = pack(own[4 * i] * (upper * column.x), own[4 * i + 1] * (upper * column.y));
        weights[group][2 * i + 1] = pack(own[4 * i + 2] * (lower * column.x), own[4 * i + 3] * (lower * column.y));
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = i % 2 * 8 + g, column = i / 2 * 8 + 2 * t;
        const float2 log_of = *reinterpret_cast<const float2 *>(tokens.cumulative + group * 16 + column);
        const float2 dt = *reinterpret_cast<const float2 *>(tokens.dts + group * 16 + column);
        const float own_log = tokens.cumulative[group * 16 + row];
        // The exponent is cut before exp, for behind the diagonal it would overflow.
        const float left = own[2 * i] * dt.x * __expf(fminf(own_log - log_of.x, 0.f));
        const float right = own[2 * i + 1] * dt.y * __expf(fminf(own_log - log_of.y, 0.f));
        weights[group][i] = pack(column < row ? left : column == row ? left + skip : 0.f,
                                 column + 1 < row ? right : column + 1 == row ? right + skip : 0.f);
      }
    }
  }
}

/// As `mamba_scan`, with B and C as `mamba_shared_in_planes` gives them. Shared memory: two matrices of 8 `SCAN_PLANE` bytes and
/// two of 8 `COPIED_PLANE`, 64 rows of gates, and 67 of 64 numbers.
extern "C" __global__ __launch_bounds__(128, 4) void mamba_scan_wgmma(
    const half_t *projected, const half_t *shared, half_t *out, float *squares, const float *conv_weight,
    const float *conv_bias, const float *dt_bias, const float *decay, const float *skip, const half_t *conv_before,
    half_t *conv_after, half_t *state, int n, int reads_state, int keeps_state) {
  extern __shared__ __align__(128) unsigned char scan_planes[];
  unsigned char *const xs = scan_planes, *const hs = xs + 8 * SCAN_PLANE, *const bs = hs + 8 * SCAN_PLANE, *const cs = bs + 8 * COPIED_PLANE;
  half_t *const zs = reinterpret_cast<half_t *>(cs + 8 * COPIED_PLANE), *const raw = zs + 64 * ROW;
  __shared__ __align__(16) float dts[64], cumulative[64], to_sixteenth[64], decays[4];
  // What the head's weights are, here and not in registers: there are none left, and memory of a thread's own is read in the same
  // queue as copies are asked for.
  __shared__ __align__(16) float taps[64 * 4], tap_biases[64], step_bias, step_decay, own_skip;
  __shared__ uint32 steps[64];
  __shared__ Gate shared_full;
  if (threadIdx.x == 0) {
    shared_full.begin(1), show_gates();
    step_bias = dt_bias[blockIdx.x], step_decay = decay[blockIdx.x], own_skip = skip[blockIdx.x];
  }
  if (threadIdx.x < 64) {
    const int channel = blockIdx.x * 64 + threadIdx.x;
    *reinterpret_cast<float4 *>(taps + threadIdx.x * 4) = *reinterpret_cast<const float4 *>(conv_weight + channel * 4);
    tap_biases[threadIdx.x] = conv_bias[channel];
  }
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.x, heads = gridDim.x, inner = heads * 64, channels = inner + 128;
  const long long sequence = blockIdx.y;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  shared += sequence * ((n + 63) / 64) * 64 * 128;
  HeadChunks chunks(projected, sequence, raw, zs, steps, n, head, heads);
  const int own = head * 64;

  const CarriedState own_state(state, sequence * heads + head);
  uint4 carried[4] = {};
  if (reads_state) {
#pragma unroll
    for (int i = 0; i < 4; i++) carried[i] = own_state.read(warp, i);
  }
  chunks.fetch_before(conv_before ? conv_before + sequence * 3 * channels : nullptr);
  chunks.fetch_raw(0);
  commit_copies();
  // h [p, state] as sums of products are.
  float h[32];
#pragma unroll
  for (int i = 0; i < 4; i++) unpack(carried[i], h + 8 * i);
  const uint64 c_rows = matrix_descriptor(cs, COPIED_PLANE, 128), b_rows = matrix_descriptor(bs, COPIED_PLANE, 128);
  const uint64 b_columns = matrix_descriptor(bs, 128, COPIED_PLANE), x_columns = matrix_descriptor(xs, 128, SCAN_PLANE);
  const uint64 h_rows = matrix_descriptor(hs, SCAN_PLANE, 128);
  uint32 round = 0;
  for (int start = 0; start < n; start += 64) {
    const int count = min(64, n - start);
    const bool active = warp * 16 < count;
    wait_for_copies();
    __syncthreads();
    if (threadIdx.x == 0) {
      shared_full.fetch(static_cast<uint32>(__cvta_generic_to_shared(bs)), shared + start * 128, 2 * 8 * COPIED_PLANE);
    }
    // Each warp adds up the logarithms of decay of its 16 tokens. Tokens behind the end have dt = 0: they neither decay
    // nor add.
    const float dt = lane < 16 && warp * 16 + lane < count ? softplus(chunks.step(warp * 16 + lane) + step_bias) : 0.f;
    note_decays(dts, cumulative, to_sixteenth, decays, warp, dt, step_decay);
    chunks.fetch_gates(start);
    commit_copies();
    unsigned char *const tile = xs + lane / 4 * SCAN_PLANE + warp * 16 * 16 + lane % 4 * 4;
    if (active) {
      uint32 window[19];
      for (int i = 0; i < 19; i++) window[i] = load4(raw + (warp * 16 + i) * 64 + lane * 2);
      convolve(window, taps + lane * 8, tap_biases + lane * 2,
               [&](int i, uint32 pair) { *reinterpret_cast<uint32 *>(tile + i * 16) = pair; });
    } else {
      for (int i = 0; i < 16; i++) *reinterpret_cast<uint32 *>(tile + i * 16) = 0;
    }
    // Each warp its own rows of p.
#pragma unroll
    for (int i = 0; i < 8; i++) {
      unsigned char *row = hs + i * SCAN_PLANE + (warp * 16 + g) * 16 + 4 * t;
      *reinterpret_cast<uint32 *>(row) = pack(h[4 * i], h[4 * i + 1]);
      *reinterpret_cast<uint32 *>(row + 8 * 16) = pack(h[4 * i + 2], h[4 * i + 3]);
    }
    show_to_matrix_units();
    shared_full.wait(round);
    round ^= 1;
    __syncthreads();

    // Before the products begin, as the compiler may else have h wait for them.
    const float4 groups = *reinterpret_cast<const float4 *>(decays);
    const float fade = __expf(groups.x + groups.y + groups.z + groups.w);
    for (int i = 0; i < 32; i++) h[i] *= fade;
    float s[32];
    begin_products();
#pragma unroll
    for (int i = 0; i < 4; i++) multiply_64_by_64(s, c_rows + i * 2 * (COPIED_PLANE / 16), b_rows + i * 2 * (COPIED_PLANE / 16), i > 0);
    commit_products();
    // h = h·(decay to the end) + (x ⊙ dt ⊙ decay to the end)ᵀ · B.
    uint32 x[4][4];
    const half_t *const own_tile =
        reinterpret_cast<const half_t *>(xs + (warp * 2 + lane / 8 % 2) * SCAN_PLANE + (lane / 16 * 8 + lane % 8) * 16);
    load_tiles_transposed<0 * 256>(x[0], own_tile), load_tiles_transposed<1 * 256>(x[1], own_tile);
    load_tiles_transposed<2 * 256>(x[2], own_tile), load_tiles_transposed<3 * 256>(x[3], own_tile);
#pragma unroll
    for (int step = 0; step < 4; step++) {
      const float later = __expf((step < 1 ? groups.y : 0.f) + (step < 2 ? groups.z : 0.f) + (step < 3 ? groups.w : 0.f));
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float2 left = *reinterpret_cast<const float2 *>(to_sixteenth + step * 16 + i / 2 * 8 + 2 * t);
        x[step][i] = pack(first(x[step][i]) * (left.x * later), second(x[step][i]) * (left.y * later));
      }
    }
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; step++) multiply_by_columns(h, x[step], b_columns + step * 16, 1);
    commit_products();
    wait_for_products_but<1>();
    settle(s);

    // y = fade ⊙ (C · hᵀ) + weights · x.
    const int upper = warp * 16 + g, lower = upper + 8;
    const float in_front = (warp > 0 ? groups.x : 0.f) + (warp > 1 ? groups.y : 0.f) + (warp > 2 ? groups.z : 0.f);
    const float2 log_decay = make_float2(in_front + cumulative[upper], in_front + cumulative[lower]);
    uint32 weights[4][4];
    weigh_chunk(weights, s, ScannedTokens{dts, cumulative, to_sixteenth}, groups, log_decay, own_skip);
    float y[32];
    begin_products();
#pragma unroll
    for (int i = 0; i < 4; i++) multiply_64_by_64(y, c_rows + i * 2 * (COPIED_PLANE / 16), h_rows + i * 2 * (SCAN_PLANE / 16), i > 0);
    commit_products();
    // What the next chunk convolves is under way while this one is computed.
    if (start + 64 < n) chunks.fetch_raw(start + 64);
    commit_copies();
    const float fade_upper = __expf(log_decay.x), fade_lower = __expf(log_decay.y);
    wait_for_products_but<0>();
    settle(h), settle(y);
#pragma unroll
    for (int i = 0; i < 32; i++) y[i] *= i % 4 < 2 ? fade_upper : fade_lower;
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; step++) multiply_by_columns(y, weights[step], x_columns + step * 16, 1);
    commit_products();
    // The gates; what came for the next chunk may still be under way.
    wait_for_copies_but<1>();
    __syncwarp();
    wait_for_products_but<0>();
    settle(y);
    if (!active) continue;

    // The gated rows take the gates' place, so that whole lines are written.
    float sums[2] = {};
    half_t *const gates = zs + upper * ROW + 2 * t;
#pragma unroll
    for (int i = 0; i < 16; i++) {
      half_t *const place = gates + i % 2 * 8 * ROW + i / 2 * 8;
      const uint32 z = load4(place);
      float left = first(z), right = second(z);
      silu_of_two(left, right);
      left *= y[2 * i], right *= y[2 * i + 1];
      sums[i % 2] += left * left + right * right;
      store4(place, pack(left, right));
    }
    sums[0] = sum_of_four(sums[0]), sums[1] = sum_of_four(sums[1]);
    if (t < 2 && upper + 8 * t < count) squares[(sequence * n + start + upper + 8 * t) * heads + head] = t == 0 ? sums[0] : sums[1];
    __syncwarp();
    half_t *const target = out + (sequence * n + start + chunks.first_gate()) * inner + own + chunks.column();
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int row = chunks.first_gate() + 4 * i;
      if (row < count) store16(target + i * 4 * inner, load16(zs + row * ROW + chunks.column()));
    }
  }

  if (keeps_state) {
    for (int i = 0; i < 4; i++) own_state.write(reinterpret_cast<const float (*)[4]>(h + 8 * i), warp, i);
  }
  if (conv_after) chunks.keep_last(conv_after + sequence * 3 * channels);
}
#endif
