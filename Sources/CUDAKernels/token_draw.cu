// Guidance, top-k, top-p and the draw of one token, by one block of 256 threads, without sorting. Masses are integers, so
// that sums do not depend on their order: the same picture on every run.
constexpr int DRAW_THREADS = 256;
constexpr int BINS = 2048;

/// A float as an integer that sorts the same way.
__device__ __forceinline__ uint32 sortable(float value) {
  const uint32 bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float from_sortable(uint32 key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/// The exclusive sum over the block's threads, in their order.
__device__ uint64 sum_before(uint64 value, uint64 *scratch) {
  uint64 sum = value;
  for (int step = 1; step < 32; step *= 2) {
    const uint64 left = __shfl_up_sync(~0u, sum, step);
    if (threadIdx.x % 32 >= step) sum += left;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 31) scratch[threadIdx.x / 32] = sum;
  __syncthreads();
  uint64 before = 0;
  for (int warp = 0; warp < threadIdx.x / 32; warp++) before += scratch[warp];
  __syncthreads();
  return before + sum - value;
}

/// The mass of a key: 2³² times its probability over that of the likeliest.
__device__ __forceinline__ uint64 mass_of(uint32 key, float highest) {
  return static_cast<uint64>(static_cast<double>(expf(from_sortable(key) - highest)) * 4294967296.0);
}

/// The lowest key v such that what is above it weighs less than `limit`; each key weighs 1, or its mass. Keys under
/// `least` are left out. 11, 11 and 10 bits are found in turn.
__device__ uint32 lowest_key(const uint32 *keys, int V, uint32 least, uint64 limit, bool by_mass, float highest,
                             uint64 *bins, uint64 *scratch, uint32 *found, uint64 *found_above) {
  uint32 prefix = 0;
  uint64 above = 0;
  for (int shift = 21, known = 0; known < 32; known += 11, shift = shift > 11 ? shift - 11 : 0) {
    const int bits = known == 22 ? 10 : 11;
    for (int i = threadIdx.x; i < BINS; i += DRAW_THREADS) bins[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < V; i += DRAW_THREADS) {
      const uint32 key = keys[i];
      const bool matches = key >= least && (known == 0 || key >> (32 - known) == prefix);
      if (matches) atomicAdd(bins + (key >> shift & ((1u << bits) - 1)), by_mass ? mass_of(key, highest) : 1ull);
    }
    __syncthreads();
    // Each thread has 8 bins, the highest first. The bin looked for is the last one, from above, in front of which less
    // than `limit` lies and which is not empty.
    constexpr int EACH = BINS / DRAW_THREADS;
    uint64 own = 0;
    for (int i = 0; i < EACH; i++) own += bins[BINS - 1 - (threadIdx.x * EACH + i)];
    uint64 before = above + sum_before(own, scratch);
    if (threadIdx.x == 0) *found = 0;
    __syncthreads();
    uint32 candidate = 0;
    uint64 candidate_above = 0;
    for (int i = 0; i < EACH; i++) {
      const int bin = BINS - 1 - (threadIdx.x * EACH + i);
      if (bins[bin] != 0 && before < limit) candidate = BINS - bin, candidate_above = before;
      before += bins[bin];
    }
    // The largest number belongs to the lowest bin.
    if (candidate) atomicMax(found, candidate);
    __syncthreads();
    if (candidate && *found == candidate) *found_above = candidate_above;
    __syncthreads();
    prefix = prefix << bits | (BINS - *found);
    above = *found_above;
    __syncthreads();
  }
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
/// `progress` is k / (K − 1). Shared memory: V keys. Grid: tokens, pictures.
extern "C" __global__ __launch_bounds__(DRAW_THREADS) void token_draw(const half_t *logits, long long *tokens,
                                                                      const uint64 *seeds, const float *settings,
                                                                      float progress, uint64 domain, int V) {
  extern __shared__ uint32 keys[];
  __shared__ uint64 bins[BINS], scratch[DRAW_THREADS / 32], found_above;
  __shared__ uint32 found, highest_key;
  let_successor_start();
  wait_for_predecessor();
  const int n = gridDim.x, B = gridDim.y;
  const half_t *conditional = logits + (static_cast<long long>(blockIdx.y) * n + blockIdx.x) * V;
  const half_t *unconditional = conditional + static_cast<long long>(B) * n * V;
  settings += blockIdx.y * 3;
  const float guidance = settings[0] * progress;
  if (threadIdx.x == 0) highest_key = 0;
  __syncthreads();
  uint32 top = 0;
  for (int i = threadIdx.x; i < V; i += DRAW_THREADS) {
    // Rounded as the readable path rounds: two products, then their difference.
    const float value = __fsub_rn(__fmul_rn(to_float(conditional[i]), 1.f + guidance), __fmul_rn(to_float(unconditional[i]), guidance));
    keys[i] = sortable(value);
    top = max(top, keys[i]);
  }
  top = __reduce_max_sync(~0u, top);
  if (threadIdx.x % 32 == 0) atomicMax(&highest_key, top);
  __syncthreads();
  const float highest = from_sortable(highest_key);

  const int k = static_cast<int>(settings[2]);
  uint32 least = 0;
  if (k > 0 && k < V) least = lowest_key(keys, V, 0, k, false, highest, bins, scratch, &found, &found_above);
  // Each thread weighs neighbours, so that the sums run in the order of the vocabulary.
  const int each = (V + DRAW_THREADS - 1) / DRAW_THREADS, from = threadIdx.x * each, to = min(from + each, V);
  const float share = settings[1];
  if (share < 1.f) {
    uint64 own = 0;
    for (int i = from; i < to; i++) own += keys[i] >= least ? mass_of(keys[i], highest) : 0;
    const uint64 before = sum_before(own, scratch);
    if (threadIdx.x == DRAW_THREADS - 1) found_above = before + own;
    __syncthreads();
    const uint64 limit = static_cast<uint64>(static_cast<double>(found_above) * share);
    __syncthreads();
    // At least the likeliest is kept.
    least = lowest_key(keys, V, least, max(limit, 1ull), true, highest, bins, scratch, &found, &found_above);
  }
  uint64 own = 0;
  for (int i = from; i < to; i++) own += keys[i] >= least ? mass_of(keys[i], highest) : 0;
  const uint64 before = sum_before(own, scratch);
  if (threadIdx.x == DRAW_THREADS - 1) found_above = before + own;
  __syncthreads();
  const uint64 threshold =
      static_cast<uint64>(static_cast<double>(uniform(seeds[blockIdx.y], blockIdx.x, domain)) * static_cast<double>(found_above));
  if (before <= threshold && threshold < before + own) {
    uint64 sum = before;
    int token = from;
    for (; token < to; token++) {
      sum += keys[token] >= least ? mass_of(keys[token], highest) : 0;
      if (sum > threshold) break;
    }
    tokens[static_cast<long long>(blockIdx.y) * n + blockIdx.x] = token;
  }
}
