// Convolutions of 3 × 3 on Hopper's matrix units, with all that stands around them in the tokenizer's decoder: group
// normalisation and SiLU of what comes in, the bias, the sum of a residual block, and the sums that the next group
// normalisation needs. Channels last.
//
// A block keeps to its multiprocessor and takes tiles of 16 × 16 pixels, or 8 × 16, and 160 outputs, one after the other. Its
// warps have four trades: one lane fetches weights; four warps bring 32 channels of a tile and its rim, normalised, to shared
// memory, where every tap of the kernel finds its pixels; eight warps multiply; three store the results and sum them up
// while the next tile is multiplied.
template <int BLOCKS>
struct ConvolutionTile {
  /// Of a block of pixels, as much as the matrix units take at once.
  static constexpr int SIDE = 8, BLOCK = SIDE * SIDE;
  static constexpr int ROWS = BLOCKS * SIDE, COLUMNS = 2 * SIDE, PIXELS = ROWS * COLUMNS;
  static constexpr int RIM_COLUMNS = COLUMNS + 2, RIM_PIXELS = (ROWS + 2) * RIM_COLUMNS;
  static constexpr int OUTPUTS = 160, INPUTS = 32;
  /// Pixels lie in planes of 8 channels: 16 bytes a pixel, so that any 8 neighbours are 128 bytes in a row. Planes are as
  /// far apart as makes writing them free of bank conflicts: 2 more than a multiple of 8 pixels.
  static constexpr int PLANES = INPUTS / 8, PLANE_BYTES = (RIM_PIXELS + 5) / 8 * 8 * 16 + 32;
  static constexpr int PATCH_BYTES = PLANES * PLANE_BYTES, PATCHES = 4;
  static constexpr int TAP_BYTES = OUTPUTS * INPUTS * 2, TAPS_AT_ONCE = 5;
  /// A pixel's outputs, and 16 bytes more against bank conflicts.
  static constexpr int RESULT_ROW = OUTPUTS * 2 + 16, RESULT_BYTES = PIXELS * RESULT_ROW;
  static constexpr int STORING_THREADS = 80, STORING_ROWS = STORING_THREADS / (OUTPUTS / 8);
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// Which of `COUNT` buffers is next, and how often all have been used.
template <int COUNT>
struct Turn {
  int place = 0;
  uint32 round = 0;

  __device__ __forceinline__ void advance() {
    if (++place == COUNT) place = 0, round ^= 1;
  }
};

/// d += a · bᵀ for 64 rows of A and 160 of B, 16 long; d = a · bᵀ where not `adds`.
__device__ __forceinline__ void multiply_64_by_160(float *d, uint64 a, uint64 b, int adds) {
  asm volatile(
      "{.reg .pred p;\nsetp.ne.b32 p, %82, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n160k16." MATRIX_TYPES " {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39,"
      "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59,"
      "%60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
      "}, %80, %81, p, 1, 1, 0, 0;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                 "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                 "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                 "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
                 "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
                 "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
                 "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
                 "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),
                 "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]),
                 "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
      : "l"(a), "l"(b), "r"(adds));
}

/// The tiles of a convolution, picture by picture; those of all outputs of the same pixels follow each other. Where tiles are
/// few, each is the sum of some parts, that share the inputs.
template <int TAPS, int BLOCKS>
struct ConvolutionTiles {
  using T = ConvolutionTile<BLOCKS>;
  static constexpr int KINDS = TAPS == 4 ? 4 : 1;
  int H, W, inputs, outputs, parts;

  /// Tiles of the outputs of a kind.
  __device__ __forceinline__ int of_kind() const { return outputs / T::OUTPUTS; }
  __device__ __forceinline__ int of_picture() const { return H / T::ROWS * (W / T::COLUMNS); }
  __device__ __forceinline__ int count(int pictures) const { return pictures * of_picture() * KINDS * of_kind() * parts; }
  __device__ __forceinline__ int chunks() const { return inputs / T::INPUTS; }

  struct Place {
    int picture, y, x, column, kind, first_output, part;
    /// Of 32 inputs.
    int first_chunk, end_chunk;
  };

  __device__ __forceinline__ Place operator[](int index) const {
    Place place;
    place.part = index % parts, index /= parts;
    place.first_chunk = chunks() * place.part / parts, place.end_chunk = chunks() * (place.part + 1) / parts;
    place.column = index % (KINDS * of_kind());
    place.kind = KINDS == 1 ? 0 : place.column / of_kind();
    place.first_output = place.column % of_kind() * T::OUTPUTS;
    const int pixels = index / (KINDS * of_kind()), across = W / T::COLUMNS;
    place.picture = pixels / of_picture();
    place.y = pixels % of_picture() / across * T::ROWS;
    place.x = pixels % of_picture() % across * T::COLUMNS;
    return place;
  }
};

/// What a group of warps has summed up of one part, float32 [parts, B, H, W, outputs] or with twice H and W.
template <int TAPS, int BLOCKS>
__device__ __forceinline__ void store_part(float *parts, const float (*sum)[80], const ConvolutionTiles<TAPS, BLOCKS> &tiles,
                                           const typename ConvolutionTiles<TAPS, BLOCKS>::Place &place, int B, int group, int thread) {
  using T = ConvolutionTile<BLOCKS>;
  constexpr int APART = TAPS == 4 ? 2 : 1;
  const int lane = thread % 32, width = APART * tiles.W;
  const long long picture = static_cast<long long>(place.part) * B + place.picture;
#pragma unroll
  for (int m = 0; m < BLOCKS; m++) {
    const int block = group * BLOCKS + m, y = place.y + block / 2 * T::SIDE + thread / 32 * 2, x = place.x + block % 2 * T::SIDE + lane / 4;
#pragma unroll
    for (int row = 0; row < 2; row++) {
      const long long pixel = (picture * APART * tiles.H + APART * (y + row) + place.kind / 2) * width + APART * x + place.kind % 2;
      float *own = parts + pixel * tiles.outputs + place.first_output + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < 20; i++) {
        *reinterpret_cast<float2 *>(own + i * 8) = make_float2(sum[m][4 * i + 2 * row], sum[m][4 * i + 2 * row + 1]);
      }
    }
  }
}

/// The norm in front of a convolution of one picture, whose factors each block makes by itself: x's sums [slices, 32, 2], and
/// weight and shift [inputs].
struct InputNorm {
  const float *sums;
  const half_t *weight, *shift;
  int slices;
};

/// Convolution of SiLU(x·factor + term), or of x itself where `factors` is null, + bias + added.
///
/// With 9 taps: x [B, H, W, stride], of which the first `inputs` channels count, out and added [B, H, W, outputs], weights
/// [outputs / 160, inputs / 32, 9, 4, 160, 8]: the tap, the plane of 8 inputs, the output, the input.
/// With 4 taps what doubles H and W: out [B, 2·H, 2·W, outputs], weights [4·outputs / 160, inputs / 32, 4, 4, 160, 8], whose
/// kind k of outputs is the pixels (2i + k / 2, 2j + k % 2) and takes the pixels (i + k / 2 − 1 … i + k / 2) and likewise of j.
/// factors float32 [B, 2, inputs]; where `norm` has sums they are made of those, B is 1 and `inputs` at most 640.
/// sums [B, H / 8 · W / 16 · kinds, 32, 2]. `added` may be null.
/// Tiles have 8·BLOCKS rows. H is a multiple of that, W of 16, `outputs` of 160, `inputs` of 32. Grid: blocks that share the
/// tiles; 512 threads.
///
/// Where it SPLITS, `sums` gets float32 [parts, …] in the shape of out, to be summed up; bias, `added` and out do not count.
template <int TAPS, int BLOCKS, bool SPLITS>
__device__ __forceinline__ void convolve_tiles(const half_t *x, const float *factors, const half_t *weights,
                                               const half_t *bias, const half_t *added, half_t *out, float *sums, int B, int H,
                                               int W, int inputs, int stride, int outputs, int parts, const InputNorm &norm) {
  using T = ConvolutionTile<BLOCKS>;
  extern __shared__ __align__(128) unsigned char room[];
  __shared__ Gate patch_full[T::PATCHES], patch_free[T::PATCHES], tap_full[T::TAPS_AT_ONCE], tap_free[T::TAPS_AT_ONCE];
  __shared__ Gate result_full, result_free;
  __shared__ float2 biases[T::OUTPUTS / 2];
  // Only small tiles have pictures alone.
  constexpr bool MAKES_FACTORS = TAPS == 9 && BLOCKS == 1;
  __shared__ float parts_of_slices[MAKES_FACTORS ? SLICE_PARTS : 1][2 * GROUPS];
  __shared__ __align__(16) float own_factors_room[MAKES_FACTORS ? 2 * 640 : 4];
  unsigned char *const patches = room, *const taps = patches + T::PATCHES * T::PATCH_BYTES;
  unsigned char *const results = taps + T::TAPS_AT_ONCE * T::TAP_BYTES;
  float *const partial = reinterpret_cast<float *>(results + T::RESULT_BYTES);
  const ConvolutionTiles<TAPS, BLOCKS> tiles{H, W, inputs, outputs, parts};
  const int count = tiles.count(B);
  const int group = threadIdx.x / 128, thread = threadIdx.x % 128, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < T::PATCHES; i++) patch_full[i].begin(4), patch_free[i].begin(8);
    for (int i = 0; i < T::TAPS_AT_ONCE; i++) tap_full[i].begin(1), tap_free[i].begin(8);
    result_full.begin(8), result_free.begin(3);
    show_gates();
  }
  __syncthreads();
  let_successor_start();

  if (group < 2) {  // multiply
    asm volatile("setmaxnreg.inc.sync.aligned.u32 200;");
    const uint64 a_shape = matrix_descriptor(T::PLANE_BYTES, T::RIM_COLUMNS * 16), b_shape = matrix_descriptor(T::OUTPUTS * 16, 128);
    // A tile of 16 rows: each group of warps has 8 of them. One of 8: each has 8 columns.
    const uint32 first_pixel = static_cast<uint32>(__cvta_generic_to_shared(patches)) +
                               group * (BLOCKS == 2 ? T::SIDE * T::RIM_COLUMNS : T::SIDE) * 16;
    const uint32 first_tap = static_cast<uint32>(__cvta_generic_to_shared(taps));
    Turn<T::PATCHES> patch;
    Turn<T::TAPS_AT_ONCE> tap;
    Turn<1> result;
    int biased_from = -1;
    for (int index = blockIdx.x; index < count; index += gridDim.x) {
      const auto place = tiles[index];
      if (!SPLITS && place.first_output != biased_from) {
        biased_from = place.first_output;
        asm volatile("bar.sync 2, 256;" ::: "memory");
        if (threadIdx.x < T::OUTPUTS / 2) {
          const uint32 pair = load4(bias + biased_from + 2 * threadIdx.x);
          biases[threadIdx.x] = make_float2(first(pair), second(pair));
        }
        asm volatile("bar.sync 2, 256;" ::: "memory");
      }
      const uint32 corner = TAPS == 4 ? (place.kind / 2 * T::RIM_COLUMNS + place.kind % 2) * 16 : 0;
      float sum[BLOCKS][80];
      Turn<T::PATCHES> used_patch = patch;
      Turn<T::TAPS_AT_ONCE> used_tap = tap;
      for (int chunk = place.first_chunk; chunk < place.end_chunk; chunk++) {
        const bool is_first = chunk == place.first_chunk;
        patch_full[patch.place].wait(patch.round);
        const uint32 pixels = first_pixel + patch.place * T::PATCH_BYTES + corner;
#pragma unroll
        for (int i = 0; i < TAPS; i++) {
          tap_full[tap.place].wait(tap.round);
          constexpr int ACROSS = TAPS == 9 ? 3 : 2;
          const uint32 rows = first_tap + tap.place * T::TAP_BYTES, from = pixels + (i / ACROSS * T::RIM_COLUMNS + i % ACROSS) * 16;
          begin_products();
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const uint64 b = b_shape | (rows + half * 2 * T::OUTPUTS * 16) >> 4;
#pragma unroll
            for (int m = 0; m < BLOCKS; m++) {
              const uint64 a = a_shape | (from + half * 2 * T::PLANE_BYTES + m * T::SIDE * 16) >> 4;
              multiply_64_by_160(sum[m], a, b, !is_first || i + half > 0);
            }
          }
          commit_products();
          if (!is_first || i > 0) {
            wait_for_products_but<1>();
            tap_free[used_tap.place].arrive_as_warp();
            used_tap.advance();
            if (i == 0) patch_free[used_patch.place].arrive_as_warp(), used_patch.advance();
          }
          tap.advance();
        }
        patch.advance();
      }
      wait_for_products_but<0>();
      tap_free[used_tap.place].arrive_as_warp();
      patch_free[used_patch.place].arrive_as_warp();
      if constexpr (SPLITS) {
        store_part<TAPS, BLOCKS>(sums, sum, tiles, place, B, group, thread);
        continue;
      }
      result_free.wait(result.round);
#pragma unroll
      for (int m = 0; m < BLOCKS; m++) {
        const int row = (group * BLOCKS + m) * T::BLOCK + thread / 32 * 16 + lane / 4;
        half_t *const own = reinterpret_cast<half_t *>(results + row * T::RESULT_ROW) + lane % 4 * 2;
#pragma unroll
        for (int start = 0; start < 40; start += 8) {
          // Read before the first is written, as the compiler cannot tell that they differ.
          uint32 others[8] = {};
          const auto place_of = [&](int i) { return own + i % 2 * 8 * (T::RESULT_ROW / 2) + i / 2 * 8; };
          if (TAPS == 9 && added) {
#pragma unroll
            for (int i = 0; i < 8; i++) others[i] = load4(place_of(start + i));
          }
#pragma unroll
          for (int i = start; i < start + 8; i++) {
            const float2 own_bias = biases[i / 2 * 4 + lane % 4];
            const uint32 other = others[i - start];
            store4(place_of(i), pack(sum[m][2 * i] + own_bias.x + first(other), sum[m][2 * i + 1] + own_bias.y + second(other)));
          }
        }
      }
      result_full.arrive_as_warp();
      result.advance();
    }
  } else if (group == 2) {  // bring pixels
    asm volatile("setmaxnreg.dec.sync.aligned.u32 64;");
    constexpr int ROUNDS = (T::RIM_PIXELS + 31) / 32;
    if (MAKES_FACTORS && norm.sums) {
      const auto meet = [] { asm volatile("bar.sync 3, 128;" ::: "memory"); };
      make_factors<128>(norm.sums, norm.slices, norm.weight, norm.shift, nullptr, own_factors_room, H * W, inputs, thread,
                        parts_of_slices, meet);
      meet();
      factors = own_factors_room;
    } else {
      wait_for_predecessor();
    }
    const int plane = thread % T::PLANES, first_pixel = thread / T::PLANES;
    unsigned char *const own = patches + plane * T::PLANE_BYTES + first_pixel * 16;
    Turn<T::PATCHES> asked, made;
    const half_t *source = x;
    int offset[ROUNDS];  // of a pixel, or -1 outside of the picture
    int next = blockIdx.x, next_chunk = 0, end_chunk = 0;
    const auto ask = [&] {
      if (next < count) {
        if (next_chunk == end_chunk) {
          const auto place = tiles[next];
          next_chunk = place.first_chunk, end_chunk = place.end_chunk;
          source = x + static_cast<long long>(place.picture) * H * W * stride + plane * 8;
#pragma unroll
          for (int i = 0; i < ROUNDS; i++) {
            const int pixel = i * 32 + first_pixel, py = place.y - 1 + pixel / T::RIM_COLUMNS, px = place.x - 1 + pixel % T::RIM_COLUMNS;
            offset[i] = static_cast<uint32>(py) < H && static_cast<uint32>(px) < W ? (py * W + px) * stride : -1;
          }
        }
        patch_free[asked.place].wait(asked.round ^ 1);
#pragma unroll
        for (int i = 0; i < ROUNDS; i++) {
          if (i * 32 + first_pixel >= T::RIM_PIXELS) break;
          copy16_async(reinterpret_cast<half_t *>(own + asked.place * T::PATCH_BYTES + i * 512),
                       source + max(offset[i], 0) + next_chunk * T::INPUTS, offset[i] >= 0);
        }
        asked.advance();
        if (++next_chunk == end_chunk) next += gridDim.x;
      }
      commit_copies();
    };
    ask();
    for (int index = blockIdx.x; index < count; index += gridDim.x) {
      const auto place = tiles[index];
      uint32 inside = 0;
#pragma unroll
      for (int i = 0; i < ROUNDS; i++) {
        const int pixel = i * 32 + first_pixel, py = place.y - 1 + pixel / T::RIM_COLUMNS, px = place.x - 1 + pixel % T::RIM_COLUMNS;
        if (static_cast<uint32>(py) < H && static_cast<uint32>(px) < W) inside |= 1u << i;
      }
      const float *own_factors = factors + static_cast<long long>(place.picture) * 2 * inputs + plane * 8;
      for (int chunk = place.first_chunk; chunk < place.end_chunk; chunk++) {
        float4 factor[2], term[2];
        if (TAPS == 9 && factors) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const float4 *const of_chunk = reinterpret_cast<const float4 *>(own_factors + chunk * T::INPUTS) + i;
            const float4 *const terms = reinterpret_cast<const float4 *>(own_factors + inputs + chunk * T::INPUTS) + i;
            factor[i] = MAKES_FACTORS ? *of_chunk : __ldg(of_chunk), term[i] = MAKES_FACTORS ? *terms : __ldg(terms);
          }
        }
        ask();
        // Those that this very thread asked for.
        wait_for_copies_but<1>();
        if (TAPS == 9 && factors) {
          unsigned char *const pixels = own + made.place * T::PATCH_BYTES;
          constexpr int AT_ONCE = 4;
#pragma unroll
          for (int start = 0; start < ROUNDS; start += AT_ONCE) {
            // Read before the first is written, as the compiler cannot tell that they differ.
            uint4 read[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
              if ((start + i) * 32 + first_pixel < T::RIM_PIXELS) read[i] = *reinterpret_cast<const uint4 *>(pixels + (start + i) * 512);
            }
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
              if ((start + i) * 32 + first_pixel >= T::RIM_PIXELS) break;
              float value[8];
              unpack(read[i], value);
#pragma unroll
              for (int c = 0; c < 8; c++) {
                value[c] = value[c] * (&factor[c / 4].x)[c % 4] + (&term[c / 4].x)[c % 4];
              }
              for (int c = 0; c < 8; c += 2) silu_of_two(value[c], value[c + 1]);
              *reinterpret_cast<uint4 *>(pixels + (start + i) * 512) = inside >> (start + i) & 1 ? pack(value) : make_uint4(0, 0, 0, 0);
            }
          }
        }
        show_to_matrix_units();
        patch_full[made.place].arrive_as_warp();
        made.advance();
      }
    }
  } else if (thread < 32) {  // fetch weights
    asm volatile("setmaxnreg.dec.sync.aligned.u32 48;");
    if (thread > 0) return;
    const uint32 target = static_cast<uint32>(__cvta_generic_to_shared(taps));
    Turn<T::TAPS_AT_ONCE> tap;
    for (int index = blockIdx.x; index < count; index += gridDim.x) {
      const auto place = tiles[index];
      const half_t *source = weights + (static_cast<long long>(place.column) * tiles.chunks() + place.first_chunk) * TAPS * T::TAP_BYTES / 2;
      for (int i = (place.end_chunk - place.first_chunk) * TAPS; i > 0; i--) {
        tap_free[tap.place].wait(tap.round ^ 1);
        tap_full[tap.place].fetch(target + tap.place * T::TAP_BYTES, source, T::TAP_BYTES);
        source += T::TAP_BYTES / 2;
        tap.advance();
      }
    }
  } else {  // store and sum up
    asm volatile("setmaxnreg.dec.sync.aligned.u32 48;");
    if constexpr (SPLITS) return;
    wait_for_predecessor();
    const int storer = thread - 32, column = storer % 20, first_pixel = storer / 20;
    const bool stores = storer < T::STORING_THREADS;
    constexpr int APART = TAPS == 4 ? 2 : 1;
    const int pixel_step = APART * outputs, row_step = pixel_step * APART * W;
    unsigned char *const own = results + first_pixel * T::RESULT_ROW + column * 16;
    const auto corner = [&](const auto &place) {
      const long long row = static_cast<long long>(place.picture) * APART * H + APART * place.y + place.kind / 2;
      const long long pixel = row * APART * W + APART * place.x + place.kind % 2;
      return pixel * outputs + place.first_output + column * 8 + first_pixel * pixel_step;
    };
    // Goes through this thread's pixels of a strip of 8 rows: their place in shared memory, and that in a picture.
    const auto each = [&](int strip, auto visit) {
#pragma unroll
      for (int block = 0; block < 2; block++) {
        unsigned char *result = own + (strip * 2 + block) * T::BLOCK * T::RESULT_ROW;
        int offset = strip * T::SIDE * row_step + block * T::SIDE * pixel_step;
#pragma unroll 2
        for (int y = 0; y < T::SIDE; y++) {
#pragma unroll
          for (int x = 0; x < T::SIDE; x += T::STORING_ROWS) {
            visit(result, offset + x * pixel_step);
            result += T::STORING_ROWS * T::RESULT_ROW;
          }
          offset += row_step;
        }
      }
    };
    // What is added waits where the sum is to stand.
    const auto prepare = [&](int index) {
      if (TAPS == 9 && added && stores && index < count) {
        const half_t *source = added + corner(tiles[index]);
        for (int strip = 0; strip < BLOCKS; strip++) {
          each(strip, [&](unsigned char *result, int offset) { copy16_async(reinterpret_cast<half_t *>(result), source + offset, true); });
        }
        wait_for_copies();
      }
      result_free.arrive_as_warp();
    };
    prepare(blockIdx.x);
    Turn<1> result;
    for (int index = blockIdx.x; index < count; index += gridDim.x) {
      const auto place = tiles[index];
      half_t *const target = out + corner(place);
      result_full.wait(result.round);
      result.advance();
      // Strips are summed up one by one, so that pictures do not depend on how high tiles are.
      for (int strip = 0; strip < BLOCKS; strip++) {
        float sum[8] = {}, squares[8] = {};
        if (stores) {
          each(strip, [&](unsigned char *result, int offset) {
            const uint4 made = *reinterpret_cast<const uint4 *>(result);
            store16(target + offset, made);
            float value[8];
            unpack(made, value);
#pragma unroll
            for (int c = 0; c < 8; c++) sum[c] += value[c], squares[c] += value[c] * value[c];
          });
        }
        if (strip == BLOCKS - 1) prepare(index + gridDim.x);
        asm volatile("bar.sync 1, 96;" ::: "memory");
        if (stores) {
          float *sums_here = partial + (first_pixel * T::OUTPUTS + column * 8) * 2;
          for (int c = 0; c < 8; c++) sums_here[2 * c] = sum[c], sums_here[2 * c + 1] = squares[c];
        }
        asm volatile("bar.sync 1, 96;" ::: "memory");
        const int size = outputs / GROUPS, across = W / T::COLUMNS;
        if (storer < 2 * (T::OUTPUTS / size)) {
          float total = 0.f;
          for (int c = 0; c < size; c++) {
            for (int row = 0; row < T::STORING_ROWS; row++) {
              total += partial[(row * T::OUTPUTS + storer / 2 * size + c) * 2 + storer % 2];
            }
          }
          const int slice = (place.y / T::SIDE + strip) * across + place.x / T::COLUMNS;
          const long long of_picture = static_cast<long long>(place.picture) * (H / T::SIDE * across) + slice;
          sums[((of_picture * tiles.KINDS + place.kind) * GROUPS + place.first_output / size) * 2 + storer] = total;
        }
      }
    }
  }
}

#define CONVOLUTION(NAME, BLOCKS, SPLITS)                                                                                    \
  extern "C" __global__ __launch_bounds__(512, 1) void convolution_##NAME(                                                   \
      const half_t *x, const float *factors, const half_t *weights, const half_t *bias, const half_t *added, half_t *out,    \
      float *sums, int B, int H, int W, int inputs, int stride, int outputs, int parts, const float *input_sums,             \
      const half_t *norm_weight, const half_t *norm_shift, int slices) {                                                     \
    convolve_tiles<9, BLOCKS, SPLITS>(x, factors, weights, bias, added, out, sums, B, H, W, inputs, stride, outputs, parts,  \
                                      {input_sums, norm_weight, norm_shift, slices});                                        \
  }                                                                                                                          \
  extern "C" __global__ __launch_bounds__(512, 1) void upsampling_##NAME(                                                    \
      const half_t *x, const half_t *weights, const half_t *bias, half_t *out, float *sums, int B, int H, int W, int inputs, \
      int outputs, int parts) {                                                                                              \
    convolve_tiles<4, BLOCKS, SPLITS>(x, nullptr, weights, bias, nullptr, out, sums, B, H, W, inputs, inputs, outputs,       \
                                      parts, {});                                                                            \
  }

CONVOLUTION(of_16_rows, 2, false)
CONVOLUTION(of_8_rows, 1, false)
CONVOLUTION(in_parts, 1, true)
#endif
