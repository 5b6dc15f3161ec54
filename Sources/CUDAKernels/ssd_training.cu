// The middle of a Mamba-2 layer over whole sequences, for training: convolution, SiLU and selective scan from a state of
// zero, and the gradients of all that (arXiv 2405.21060, sections 6 and 7). State 64, head size 64, convolution of width 4, one group.
//
// Sequences are walked through in chunks of 64 tokens, by one block of 4 warps for each head of each sequence. Inside a
// chunk, with l the running sum of dt·A, S = C·Bᵀ and E_ij = exp(l_i − l_j) for i ≥ j, h the state in front of the chunk:
//   y = (S ∘ E ∘ dt)·x + exp(l)·C·h + D·x,   h' = exp(l_end)·h + Σ_j dt_j·exp(l_end − l_j)·x_j ⊗ B_j.
// Backward, from dy and the gradient g of h', with G = dy·xᵀ, u_j = exp(l_end − l_j)·B_j·(x_j·g) and k_j = Σ_i (G ∘ S ∘ E)_ij:
//   dx = (S ∘ E ∘ dt)ᵀ·dy + dt·exp(l_end − l)·B·gᵀ + D·dy
//   dC = (G ∘ E ∘ dt)·B + exp(l)·dy·h,       dB = (G ∘ E ∘ dt)ᵀ·C + dt·exp(l_end − l)·x·g
//   dl_i = Σ_j (G ∘ S ∘ E ∘ dt)_ij + exp(l_i)·C_i·(dy_i·h) − dt_i·(k_i + u_i),   dl_end += Σ_j dt_j·u_j + exp(l_end)·⟨g, h⟩
//   d(dt)_t = A·Σ_{i ≥ t} dl_i + k_t + u_t,  g ← exp(l_end)·g + Σ_i exp(l_i)·dy_i ⊗ C_i.

constexpr int SSD_TILE = 64 * ROW;

/// What the decays of a chunk of 64 tokens make of each of them.
struct ChunkDecays {
  float dt[64];
  /// The running sum of dt·A, up to and with the token.
  float log[64];
};

/// One warp makes the decays of tokens `start` …; those behind the end have dt = 0: they neither decay nor add.
__device__ __forceinline__ void make_decays(ChunkDecays &decays, const half_t *dts, long long stride, float bias,
                                            float rate, int start, int n) {
  const int lane = threadIdx.x % 32;
  float offset = 0.f;
  for (int half = 0; half < 2; half++) {
    const int token = start + half * 32 + lane;
    const float dt = token < n ? softplus(to_float(dts[token * stride]) + bias) : 0.f;
    float sum = dt * rate;
    for (int step = 1; step < 32; step *= 2) {
      const float left = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += left;
    }
    sum += offset;
    offset = __shfl_sync(~0u, sum, 31);
    decays.dt[half * 32 + lane] = dt;
    decays.log[half * 32 + lane] = sum;
  }
}

/// The rows of two channels that the causal convolution of 16 tokens reads: 3 in front of token `from`, and its own.
__device__ __forceinline__ void load_rows(uint32 *rows, const half_t *x, long long stride, int from, int n) {
#pragma unroll
  for (int i = 0; i < 19; i++) {
    const int token = from + i - 3;
    rows[i] = token >= 0 && token < n ? load4(x + token * stride) : 0;
  }
}

/// B operands of two tiles of 8 columns from `column` on, rows `row` … `row + 15`, of a tile that lies row by row.
__device__ __forceinline__ void load_b(uint32 *b, const half_t *tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  load_tiles_transposed(b, tile + (row + lane % 16) * ROW + column + lane / 16 * 8);
}

/// The A operand of columns `column` … `column + 15` as rows, and rows `row` … `row + 15` as columns: a transposed tile.
__device__ __forceinline__ void load_a_transposed(uint32 *a, const half_t *tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  load_tiles_transposed(a, tile + (row + lane / 16 * 8 + lane % 8) * ROW + column + lane / 8 % 2 * 8);
}

/// d += a · b for 16 rows of A, 16 long, and rows `row` … of B, 64 wide.
__device__ __forceinline__ void multiply_by_rows(float (*d)[4], const uint32 *a, const half_t *b, int row) {
#pragma unroll
  for (int tile = 0; tile < 8; tile += 2) {
    uint32 columns[4];
    load_b(columns, b, row, tile * 8);
    multiply_tiles(d[tile], a, columns[0], columns[1]);
    multiply_tiles(d[tile + 1], a, columns[2], columns[3]);
  }
}

/// Stores a warp's 16 rows of D in a tile, from row `row` on.
__device__ __forceinline__ void store_rows(half_t *tile, const float (*d)[4], int row) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    half_t *at = tile + (row + g) * ROW + i * 8 + 2 * t;
    store4(at, pack(d[i][0], d[i][1]));
    store4(at + 8 * ROW, pack(d[i][2], d[i][3]));
  }
}

/// Copies a warp's 16 rows of a tile to memory, those below `count`; `target` is the tile's first row.
__device__ __forceinline__ void copy_rows_out(half_t *target, long long stride, const half_t *tile, int row, int count) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int own = row + lane / 8 + 4 * i, column = lane % 8 * 8;
    if (own < count) store16(target + own * stride + column, load16(tile + own * ROW + column));
  }
}

/// B and C of projected [R, n, 2·D + 128 + H] = [z, x, B, C, dt], convolved and activated: shared [R, n, 128].
///
/// Grid: groups of 32 tokens, sequences; 128 threads.
extern "C" __global__ __launch_bounds__(128) void ssd_shared(const half_t *projected, half_t *shared,
                                                             const float *conv_weight, const float *conv_bias, int n,
                                                             int heads) {
  let_successor_start();
  wait_for_predecessor();
  const int inner = heads * 64, stride = 2 * inner + 128 + heads;
  const int channel = threadIdx.x % 64 * 2, from = blockIdx.x * 32 + threadIdx.x / 64 * 16;
  const long long sequence = blockIdx.y;
  if (from >= n) return;
  uint32 rows[19];
  load_rows(rows, projected + sequence * n * stride + 2 * inner + channel, stride, from, n);
  half_t *out = shared + (sequence * n + from) * 128 + channel;
  convolve(rows, conv_weight + (inner + channel) * 4, conv_bias + inner + channel, [&](int i, uint32 pair) {
    if (from + i < n) store4(out + i * 128, pair);
  });
}

/// projected [R, n, 2·D + 128 + H] = [z, x, B, C, dt], with B and C ready in shared [R, n, 128] → y [R, n, D] = scan + D·x,
/// and the state in front of every chunk but the first in states [R, H, chunks, 64, 64]; either may be null.
///
/// Grid: heads, sequences; 128 threads.
extern "C" __global__ __launch_bounds__(128, 4) void ssd_forward(
    const half_t *projected, const half_t *shared, half_t *y, half_t *states, const float *conv_weight,
    const float *conv_bias, const float *dt_bias, const float *decay, const float *skip, int n) {
  __shared__ __align__(16) half_t xs[SSD_TILE], bs[SSD_TILE], cs[SSD_TILE], hs[SSD_TILE];
  __shared__ ChunkDecays decays;
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.x, heads = gridDim.x, inner = heads * 64, own = head * 64;
  const long long sequence = blockIdx.y, stride = 2 * inner + 128 + heads;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  projected += sequence * n * stride;
  shared += sequence * n * 128;
  if (y) y += sequence * n * inner + own;
  if (states) states += (sequence * heads + head) * ((n + 63) / 64) * 4096;
  const int channel = own + lane * 2;

  float h[8][4] = {};
  for (int start = 0; start < n; start += 64) {
    const int count = min(64, n - start);
    const bool active = warp * 16 < count;
    __syncthreads();
    for (int row = threadIdx.x / 8; row < 64; row += 16) {
      const int column = threadIdx.x % 8 * 8;
      const half_t *source = shared + (start + row) * 128 + column;
      copy16_async(bs + row * ROW + column, row < count ? source : shared, row < count);
      copy16_async(cs + row * ROW + column, row < count ? source + 64 : shared, row < count);
    }
    uint32 rows[19];
    load_rows(rows, projected + inner + channel, stride, start + warp * 16, n);
    if (warp == 0) {
      make_decays(decays, projected + stride - heads + head, stride, dt_bias[head], decay[head], start, n);
    }
    convolve(rows, conv_weight + channel * 4, conv_bias + channel, [&](int i, uint32 pair) {
      store4(xs + (warp * 16 + i) * ROW + lane * 2, warp * 16 + i < count ? pair : 0);
    });
    // h as [p, state], each warp its own rows of p.
    store_rows(hs, h, warp * 16);
    wait_for_copies();
    __syncthreads();
    if (states && start > 0) copy_rows_out(states + start / 64 * 4096, 64, hs, warp * 16, 64);

    if (start + 64 < n) {
      const float end = decays.log[63], fade = __expf(end);
      for (int tile = 0; tile < 8; tile++) {
        for (int i = 0; i < 4; i++) h[tile][i] *= fade;
      }
#pragma unroll
      for (int step = 0; step < 4; step++) {
        uint32 x[4];
        load_a_transposed(x, xs, step * 16, warp * 16);
        for (int i = 0; i < 4; i++) {
          const int j = step * 16 + i / 2 * 8 + 2 * t;
          x[i] = pack(first(x[i]) * decays.dt[j] * __expf(end - decays.log[j]),
                      second(x[i]) * decays.dt[j + 1] * __expf(end - decays.log[j + 1]));
        }
        multiply_by_rows(h, x, bs, step * 16);
      }
    }
    if (!y || !active) continue;
    uint32 c[4][4];
    for (int step = 0; step < 4; step++) load_a(c[step], cs, warp * 16, step * 16);
    const int upper = warp * 16 + g, lower = upper + 8;
    const float log_upper = decays.log[upper], log_lower = decays.log[lower];
    float sum[8][4] = {};
    if (start > 0) {
      const float fade_upper = __expf(log_upper), fade_lower = __expf(log_lower);
#pragma unroll
      for (int tile = 0; tile < 8; tile++) {
        multiply_row_of_tiles(sum[tile], c, hs + tile * 8 * ROW);
        sum[tile][0] *= fade_upper, sum[tile][1] *= fade_upper, sum[tile][2] *= fade_lower, sum[tile][3] *= fade_lower;
      }
    }
    for (int pair = 0; pair <= warp; pair++) {
      float s[2][4] = {};
#pragma unroll
      for (int tile = 0; tile < 2; tile++) {
        multiply_row_of_tiles(s[tile], c, bs + (pair * 16 + tile * 8) * ROW);
        for (int i = 0; i < 4; i++) {
          const int j = pair * 16 + tile * 8 + 2 * t + i % 2, at = i < 2 ? upper : lower;
          // The exponent is chosen before exp, for behind the diagonal it would overflow.
          s[tile][i] = j <= at ? s[tile][i] * decays.dt[j] * __expf((i < 2 ? log_upper : log_lower) - decays.log[j]) : 0.f;
          if (j == at) s[tile][i] += skip[head];
        }
      }
      const uint32 weights[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]), pack(s[1][2], s[1][3])};
      multiply_by_rows(sum, weights, xs, pair * 16);
    }
    // Each warp has read its own rows of C; they now hold its rows of y.
    __syncwarp();
    store_rows(cs, sum, warp * 16);
    __syncwarp();
    copy_rows_out(y + static_cast<long long>(start) * inner, inner, cs, warp * 16, count);
  }
}

/// What one chunk's sums over tokens are made of, until a warp turns them into the gradient of dt.
struct ChunkSums {
  float rows[64];        // Σ_j (G ∘ S ∘ E ∘ dt)_ij + exp(l_i)·C_i·(dy_i·h)
  float columns[4][64];  // each warp's part of k
  float ends[64];        // u
  float states[4];       // each warp's part of exp(l_end)·⟨g, h⟩
};

/// One warp makes d(dt) before softplus of a chunk, and adds to the lane's part of the gradients of A and of the bias.
__device__ __forceinline__ void end_chunk(const ChunkDecays &decays, const ChunkSums &sums, float rate, half_t *ddts,
                                          long long stride, int start, int n, float *d_rate, float *d_bias) {
  const int lane = threadIdx.x % 32;
  float direct[2], suffix[2], end = 0.f;
  for (int half = 0; half < 2; half++) {
    const int j = half * 32 + lane;
    float k = 0.f;
    for (int warp = j / 16; warp < 4; warp++) k += sums.columns[warp][j];
    direct[half] = k + sums.ends[j];
    suffix[half] = sums.rows[j] - decays.dt[j] * direct[half];
    end += decays.dt[j] * sums.ends[j];
  }
  for (int step = 16; step > 0; step /= 2) end += __shfl_xor_sync(~0u, end, step);
  end += sums.states[0] + sums.states[1] + sums.states[2] + sums.states[3];
  // Σ_{i ≥ t} dl_i, the second half of the chunk first.
  float behind = end;
  for (int half = 1; half >= 0; half--) {
    for (int step = 1; step < 32; step *= 2) {
      const float right = __shfl_down_sync(~0u, suffix[half], step);
      if (lane + step < 32) suffix[half] += right;
    }
    suffix[half] += behind;
    behind = __shfl_sync(~0u, suffix[half], 0);
    const int token = start + half * 32 + lane;
    const float dt = decays.dt[half * 32 + lane];
    if (token < n) {
      // The slope of softplus is 1 − exp(−dt).
      const float gradient = (rate * suffix[half] + direct[half]) * -expm1f(-dt);
      ddts[token * stride] = to_half(gradient);
      *d_rate += dt * suffix[half];
      *d_bias += gradient;
    }
  }
}

/// The gradient of ssd_forward: dy [R, n, D] → dx [R, n, D + 128], of which x's part, before the convolution and SiLU are
/// gone back through; each head's part of those of B and C, d_shared [R, n, H, 128]; that of dt, in its columns of
/// d_projected [R, n, 2·D + 128 + H]; and d_heads [R, H, 3], each sequence's part of those of A, D and the bias of dt.
///
/// states as ssd_forward gives them. Grid: heads, sequences; 128 threads; SSD_TILE · 8 halves of shared memory.
extern "C" __global__ __launch_bounds__(128, 3) void ssd_backward(
    const half_t *projected, const half_t *shared, const half_t *dy, const half_t *states, half_t *dx, half_t *d_shared,
    half_t *d_projected, float *d_heads, const float *conv_weight, const float *conv_bias, const float *dt_bias,
    const float *decay, const float *skip, int n) {
  extern __shared__ __align__(16) half_t chunk_tiles[];
  half_t *xs = chunk_tiles, *bs = xs + SSD_TILE, *cs = bs + SSD_TILE, *ys = cs + SSD_TILE, *hs = ys + SSD_TILE,
         *gs = hs + SSD_TILE, *weights = gs + SSD_TILE, *scores = weights + SSD_TILE;
  __shared__ ChunkDecays decays;
  __shared__ ChunkSums sums;
  __shared__ float scratch[32];
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.x, heads = gridDim.x, inner = heads * 64, own = head * 64;
  const long long sequence = blockIdx.y, stride = 2 * inner + 128 + heads;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int upper = warp * 16 + g, lower = upper + 8;
  projected += sequence * n * stride;
  d_projected += sequence * n * stride + stride - heads + head;
  shared += sequence * n * 128;
  dy += sequence * n * inner + own;
  dx += sequence * n * (inner + 128) + own;
  d_shared += (sequence * n * heads + head) * 128;
  states += (sequence * heads + head) * ((n + 63) / 64) * 4096;
  const int channel = own + lane * 2;
  const float d = skip[head];

  float gradient[8][4] = {};  // of the state behind the chunk: the warp's rows of p
  float d_rate = 0.f, d_skip = 0.f, d_bias = 0.f;
  for (int start = (n - 1) / 64 * 64; start >= 0; start -= 64) {
    const int count = min(64, n - start);
    for (int row = threadIdx.x / 8; row < 64; row += 16) {
      const int column = threadIdx.x % 8 * 8;
      const bool inside = row < count;
      const half_t *source = shared + (start + row) * 128 + column;
      copy16_async(bs + row * ROW + column, inside ? source : shared, inside);
      copy16_async(cs + row * ROW + column, inside ? source + 64 : shared, inside);
      copy16_async(ys + row * ROW + column, inside ? dy + static_cast<long long>(start + row) * inner + column : dy, inside);
      if (start > 0) copy16_async(hs + row * ROW + column, states + start / 64 * 4096 + row * 64 + column, true);
    }
    {
      uint32 rows[19];
      load_rows(rows, projected + inner + channel, stride, start + warp * 16, n);
      if (warp == 0) {
        make_decays(decays, projected + stride - heads + head, stride, dt_bias[head], decay[head], start, n);
      }
      convolve(rows, conv_weight + channel * 4, conv_bias + channel, [&](int i, uint32 pair) {
        store4(xs + (warp * 16 + i) * ROW + lane * 2, warp * 16 + i < count ? pair : 0);
      });
    }
    store_rows(gs, gradient, warp * 16);
    wait_for_copies();
    __syncthreads();

    // Rows i of the warp: dC, and what later products read by columns.
    const float end = decays.log[63];
    float dc[8][4] = {};
    {
      uint32 c[4][4], y[4][4];
      for (int step = 0; step < 4; step++) {
        load_a(c[step], cs, warp * 16, step * 16);
        load_a(y[step], ys, warp * 16, step * 16);
      }
      const float log_upper = decays.log[upper], log_lower = decays.log[lower];
      float row_upper = 0.f, row_lower = 0.f;
      if (start > 0) {
#pragma unroll
        for (int step = 0; step < 4; step++) multiply_by_rows(dc, y[step], hs, step * 16);
        const float fade_upper = __expf(log_upper), fade_lower = __expf(log_lower);
#pragma unroll
        for (int tile = 0; tile < 8; tile++) {
          const uint32 own_upper = c[tile / 2][tile % 2 * 2], own_lower = c[tile / 2][tile % 2 * 2 + 1];
          dc[tile][0] *= fade_upper, dc[tile][1] *= fade_upper, dc[tile][2] *= fade_lower, dc[tile][3] *= fade_lower;
          row_upper += first(own_upper) * dc[tile][0] + second(own_upper) * dc[tile][1];
          row_lower += first(own_lower) * dc[tile][2] + second(own_lower) * dc[tile][3];
        }
      }
      for (int pair = 0; pair <= warp; pair++) {
        float s[2][4] = {}, q[2][4] = {}, column[2][2] = {};
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
          multiply_row_of_tiles(s[tile], c, bs + (pair * 16 + tile * 8) * ROW);
          multiply_row_of_tiles(q[tile], y, xs + (pair * 16 + tile * 8) * ROW);
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const int j = pair * 16 + tile * 8 + 2 * t + i % 2, at = i < 2 ? upper : lower;
            const float dt = decays.dt[j];
            const float e = j <= at ? __expf((i < 2 ? log_upper : log_lower) - decays.log[j]) : 0.f;
            if (j == at) d_skip += q[tile][i];
            const float k = q[tile][i] * s[tile][i] * e;
            column[tile][i % 2] += k;
            (i < 2 ? row_upper : row_lower) += k * dt;
            s[tile][i] *= e * dt;
            q[tile][i] *= e * dt;
          }
          half_t *at = weights + upper * ROW + pair * 16 + tile * 8 + 2 * t;
          store4(at, pack(s[tile][0], s[tile][1]));
          store4(at + 8 * ROW, pack(s[tile][2], s[tile][3]));
          at += scores - weights;
          store4(at, pack(q[tile][0], q[tile][1]));
          store4(at + 8 * ROW, pack(q[tile][2], q[tile][3]));
#pragma unroll
          for (int i = 0; i < 2; i++) {
            for (int step = 4; step < 32; step *= 2) column[tile][i] += __shfl_xor_sync(~0u, column[tile][i], step);
            if (g == 0) sums.columns[warp][pair * 16 + tile * 8 + 2 * t + i] = column[tile][i];
          }
        }
        const uint32 a[4] = {pack(q[0][0], q[0][1]), pack(q[0][2], q[0][3]), pack(q[1][0], q[1][1]), pack(q[1][2], q[1][3])};
        multiply_by_rows(dc, a, bs, pair * 16);
      }
      row_upper = sum_of_four(row_upper), row_lower = sum_of_four(row_lower);
      if (t == 0) sums.rows[upper] = row_upper, sums.rows[lower] = row_lower;
    }
    __syncthreads();

    // ⟨g, h⟩; then the warp's rows of h hold what it writes.
    float dot = 0.f;
    if (start > 0) {
#pragma unroll
      for (int tile = 0; tile < 8; tile++) {
        const half_t *row = hs + upper * ROW + tile * 8 + 2 * t;
        const uint32 above = load4(row), below = load4(row + 8 * ROW);
        dot += gradient[tile][0] * first(above) + gradient[tile][1] * second(above) + gradient[tile][2] * first(below) + gradient[tile][3] * second(below);
      }
      for (int step = 16; step > 0; step /= 2) dot += __shfl_xor_sync(~0u, dot, step);
    }
    if (lane == 0) sums.states[warp] = dot * __expf(end);
    __syncwarp();
    store_rows(hs, dc, warp * 16);
    __syncwarp();
    half_t *shared_gradient = d_shared + static_cast<long long>(start) * heads * 128;
    copy_rows_out(shared_gradient + 64, heads * 128, hs, warp * 16, count);

    // Rows j of the warp: dx and dB.
    {
      float db[8][4] = {}, dxs[8][4] = {};
      const float fade_upper = __expf(end - decays.log[upper]), fade_lower = __expf(end - decays.log[lower]);
      const float dt_upper = decays.dt[upper], dt_lower = decays.dt[lower];
      {
        uint32 b[4][4], x[4][4];
        for (int step = 0; step < 4; step++) {
          load_a(b[step], bs, warp * 16, step * 16);
          load_a(x[step], xs, warp * 16, step * 16);
        }
        float end_upper = 0.f, end_lower = 0.f;
#pragma unroll
        for (int step = 0; step < 4; step++) multiply_by_rows(db, x[step], gs, step * 16);
#pragma unroll
        for (int tile = 0; tile < 8; tile++) {
          const uint32 own_upper = b[tile / 2][tile % 2 * 2], own_lower = b[tile / 2][tile % 2 * 2 + 1];
          multiply_row_of_tiles(dxs[tile], b, gs + tile * 8 * ROW);
          end_upper += first(own_upper) * db[tile][0] + second(own_upper) * db[tile][1];
          end_lower += first(own_lower) * db[tile][2] + second(own_lower) * db[tile][3];
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float factor = i < 2 ? dt_upper * fade_upper : dt_lower * fade_lower;
            db[tile][i] *= factor;
            dxs[tile][i] *= factor;
          }
          const half_t *row = ys + upper * ROW + tile * 8 + 2 * t;
          const uint32 above = load4(row), below = load4(row + 8 * ROW);
          dxs[tile][0] += d * first(above), dxs[tile][1] += d * second(above);
          dxs[tile][2] += d * first(below), dxs[tile][3] += d * second(below);
        }
        end_upper = sum_of_four(end_upper), end_lower = sum_of_four(end_lower);
        if (t == 0) sums.ends[upper] = end_upper * fade_upper, sums.ends[lower] = end_lower * fade_lower;
      }
      for (int pair = warp; pair < 4; pair++) {
        uint32 a[4];
        load_a_transposed(a, weights, pair * 16, warp * 16);
        multiply_by_rows(dxs, a, ys, pair * 16);
        load_a_transposed(a, scores, pair * 16, warp * 16);
        multiply_by_rows(db, a, cs, pair * 16);
      }
      // Only this warp still reads its rows of x and of h.
      __syncwarp();
      store_rows(xs, dxs, warp * 16);
      store_rows(hs, db, warp * 16);
      __syncwarp();
      copy_rows_out(dx + static_cast<long long>(start) * (inner + 128), inner + 128, xs, warp * 16, count);
      copy_rows_out(shared_gradient, heads * 128, hs, warp * 16, count);
    }

    // g = exp(l_end)·g + (exp(l) ⊙ dy)ᵀ·C.
    if (start > 0) {
      const float fade = __expf(end);
      for (int tile = 0; tile < 8; tile++) {
        for (int i = 0; i < 4; i++) gradient[tile][i] *= fade;
      }
#pragma unroll
      for (int step = 0; step < 4; step++) {
        uint32 y[4];
        load_a_transposed(y, ys, step * 16, warp * 16);
        for (int i = 0; i < 4; i++) {
          const int j = step * 16 + i / 2 * 8 + 2 * t;
          y[i] = pack(first(y[i]) * __expf(decays.log[j]), second(y[i]) * __expf(decays.log[j + 1]));
        }
        multiply_by_rows(gradient, y, cs, step * 16);
      }
    }
    __syncthreads();
    if (warp == 0) end_chunk(decays, sums, decay[head], d_projected, stride, start, n, &d_rate, &d_bias);
  }
  d_rate = sum_of_block(d_rate, scratch);
  d_skip = sum_of_block(d_skip, scratch);
  d_bias = sum_of_block(d_bias, scratch);
  if (threadIdx.x == 0) {
    d_heads += (sequence * heads + head) * 3;
    d_heads[0] = d_rate, d_heads[1] = d_skip, d_heads[2] = d_bias;
  }
}

/// Sums over heads: d_shared [tokens, H, 128] → the last 128 columns of dx [tokens, D + 128].
///
/// Grid: groups of 8 tokens; 128 threads.
extern "C" __global__ __launch_bounds__(128) void ssd_sum_heads(const half_t *d_shared, half_t *dx, int tokens, int heads) {
  let_successor_start();
  wait_for_predecessor();
  const long long token = blockIdx.x * 8 + threadIdx.x / 16;
  const int column = threadIdx.x % 16 * 8;
  if (token >= tokens) return;
  float sum[8] = {};
  d_shared += token * heads * 128 + column;
#pragma unroll 4
  for (int head = 0; head < heads; head++) {
    float values[8];
    unpack(load16(d_shared + head * 128), values);
    for (int i = 0; i < 8; i++) sum[i] += values[i];
  }
  store16(dx + token * (heads * 64 + 128) + heads * 64 + column, pack(sum));
}

/// Goes back through SiLU and the causal convolution: dx [R, n, D + 128], the gradient behind them, → that of the
/// columns [x, B, C] of projected, in d_projected; and partial [R · segments, D + 128, 5], each block's part of the
/// gradients of the four taps and of the bias.
///
/// Grid: groups of 64 channels, segments of 128 tokens, sequences; 128 threads.
extern "C" __global__ __launch_bounds__(128) void conv_backward(const half_t *projected, const half_t *dx, half_t *d_projected,
                                                                float *partial, const float *conv_weight,
                                                                const float *conv_bias, int n, int heads) {
  constexpr int SEGMENT = 32;
  __shared__ float parts[4][64][5];
  let_successor_start();
  wait_for_predecessor();
  const int inner = heads * 64, channels = inner + 128, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const long long sequence = blockIdx.z, stride = 2 * inner + 128 + heads;
  const int channel = blockIdx.x * 64 + lane * 2;
  const int from = (blockIdx.y * 4 + warp) * SEGMENT, to = min(from + SEGMENT, n);
  projected += sequence * n * stride + inner + channel;
  d_projected += sequence * n * stride + inner + channel;
  dx += sequence * n * channels + channel;
  float taps[2][4], bias[2], d_taps[2][4] = {}, d_bias[2] = {};
  float x[2][4] = {};   // of the last four tokens
  float du[2][4] = {};  // the gradient before SiLU, of the last four tokens
  for (int c = 0; c < 2; c++) {
    for (int tap = 0; tap < 4; tap++) taps[c][tap] = conv_weight[(channel + c) * 4 + tap];
    bias[c] = conv_bias[channel + c];
  }
  if (from < n) {
    for (int i = 1; i < 4; i++) {
      const int token = from - 4 + i;
      const uint32 row = token >= 0 ? load4(projected + token * stride) : 0;
      x[0][i] = first(row), x[1][i] = second(row);
    }
    for (int base = from; base < to + 3; base += 4) {
      uint32 rows[4], gradients[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int token = base + i;
        const bool inside = token < n && token < to + 3;
        rows[i] = inside ? load4(projected + token * stride) : 0;
        gradients[i] = inside ? load4(dx + static_cast<long long>(token) * channels) : 0;
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int token = base + i;
        float out[2];
#pragma unroll
        for (int c = 0; c < 2; c++) {
          for (int tap = 0; tap < 3; tap++) x[c][tap] = x[c][tap + 1], du[c][tap] = du[c][tap + 1];
          x[c][3] = c == 0 ? first(rows[i]) : second(rows[i]);
          float before = bias[c];
          for (int tap = 0; tap < 4; tap++) before += taps[c][tap] * x[c][tap];
          const float gate = reciprocal(1.f + __expf(-before));
          du[c][3] = (c == 0 ? first(gradients[i]) : second(gradients[i])) * gate * (1.f + before * (1.f - gate));
          if (token < to) {
            for (int tap = 0; tap < 4; tap++) d_taps[c][tap] += du[c][3] * x[c][tap];
            d_bias[c] += du[c][3];
          }
          out[c] = taps[c][3] * du[c][0] + taps[c][2] * du[c][1] + taps[c][1] * du[c][2] + taps[c][0] * du[c][3];
        }
        if (token - 3 >= from && token - 3 < to) store4(d_projected + (token - 3) * stride, pack(out[0], out[1]));
      }
    }
  }
  for (int c = 0; c < 2; c++) {
    for (int tap = 0; tap < 4; tap++) parts[warp][lane * 2 + c][tap] = d_taps[c][tap];
    parts[warp][lane * 2 + c][4] = d_bias[c];
  }
  __syncthreads();
  partial += ((sequence * gridDim.y + blockIdx.y) * channels + blockIdx.x * 64) * 5;
  for (int i = threadIdx.x; i < 64 * 5; i += 128) {
    partial[i] = parts[0][i / 5][i % 5] + parts[1][i / 5][i % 5] + parts[2][i / 5][i % 5] + parts[3][i / 5][i % 5];
  }
}
