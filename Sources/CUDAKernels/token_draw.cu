// Guidance, top-k, top-p and the draw of one token, by one block of 256 threads, without sorting: the lowest logit that is
// kept is found bit by bit. Masses are integers, so that sums do not depend on their order: the same picture on every run.
constexpr int DRAW_THREADS = 256;
constexpr int DRAW_WARPS = DRAW_THREADS / 32;

/// A float as an integer that sorts the same way.
__device__ __forceinline__ uint32 sortable(float value) {
  const uint32 bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float from_sortable(uint32 key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/// The probability of a logit, relative to the highest one's, with 31 bits behind the point.
__device__ __forceinline__ uint32 mass_of(float logit, float highest) {
  return static_cast<uint32>(__expf(logit - highest) * 0x1p31f);
}

/// The exclusive sum over the block's threads, in their order, and the sum of all.
__device__ uint64 sum_before(uint64 value, uint64 *scratch, uint64 *total) {
  uint64 sum = value;
  for (int step = 1; step < 32; step *= 2) {
    const uint64 left = __shfl_up_sync(~0u, sum, step);
    if (threadIdx.x % 32 >= step) sum += left;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 31) scratch[threadIdx.x / 32] = sum;
  __syncthreads();
  uint64 before = sum - value;
  *total = 0;
  for (int i = 0; i < DRAW_WARPS; i++) {
    if (i < threadIdx.x / 32) before += scratch[i];
    *total += scratch[i];
  }
  return before;
}

/// The highest key at which the tokens with this key or a higher one weigh at least `limit` together; 0 if none is.
/// `masses` are their weights, unless each COUNTS as one. Keys agree in all bits from `shift` + 2 on, where they are
/// `prefix`; two bits are found at a time. A lower key is found where it keeps the same tokens.
template <bool COUNTS>
__device__ uint32 lowest_key(const uint32 *keys, const uint32 *masses, int V, uint64 limit, uint32 prefix, int shift,
                             uint64 (*scratch)[3][DRAW_WARPS]) {
  for (; shift >= 0; shift -= 2) {
    uint32 low[3] = {}, high[3] = {};
    for (int i = threadIdx.x; i < V; i += DRAW_THREADS) {
      const uint32 key = keys[i], mass = COUNTS ? 1 : masses[i];
#pragma unroll
      for (int j = 0; j < 3; j++) {
        const uint32 counted = key >= (prefix | static_cast<uint32>(j + 1) << shift) ? mass : 0;
        low[j] += COUNTS ? counted : counted & 0xffffu;
        if (!COUNTS) high[j] += counted >> 16;
      }
    }
    uint64(*sums)[DRAW_WARPS] = scratch[shift / 2 % 2];
#pragma unroll
    for (int j = 0; j < 3; j++) {
      uint64 sum = __reduce_add_sync(~0u, low[j]);
      if (!COUNTS) sum += static_cast<uint64>(__reduce_add_sync(~0u, high[j])) << 16;
      if (threadIdx.x % 32 == 0) sums[j][threadIdx.x / 32] = sum;
    }
    __syncthreads();
    uint32 digit = 0;
    bool exact = false;
#pragma unroll
    for (int j = 0; j < 3; j++) {
      uint64 sum = 0;
      for (int i = 0; i < DRAW_WARPS; i++) sum += sums[j][i];
      if (sum >= limit) digit = j + 1, exact = sum == limit;
    }
    prefix |= digit << shift;
    if (exact) break;
  }
  __syncthreads();
  return prefix;
}

/// The uniform number that token `index` of a picture with this seed gets: Philox 4×32-10, as on the CPU.
__device__ float uniform(uint64 seed, uint32 index, uint64 domain) {
  uint32 c0 = index / 4, c1 = 0, c2 = static_cast<uint32>(domain), c3 = static_cast<uint32>(domain >> 32);
  uint32 k0 = static_cast<uint32>(seed), k1 = static_cast<uint32>(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64 a = static_cast<uint64>(c0) * 0xD2511F53u, b = static_cast<uint64>(c2) * 0xCD9E8D57u;
    c0 = static_cast<uint32>(b >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32>(b);
    c3 = static_cast<uint32>(a);
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  const uint32 word = index % 4 == 0 ? c0 : index % 4 == 1 ? c1 : index % 4 == 2 ? c2 : c3;
  return static_cast<float>(word >> 9) * 0x1p-23f;
}

/// logits [2·B, n, V], conditional half first → tokens [B, n]. settings [B, 3]: guidance, top-p, top-k (0: all) of each
/// picture, as floats.
///
/// `progress` is k / (K − 1). Shared memory: V keys and V masses; V ≤ 65536. Grid: tokens, pictures.
extern "C" __global__ __launch_bounds__(DRAW_THREADS) void token_draw(const half_t *logits, long long *tokens,
                                                                      const uint64 *seeds, const float *settings,
                                                                      float progress, uint64 domain, int V) {
  extern __shared__ uint32 keys[];
  uint32 *masses = keys + V;
  __shared__ uint64 scratch[2][3][DRAW_WARPS];
  __shared__ uint32 highest_key, lowest, kept;
  let_successor_start();
  if (threadIdx.x == 0) highest_key = 0, lowest = ~0u, kept = 0;
  __syncthreads();
  wait_for_predecessor();
  const int n = gridDim.x, B = gridDim.y;
  const half_t *conditional = logits + (static_cast<long long>(blockIdx.y) * n + blockIdx.x) * V;
  const half_t *unconditional = conditional + static_cast<long long>(B) * n * V;
  settings += blockIdx.y * 3;
  const float guidance = settings[0] * progress;
  uint32 top = 0, bottom = ~0u;
  for (int i = threadIdx.x; i < V; i += DRAW_THREADS) {
    // Rounded as the readable path rounds: two products, then their difference.
    const float value = __fsub_rn(__fmul_rn(to_float(conditional[i]), 1.f + guidance), __fmul_rn(to_float(unconditional[i]), guidance));
    keys[i] = sortable(value);
    top = max(top, keys[i]), bottom = min(bottom, keys[i]);
  }
  top = __reduce_max_sync(~0u, top), bottom = __reduce_min_sync(~0u, bottom);
  if (threadIdx.x % 32 == 0) atomicMax(&highest_key, top), atomicMin(&lowest, bottom);
  __syncthreads();
  // The first pair of bits in which keys differ; those in front are known.
  const uint32 difference = highest_key ^ lowest;
  const int shift = difference ? (31 - __clz(difference)) / 2 * 2 : 0;
  const uint32 prefix = shift < 30 ? highest_key >> (shift + 2) << (shift + 2) : 0;

  const int k = static_cast<int>(settings[2]);
  uint32 least = 0;
  if (k > 0 && k < V) least = lowest_key<true>(keys, nullptr, V, k, prefix, shift, scratch);
  const float highest = from_sortable(highest_key);
  const auto weigh = [&] {
    for (int i = threadIdx.x; i < V; i += DRAW_THREADS) masses[i] = keys[i] >= least ? mass_of(from_sortable(keys[i]), highest) : 0;
    __syncthreads();
  };
  const float share = settings[1];
  uint64 total;
  if (share < 1.f) {
    // Few are left as a rule. They are put together, keys and masses, in whatever order: sums do not depend on it.
    uint32 *few = masses, *few_masses = masses + V / 2;
    uint64 own = 0;
    for (int start = 0; start < V; start += DRAW_THREADS) {
      const int i = start + threadIdx.x, lane = threadIdx.x % 32;
      const uint32 key = i < V ? keys[i] : 0;
      const bool is_kept = i < V && key >= least;
      const uint32 ballot = __ballot_sync(~0u, is_kept);
      uint32 slot = 0;
      if (lane == 0) slot = atomicAdd(&kept, __popc(ballot));
      slot = __shfl_sync(~0u, slot, 0) + __popc(ballot & ((1u << lane) - 1));
      if (is_kept) {
        const uint32 mass = mass_of(from_sortable(key), highest);
        own += mass;
        if (slot < V / 2) few[slot] = key, few_masses[slot] = mass;
      }
    }
    sum_before(own, scratch[0][0], &total);
    // At least the likeliest is kept.
    const uint64 limit = max(static_cast<uint64>(static_cast<double>(total) * share), 1ull);
    const bool are_few = kept <= V / 2;
    __syncthreads();
    if (!are_few) weigh();
    const uint32 last = are_few ? lowest_key<false>(few, few_masses, kept, limit, prefix, shift, scratch)
                                : lowest_key<false>(keys, masses, V, limit, prefix, shift, scratch);
    least = max(least, last);
  }
  weigh();
  // Each thread weighs neighbours, so that the sums run in the order of the vocabulary.
  const int each = (V + DRAW_THREADS - 1) / DRAW_THREADS, from = threadIdx.x * each, to = min(from + each, V);
  uint64 own = 0;
  for (int i = from; i < to; i++) own += masses[i];
  const uint64 before = sum_before(own, scratch[0][0], &total);
  const uint64 threshold =
      static_cast<uint64>(static_cast<double>(uniform(seeds[blockIdx.y], blockIdx.x, domain)) * static_cast<double>(total));
  if (before <= threshold && threshold < before + own) {
    uint64 sum = before;
    int token = from;
    for (; token < to; token++) {
      sum += masses[token];
      if (sum > threshold) break;
    }
    tokens[static_cast<long long>(blockIdx.y) * n + blockIdx.x] = token;
  }
}
