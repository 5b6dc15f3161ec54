// Attention over any number of keys on Hopper's matrix units. Keys and values come as boxes through rings in shared memory, 64
// at a time, while groups of four warps with 64 queries each work on those before.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// A ring of tiles, each 64 keys and then their values. Those who read a tile release it; one of them refills it.
struct TileRing {
  static constexpr int MOST_STAGES = 8, BYTES = 16384;
  Gate keys[MOST_STAGES], values[MOST_STAGES], emptied[MOST_STAGES];

  __device__ __forceinline__ void begin(int stages, int readers) {
    for (int i = 0; i < stages; i++) keys[i].begin(1), values[i].begin(1), emptied[i].begin(readers);
  }

  /// Fetches the rows from `row` on.
  __device__ __forceinline__ void fetch(uint32 base, int stage, const Boxes &boxes, int key_column, int value_column, int row) {
    const uint32 place = base + stage * BYTES;
    keys[stage].expect(BYTES / 2);
    boxes.copy(place, key_column, row, blockIdx.z, keys[stage]);
    values[stage].expect(BYTES / 2);
    boxes.copy(place + BYTES / 2, value_column, row, blockIdx.z, values[stage]);
  }
};

/// Where in a ring one is: a stage, and the parity of its phase.
struct RingPlace {
  int stage;
  uint32 parity;

  __device__ __forceinline__ RingPlace next(int stages) const {
    return stage + 1 == stages ? RingPlace{0, parity ^ 1} : RingPlace{stage + 1, parity};
  }
};

/// Where the sums of a row and of eight columns lie until a block adds up those of its groups.
__device__ __forceinline__ uint32 place_of_sums(int row, int eight) { return row * 256 + ((eight ^ (row & 7)) << 5); }

/// What attention is made of, but for queries, keys and values.
struct StreamedAttention {
  half_t *out;
  /// Of each head; where null, `scale` is that of all.
  const float *scales;
  float scale;
  /// Queries and keys.
  int n, m;
  /// Where keys and values of the first head begin.
  int key_column, value_column;
  /// Whether to divide by their lengths. Where only queries are to be divided, keys have the length 1.
  int unit_queries, unit_keys;
  /// Of each ring: as many as it has tiles, or at least 3; 4 where several groups read it.
  int stages;
};

/// out [R, n, H·64] = softmax(scale · q·kᵀ) · v, for q in boxes of [R, n, ·] and k, v in boxes of [R, m, ·], all of 64 rows.
///
/// A block has 64·QUERY_GROUPS queries of one head; its keys are dealt out to KEY_GROUPS, tile by tile, each with a ring of its
/// own. Every pair has a group of four warps. While scores of a tile become weights, sums of the one before are made.
/// Grid: groups of queries, heads, sequences. Shared memory: 1023 bytes, 64·QUERY_GROUPS rows of 128, and the rings; of several
/// KEY_GROUPS each has at least QUERY_GROUPS stages.
template <int QUERY_GROUPS, int KEY_GROUPS>
__device__ __forceinline__ void attention_streamed(const Boxes &queries_of, const Boxes &keys_of, const StreamedAttention &it) {
  // So many tiles behind what it works on, a group refills a stage: others may be so much slower before it waits for them.
  constexpr int LAG = QUERY_GROUPS > 1 ? 2 : 1;
  constexpr int GROUPS = QUERY_GROUPS * KEY_GROUPS;
  extern __shared__ __align__(128) unsigned char boxes[];
  __shared__ Gate queries_are_here;
  __shared__ TileRing rings[KEY_GROUPS];
  __shared__ __align__(16) float key_factors[GROUPS][2][64];
  const BoxMemory memory(boxes);
  unsigned char *const queries = memory.bytes;
  const int head = blockIdx.y, C = gridDim.y * 64, first_query = blockIdx.x * QUERY_GROUPS * 64;
  const int group = threadIdx.x / 128, thread = threadIdx.x % 128;
  const int warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int own_queries = group / KEY_GROUPS, own_keys = group % KEY_GROUPS;
  const int active = min(QUERY_GROUPS, (it.n - first_query + 63) / 64), stages = it.stages;
  // Tiles of this group's keys.
  const int steps = ((it.m + 63) / 64 - own_keys + KEY_GROUPS - 1) / KEY_GROUPS;
  if (threadIdx.x == 0) {
    queries_are_here.begin(1);
    for (int i = 0; i < KEY_GROUPS; i++) rings[i].begin(stages, 4 * active);
    show_gates();
    queries_of.expect_use(), keys_of.expect_use();
  }
  __syncthreads();
  let_successor_start();
  wait_for_predecessor();
  if (own_queries >= active) return;
  TileRing &ring = rings[own_keys];
  const uint32 own_ring = QUERY_GROUPS * 8192 + own_keys * stages * TileRing::BYTES, ring_base = memory.address + own_ring;
  const auto fetch_tile = [&](int tile, int stage) {
    const int row = (tile * KEY_GROUPS + own_keys) * 64;
    ring.fetch(ring_base, stage, keys_of, it.key_column + head * 64, it.value_column + head * 64, row);
  };
  const bool fills = own_queries == 0 && thread == 0;
  if (fills) {
    if (own_keys == 0) {
      queries_are_here.expect(active * 8192);
      for (int i = 0; i < active; i++) {
        queries_of.copy(memory.address + i * 8192, head * 64, first_query + i * 64, blockIdx.z, queries_are_here);
      }
    }
    for (int i = 0; i < min(stages, steps); i++) fetch_tile(i, i);
  }
  // In powers of two, as exp2 is what the hardware has.
  const float own_scale = 1.44269504f * (it.scales ? it.scales[head] : it.scale);
  // Of unit vectors the scale is the highest score there can be. Where no score can be so far below it that bfloat16 has no
  // number for it, the highest of each row need not be looked for.
  const bool is_bounded = HALF_IS_BFLOAT16 && it.unit_queries && own_scale < 50.f;
  const int own_row = own_queries * 64 + warp * 16;
  const uint64 query_rows = box_descriptor(memory.address + own_queries * 8192);
  float s[32], o[32];
  float factors[2] = {own_scale, own_scale}, highest[2] = {-1e30f, -1e30f}, total[2] = {}, fades[2];
  RingPlace place{0, 0}, behind{0, 0};

  const auto multiply_by_keys = [&](float *scores, RingPlace at) {
    ring.keys[at.stage].wait(at.parity);
    const uint64 keys = box_descriptor(ring_base + at.stage * TileRing::BYTES);
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; step++) multiply_64_by_64(scores, query_rows + step * 2, keys + step * 2, step > 0);
  };
  const auto multiply_by_values = [&](const uint32 (*weights)[4], RingPlace at, bool adds) {
    const uint64 values = box_descriptor(ring_base + at.stage * TileRing::BYTES + TileRing::BYTES / 2);
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; step++) multiply_by_columns(o, weights[step], values + step * 128, adds || step > 0);
    commit_products();
  };
  // Keys are measured by the group. Between that and its use the group meets.
  const auto measure_keys = [&](int tile, RingPlace at) {
    const float factor = unit_factor(queries + own_ring + at.stage * TileRing::BYTES, thread / 2, thread % 2);
    if (thread % 2 == 0) key_factors[group][tile % 2][thread / 2] = factor;
  };
  const auto meet = [&] {
    if (GROUPS == 1) {
      __syncthreads();
    } else {
      asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory");
    }
  };
  // Scores become weights, but sums so far are not yet multiplied by what they then have to be. The gate of the tile's values is
  // waited for here as no instruction crosses that: all of this is done while products go on.
  const auto weigh = [&](float *scores, int tile, RingPlace at) {
    if (it.unit_keys) multiply_by_key_factors(scores, key_factors[group][tile % 2]);
    const int start = (tile * KEY_GROUPS + own_keys) * 64;
    if (it.m - start < 64) leave_out_keys(scores, start, it.m);
    float offsets[2] = {own_scale, own_scale};
    if (!is_bounded) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float top = highest_score(scores, half, highest[half]);
        fades[half] = exp2f((highest[half] - top) * factors[half]);
        highest[half] = top, total[half] *= fades[half], offsets[half] = top * factors[half];
      }
    }
#pragma unroll
    for (int i = 0; i < 32; i++) {
      const int half = i / 2 % 2;
      scores[i] = exp2f(scores[i] * factors[half] - offsets[half]);
      total[half] += scores[i];
    }
    settle(scores);
    ring.values[at.stage].wait(at.parity);
  };
  const auto fade_sums = [&] {
    if (is_bounded) return;
#pragma unroll
    for (int half = 0; half < 2; half++) multiply_row(o, half, fades[half]);
  };
  const auto pack_weights = [&](uint32 (*weights)[4], const float *scores) {
#pragma unroll
    for (int i = 0; i < 16; i++) weights[i / 4][i % 4] = pack(scores[2 * i], scores[2 * i + 1]);
  };
  // This warp has read a tile; its stage may be refilled.
  const auto release = [&](int tile, RingPlace at) {
    if (tile + stages < steps) ring.emptied[at.stage].arrive_as_warp();
  };
  // The stage of a tile that was released long enough ago, if there is another tile for it.
  const auto refill = [&](int tile) {
    if (tile < LAG) return;
    const int next = tile - LAG + stages;
    if (next >= steps) return;
    if (fills) {
      ring.emptied[behind.stage].wait(behind.parity);
      fetch_tile(next, behind.stage);
    }
    behind = behind.next(stages);
  };

  queries_are_here.wait(0);
#pragma unroll
  for (int i = 0; i < 32; i++) o[i] = 0.f;
  if (KEY_GROUPS == 1 || steps > 0) {
    multiply_by_keys(s, place);
    commit_products();
    if (it.unit_queries) multiply_by_unit_factors(factors, queries, own_row + g, t);
    if (it.unit_keys) {
      measure_keys(0, place);
      meet();
    }
    wait_for_products_but<0>();
    settle(s);
    uint32 weights[4][4];
    weigh(s, 0, place);
    pack_weights(weights, s);
    int i = 0;
    for (; i + 1 < steps; i++) {
      const RingPlace next = place.next(stages);
      multiply_by_keys(s, next);
      commit_products();
      multiply_by_values(weights, place, i > 0);
      refill(i);
      if (it.unit_keys) {
        measure_keys(i + 1, next);
        meet();
      }
      wait_for_products_but<1>();
      settle(s);
      weigh(s, i + 1, next);
      wait_for_products_but<0>();
      settle(o);
      release(i, place);
      fade_sums();
      pack_weights(weights, s);
      place = next;
    }
    multiply_by_values(weights, place, i > 0);
    wait_for_products_but<0>();
    settle(o);
  }

  if (KEY_GROUPS == 1) {
    write_rows(it.out, C, head, first_query + own_row, it.n, o, total, queries, own_row);
    return;
  }

  // Groups put their sums where their tiles were, and with them total weights in powers of two.
  __shared__ float2 totals[KEY_GROUPS][QUERY_GROUPS * 64];
  const int threads = active * KEY_GROUPS * 128;
  const auto meet_all = [&] { asm volatile("bar.sync 0, %0;" ::"r"(threads) : "memory"); };
  meet_all();
  unsigned char *const own_sums = queries + own_ring + own_queries * TileRing::BYTES;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = warp * 16 + g + 8 * half;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float2 *const pair = reinterpret_cast<float2 *>(own_sums + place_of_sums(row, i)) + t;
      *pair = make_float2(o[4 * i + 2 * half], o[4 * i + 2 * half + 1]);
    }
    const float sum = sum_of_four(total[half]);
    if (t == 0) totals[own_keys][own_queries * 64 + row] = make_float2(sum, is_bounded ? 0.f : highest[half] * factors[half]);
  }
  meet_all();
  // Threads write eight columns each, neighbours of a row next to each other.
  for (int job = own_keys * 128 + thread; job < 512; job += KEY_GROUPS * 128) {
    const int row = job / 8, eight = job % 8, token = first_query + own_queries * 64 + row;
    float top = -3e38f, sum = 0.f, values[8] = {};
    float2 parts[KEY_GROUPS];
#pragma unroll
    for (int i = 0; i < KEY_GROUPS; i++) parts[i] = totals[i][own_queries * 64 + row], top = fmaxf(top, parts[i].y);
#pragma unroll
    for (int i = 0; i < KEY_GROUPS; i++) {
      const float factor = exp2f(parts[i].y - top);
      const unsigned char *sums = queries + QUERY_GROUPS * 8192 + (i * stages + own_queries) * TileRing::BYTES;
      const float4 *own = reinterpret_cast<const float4 *>(sums + place_of_sums(row, eight));
      const float4 left = own[0], right = own[1];
      sum += parts[i].x * factor;
      values[0] += left.x * factor, values[1] += left.y * factor, values[2] += left.z * factor, values[3] += left.w * factor;
      values[4] += right.x * factor, values[5] += right.y * factor, values[6] += right.z * factor, values[7] += right.w * factor;
    }
    if (token >= it.n) break;
    const float factor = 1.f / sum;
    for (int c = 0; c < 8; c++) values[c] *= factor;
    store16(it.out + (static_cast<long long>(blockIdx.z) * it.n + token) * C + head * 64 + eight * 8, pack(values));
  }
}

#define ATTENTION_STREAMED(QUERY_GROUPS, KEY_GROUPS, BLOCKS)                                                                    \
  extern "C" __global__                                                                                                         \
  __launch_bounds__(QUERY_GROUPS * KEY_GROUPS * 128, BLOCKS) void attention_streamed_##QUERY_GROUPS##_##KEY_GROUPS(             \
      const __grid_constant__ Boxes queries, const __grid_constant__ Boxes keys, half_t *out, const float *scales, float scale, \
      int n, int m, int key_column, int value_column, int unit_queries, int unit_keys, int stages) {                            \
    attention_streamed<QUERY_GROUPS, KEY_GROUPS>(                                                                               \
        queries, keys, {out, scales, scale, n, m, key_column, value_column, unit_queries, unit_keys, stages});                  \
  }
ATTENTION_STREAMED(1, 1, 4)
ATTENTION_STREAMED(2, 1, 2)
ATTENTION_STREAMED(1, 2, 2)
ATTENTION_STREAMED(1, 4, 1)
#endif
