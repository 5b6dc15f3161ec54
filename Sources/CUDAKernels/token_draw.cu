// Guidance, top-k, top-p and the draw of one token, by one block, without sorting: the lowest logit that is kept is found
// through sums over bins. Masses are integers, so that sums do not depend on their order: the same picture on every run.
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

struct DrawScratch {
  uint32 low[DRAW_BINS], high[DRAW_BINS];
  uint32 keys[DRAW_THREADS], masses[DRAW_THREADS];
  uint64 sums[DRAW_WARPS];
  uint64 above;
  uint32 bin, count, found;
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
template <typename Keys, typename Weight>
__device__ uint32 lowest_key_by_bits(const Keys &keys, uint64 limit, Weight weight, uint64 *scratch) {
  uint32 prefix = 0;
  for (int bit = 31; bit >= 0; bit--) {
    uint64 own = 0, sum;
    keys.each([&](uint32 key) { own += key >= (prefix | 1u << bit) ? weight(key) : 0; });
    sum_before(own, scratch, &sum);
    if (sum >= limit) prefix |= 1u << bit;
  }
  return prefix;
}

/// The same for 0 < limit ≤ the weight of all: the bin in which the limit is reached, and then the key among those of the
/// bin, each of which is compared with all.
template <typename Keys, typename Weight>
__device__ __forceinline__ uint32 lowest_key(const Keys &keys, uint64 limit, DrawBins bins, Weight weight, DrawScratch &scratch) {
  constexpr int EACH = DRAW_BINS / DRAW_THREADS;
  for (int i = threadIdx.x; i < DRAW_BINS; i += DRAW_THREADS) scratch.low[i] = scratch.high[i] = 0;
  if (threadIdx.x == 0) scratch.count = 0, scratch.found = 0;
  __syncthreads();
  // Halves of 16 bits, so that no sum overflows.
  keys.each([&](uint32 key) {
    const uint32 mass = weight(key);
    if (mass & 0xffffu) atomicAdd(&scratch.low[bins.of(key)], mass & 0xffffu);
    if (mass >> 16) atomicAdd(&scratch.high[bins.of(key)], mass >> 16);
  });
  __syncthreads();
  uint64 each[EACH], own = 0, total;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int bin = threadIdx.x * EACH + i;
    each[i] = scratch.low[bin] + (static_cast<uint64>(scratch.high[bin]) << 16);
    own += each[i];
  }
  uint64 above = sum_before(own, scratch.sums, &total);
  if (above < limit && limit <= above + own) {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      if (above < limit && limit <= above + each[i]) scratch.bin = threadIdx.x * EACH + i, scratch.above = above;
      above += each[i];
    }
  }
  __syncthreads();
  const int bin = scratch.bin;
  keys.each([&](uint32 key) {
    if (bins.of(key) != bin) return;
    const uint32 mass = weight(key);
    if (mass == 0) return;
    const uint32 slot = atomicAdd(&scratch.count, 1);
    if (slot < DRAW_THREADS) scratch.keys[slot] = key, scratch.masses[slot] = mass;
  });
  __syncthreads();
  const int count = scratch.count;
  if (count > DRAW_THREADS) return lowest_key_by_bits(keys, limit, weight, scratch.sums);
  if (threadIdx.x < count) {
    const uint32 key = scratch.keys[threadIdx.x];
    uint64 sum = scratch.above;
    for (int i = 0; i < count; i++) sum += scratch.keys[i] >= key ? scratch.masses[i] : 0;
    if (sum >= limit) atomicMax(&scratch.found, key);
  }
  __syncthreads();
  return scratch.found;
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
/// `progress` is k / (K − 1). Grid: tokens, pictures. seeds and settings may not be written by a kernel that the one in front
/// of this overlaps with.
template <typename Keys>
__device__ __forceinline__ void draw_token(const half_t *logits, long long *tokens, const uint64 *seeds, const float *settings,
                                           float progress, uint64 domain, int V) {
  __shared__ DrawScratch scratch;
  __shared__ uint32 highest_key, lowest_key_of_all;
  let_successor_start();
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

  uint32 least = 0;
  if (k > 0 && k < V) least = lowest_key(keys, k, bins, [](uint32) { return 1u; }, scratch);
  const auto mass = [&](uint32 key) { return key >= least ? mass_of(from_sortable(key), highest) : 0; };
  // The sums run in the order of the vocabulary.
  const auto weigh = [&](uint64 *before, uint64 *total) {
    uint64 own = 0;
    keys.each([&](uint32 key) { own += mass(key); });
    *before = sum_before(own, scratch.sums, total);
    return own;
  };
  uint64 before, total, own = weigh(&before, &total);
  if (share < 1.f) {
    // At least the likeliest is kept.
    const uint64 limit = max(static_cast<uint64>(static_cast<double>(total) * share), 1ull);
    least = max(least, lowest_key(keys, limit, bins, mass, scratch));
    own = weigh(&before, &total);
  }
  const uint64 threshold = static_cast<uint64>(number * static_cast<double>(total));
  if (before <= threshold && threshold < before + own) {
    uint64 sum = before;
    tokens[static_cast<long long>(blockIdx.y) * n + blockIdx.x] = keys.first([&](uint32 key) { return (sum += mass(key)) > threshold; });
  }
}

#define TOKEN_DRAW(NAME, ...)                                                                                                    \
  extern "C" __global__ __launch_bounds__(DRAW_THREADS) void NAME(const half_t *logits, long long *tokens, const uint64 *seeds, \
                                                                  const float *settings, float progress, uint64 domain, int V) { \
    draw_token<__VA_ARGS__>(logits, tokens, seeds, settings, progress, domain, V);                                              \
  }
// V ≤ 4096, a multiple of 8.
TOKEN_DRAW(token_draw_in_registers, KeysInRegisters<8>)
// V ≤ 65536. Shared memory: V keys.
TOKEN_DRAW(token_draw, KeysInMemory)
