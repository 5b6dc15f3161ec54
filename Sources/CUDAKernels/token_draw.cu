// Guidance, top-k, top-p and the draw of one token, by one block, without sorting: logits fall into bins, whose counts and
// masses tell in which bin the lowest logit lies that is kept. Masses are integers, so that sums do not depend on their order:
// the same picture on every run.
constexpr int DRAW_THREADS = 512;
constexpr int DRAW_WARPS = DRAW_THREADS / 32;
constexpr int DRAW_BINS = 2048;

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

/// Bins of equal width between the lowest and the highest logit, from above: the order of bins is that of keys.
struct DrawBins {
  float highest, factor;

  __device__ __forceinline__ int of(uint32 key) const {
    return min(static_cast<int>((highest - from_sortable(key)) * factor), DRAW_BINS - 1);
  }
};

/// A number of tokens in the upper 16 bits, and their mass in the lower 48: fewer than 65536 tokens have less than 2^47.
struct Weight {
  static constexpr uint64 ONE = 1ull << 48;

  static __device__ __forceinline__ uint64 count(uint64 weight) { return weight / ONE; }
  static __device__ __forceinline__ uint64 mass(uint64 weight) { return weight % ONE; }
};

/// Tokens of one bin, among which the lowest is looked for that is kept.
struct DrawCandidates {
  uint32 keys[DRAW_THREADS], masses[DRAW_THREADS];
  /// What all bins above weigh, and their mass.
  uint64 above, mass_above;
  uint32 bin, count, lowest;
};

struct DrawScratch {
  /// Of each bin: tokens, and the lower and upper 16 bits of their masses, so that no sum overflows.
  uint32 counts[DRAW_BINS], low[DRAW_BINS], high[DRAW_BINS];
  /// For top-k, then for top-p.
  DrawCandidates candidates[2];
  uint64 sums[DRAW_WARPS];
};

/// The keys of neighbouring tokens, which a thread keeps to itself: V ≤ EACH·DRAW_THREADS, and a multiple of 8.
template <int EACH>
struct KeysInRegisters {
  uint32 keys[EACH];
  int from, V;

  template <typename Make>
  __device__ __forceinline__ KeysInRegisters(const half_t *conditional, const half_t *unconditional, int V, Make make)
      : from(threadIdx.x * EACH), V(V) {
#pragma unroll
    for (int i = 0; i < EACH; i += 8) {
      if (from + i >= V) break;
      float left[8], right[8];
      unpack(load16(conditional + from + i), left), unpack(load16(unconditional + from + i), right);
#pragma unroll
      for (int j = 0; j < 8; j++) keys[i + j] = make(left[j], right[j]);
    }
  }

  template <typename Visit>
  __device__ __forceinline__ void each(Visit visit) const {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      if (from + i < V) visit(keys[i]);
    }
  }

  /// Visits tokens in their order until one is taken.
  template <typename Takes>
  __device__ __forceinline__ int first(Takes takes) const {
    int token = -1;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      if (token < 0 && from + i < V && takes(keys[i])) token = from + i;
    }
    return token;
  }
};

/// The keys of all tokens in shared memory; each thread visits neighbouring ones.
struct KeysInMemory {
  uint32 *keys;
  int from, to;

  template <typename Make>
  __device__ __forceinline__ KeysInMemory(const half_t *conditional, const half_t *unconditional, int V, Make make) {
    extern __shared__ uint32 all_keys[];
    keys = all_keys;
    for (int i = threadIdx.x; i < V; i += DRAW_THREADS) keys[i] = make(to_float(conditional[i]), to_float(unconditional[i]));
    __syncthreads();
    const int each = (V + DRAW_THREADS - 1) / DRAW_THREADS;
    from = min(static_cast<int>(threadIdx.x) * each, V), to = min(from + each, V);
  }

  template <typename Visit>
  __device__ __forceinline__ void each(Visit visit) const {
    // Lanes begin at different places, so that they read from different banks.
    int i = from + (from < to ? threadIdx.x % 32 / 4 % (to - from) : 0);
    for (int j = from; j < to; j++, i = i + 1 < to ? i + 1 : from) visit(keys[i]);
  }

  template <typename Takes>
  __device__ __forceinline__ int first(Takes takes) const {
    int token = from;
    while (token < to && !takes(keys[token])) token++;
    return token < to ? token : -1;
  }
};

/// The highest key at which the tokens with this key or a higher one weigh at least `limit` together; 0 if none is.
/// Found bit by bit: slow, for logits of which too many are in one bin.
template <typename Keys, typename Weigh>
__device__ uint32 lowest_key_by_bits(const Keys &keys, uint64 limit, Weigh weigh, uint64 *scratch) {
  uint32 prefix = 0;
  for (int bit = 31; bit >= 0; bit--) {
    uint64 own = 0, sum;
    keys.each([&](uint32 key) { own += key >= (prefix | 1u << bit) ? weigh(key) : 0; });
    sum_before(own, scratch, &sum);
    if (sum >= limit) prefix |= 1u << bit;
  }
  return prefix;
}

/// The same, where one thread has noted the bin in which the limit is reached: each of the bin's tokens is compared with all of
/// them. Tokens of no mass are left out where `weigh` gives none.
template <typename Keys, typename Weigh>
__device__ __forceinline__ uint32 lowest_key(const Keys &keys, uint64 limit, DrawBins bins, Weigh weigh, DrawCandidates &candidates,
                                             uint64 *scratch) {
  __syncthreads();
  const int bin = candidates.bin;
  keys.each([&](uint32 key) {
    if (bins.of(key) != bin) return;
    const uint32 weight = weigh(key);
    if (weight == 0) return;
    const uint32 slot = atomicAdd(&candidates.count, 1);
    if (slot < DRAW_THREADS) candidates.keys[slot] = key, candidates.masses[slot] = weight;
  });
  __syncthreads();
  const int count = candidates.count;
  if (count > DRAW_THREADS) return lowest_key_by_bits(keys, limit, weigh, scratch);
  if (threadIdx.x < count) {
    const uint32 key = candidates.keys[threadIdx.x];
    uint64 sum = candidates.above;
    for (int i = 0; i < count; i++) sum += candidates.keys[i] >= key ? candidates.masses[i] : 0;
    if (sum >= limit) atomicMax(&candidates.lowest, key);
  }
  __syncthreads();
  return candidates.lowest;
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
/// Where no token can be drawn, as logits are no numbers, the first number of the picture's f_hat [B, `f_hat_size`] (or null) is none
/// either from then on.
/// `progress` is k / (K − 1). Grid: tokens, pictures. seeds and settings may not be written by a kernel that the one in front
/// of this overlaps with.
template <typename Keys>
__device__ __forceinline__ void draw_token(const half_t *logits, long long *tokens, const uint64 *seeds, const float *settings,
                                           float progress, uint64 domain, int V, float *f_hat, int f_hat_size) {
  __shared__ DrawScratch scratch;
  __shared__ uint32 highest_key, lowest_key_of_all;
  let_successor_start();
  for (int i = threadIdx.x; i < DRAW_BINS; i += DRAW_THREADS) scratch.counts[i] = scratch.low[i] = scratch.high[i] = 0;
  if (threadIdx.x < 2) scratch.candidates[threadIdx.x].count = scratch.candidates[threadIdx.x].lowest = 0;
  if (threadIdx.x == 0) highest_key = 0, lowest_key_of_all = ~0u;
  __syncthreads();
  // What is drawn, and how, was written long ago.
  settings += blockIdx.y * 3;
  const float guidance = settings[0] * progress, share = settings[1];
  const int k = static_cast<int>(settings[2]);
  const double number = uniform(seeds[blockIdx.y], blockIdx.x, domain);
  wait_for_predecessor();
  const int n = gridDim.x, B = gridDim.y;
  const half_t *conditional = logits + (static_cast<long long>(blockIdx.y) * n + blockIdx.x) * V;
  const Keys keys(conditional, conditional + static_cast<long long>(B) * n * V, V, [&](float left, float right) {
    // Rounded as the readable path rounds: two products, then their difference.
    return sortable(__fsub_rn(__fmul_rn(left, 1.f + guidance), __fmul_rn(right, guidance)));
  });
  uint32 top = 0, bottom = ~0u;
  keys.each([&](uint32 key) { top = max(top, key), bottom = min(bottom, key); });
  top = __reduce_max_sync(~0u, top), bottom = __reduce_min_sync(~0u, bottom);
  if (threadIdx.x % 32 == 0) atomicMax(&highest_key, top), atomicMin(&lowest_key_of_all, bottom);
  __syncthreads();
  const float highest = from_sortable(highest_key), range = highest - from_sortable(lowest_key_of_all);
  const DrawBins bins = {highest, range > 0.f ? DRAW_BINS / range : 0.f};
  keys.each([&](uint32 key) {
    const int bin = bins.of(key);
    const uint32 mass = mass_of(from_sortable(key), highest);
    atomicAdd(&scratch.counts[bin], 1);
    if (mass & 0xffffu) atomicAdd(&scratch.low[bin], mass & 0xffffu);
    if (mass >> 16) atomicAdd(&scratch.high[bin], mass >> 16);
  });
  __syncthreads();
  // Each thread has some neighbouring bins, and knows what those above weigh.
  constexpr int BINS = DRAW_BINS / DRAW_THREADS;
  uint64 of_bin[BINS], of_all, own_bins = 0;
#pragma unroll
  for (int i = 0; i < BINS; i++) {
    const int bin = threadIdx.x * BINS + i;
    of_bin[i] = scratch.counts[bin] * Weight::ONE + scratch.low[bin] + (static_cast<uint64>(scratch.high[bin]) << 16);
    own_bins += of_bin[i];
  }
  const uint64 above_own = sum_before(own_bins, scratch.sums, &of_all);

  // Top-k.
  uint32 least = 0;
  int last_bin = DRAW_BINS;
  uint64 total = Weight::mass(of_all);
  const auto mass = [&](uint32 key) { return key >= least ? mass_of(from_sortable(key), highest) : 0; };
  const auto own_mass = [&] {
    uint64 own = 0;
    keys.each([&](uint32 key) { own += mass(key); });
    return own;
  };
  if (k > 0 && k < V) {
    DrawCandidates &candidates = scratch.candidates[0];
    uint64 above = above_own;
#pragma unroll
    for (int i = 0; i < BINS; i++) {
      if (Weight::count(above) < k && k <= Weight::count(above + of_bin[i])) {
        candidates.bin = threadIdx.x * BINS + i;
        candidates.above = Weight::count(above), candidates.mass_above = Weight::mass(above);
      }
      above += of_bin[i];
    }
    least = lowest_key(keys, k, bins, [](uint32) { return 1u; }, candidates, scratch.sums);
    last_bin = candidates.bin;
    if (candidates.count <= DRAW_THREADS) {
      total = candidates.mass_above;
      for (int i = 0; i < candidates.count; i++) total += mass(candidates.keys[i]);
    } else {
      sum_before(own_mass(), scratch.sums, &total);
    }
  }
  // Top-p; at least the likeliest is kept.
  if (share < 1.f && total > 0) {
    const uint64 limit = max(static_cast<uint64>(static_cast<double>(total) * share), 1ull);
    DrawCandidates &candidates = scratch.candidates[1];
    uint64 above = Weight::mass(above_own);
#pragma unroll
    for (int i = 0; i < BINS; i++) {
      const int bin = threadIdx.x * BINS + i;
      // Of the last bin that top-k keeps some tokens may be gone.
      const uint64 below = bin < last_bin ? above + Weight::mass(of_bin[i]) : bin == last_bin ? total : 0;
      if (above < limit && limit <= below) candidates.bin = bin, candidates.above = above;
      above += Weight::mass(of_bin[i]);
    }
    least = max(least, lowest_key(keys, limit, bins, mass, candidates, scratch.sums));
  }

  // The sums run in the order of the vocabulary.
  const uint64 own = own_mass();
  const uint64 before = sum_before(own, scratch.sums, &total);
  const uint64 threshold = static_cast<uint64>(number * static_cast<double>(total));
  if (before <= threshold && threshold < before + own) {
    uint64 sum = before;
    tokens[static_cast<long long>(blockIdx.y) * n + blockIdx.x] = keys.first([&](uint32 key) { return (sum += mass(key)) > threshold; });
  }
  // Where a logit is infinite or no number, no token has any mass; what stood here before may be no token.
  if (total == 0 && threadIdx.x == 0) {
    tokens[static_cast<long long>(blockIdx.y) * n + blockIdx.x] = 0;
    if (f_hat) f_hat[static_cast<long long>(blockIdx.y) * f_hat_size] = __int_as_float(0x7fffffff);
  }
}

#define TOKEN_DRAW(NAME, BLOCKS, ...)                                                                                              \
  extern "C" __global__ __launch_bounds__(DRAW_THREADS, BLOCKS) void NAME(                                                         \
      const half_t *logits, long long *tokens, const uint64 *seeds, const float *settings, float progress, uint64 domain, int V,   \
      float *f_hat, int f_hat_size) {                                                                                              \
    draw_token<__VA_ARGS__>(logits, tokens, seeds, settings, progress, domain, V, f_hat, f_hat_size);                              \
  }
// V ≤ 4096, a multiple of 8.
TOKEN_DRAW(token_draw_in_registers, 3, KeysInRegisters<8>)
// V < 65536. Shared memory: V keys.
TOKEN_DRAW(token_draw, 1, KeysInMemory)
