// What kernels share that multiply on Hopper's matrix units (`wgmma`), which read their operands from shared memory while the
// four warps of a group go on.
//
// Operands lie in planes of 8 columns: 16 bytes a row, so that any 8 neighbouring rows are 128 bytes, one tile of the matrix
// units. Threads that write a row write to 8 planes, which is free of bank conflicts where planes are 16 bytes more than a
// multiple of 128 apart.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#if HALF_IS_BFLOAT16
#define MATRIX_TYPES "f32.bf16.bf16"
#else
#define MATRIX_TYPES "f32.f16.f16"
#endif

/// The matrix units read by another way than threads write.
__device__ __forceinline__ void show_to_matrix_units() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// Where a matrix of 8 × 8 tiles of 128 bytes lies in shared memory: how far its tiles are apart along K, and along rows.
__device__ __forceinline__ uint64 matrix_descriptor(uint32 along_k, uint32 along_rows) {
  return static_cast<uint64>(along_k >> 4) << 16 | static_cast<uint64>(along_rows >> 4) << 32;
}

/// The same with the address where it begins. A descriptor that begins `bytes` later is greater by bytes / 16.
__device__ __forceinline__ uint64 matrix_descriptor(const void *address, uint32 along_k, uint32 along_rows) {
  return matrix_descriptor(along_k, along_rows) | static_cast<uint32>(__cvta_generic_to_shared(address)) >> 4;
}

/// Where a matrix lies whose rows are the 128 bytes of a box, a multiple of 1024 bytes from the start of shared memory. A
/// descriptor of columns that begin `bytes` later is greater by bytes / 16.
__device__ __forceinline__ uint64 box_descriptor(uint32 address) { return 1ull << 62 | 64ull << 32 | 1ull << 16 | address >> 4; }

/// Shared memory from where boxes may begin, as pointer and as address.
struct BoxMemory {
  unsigned char *bytes;
  uint32 address;

  /// Of `memory` at most 1023 bytes are left out.
  __device__ __forceinline__ explicit BoxMemory(unsigned char *memory) {
    const uint32 start = static_cast<uint32>(__cvta_generic_to_shared(memory));
    address = (start + 1023) & ~1023u, bytes = memory + (address - start);
  }
};

/// Where eight columns of a row of a box lie: their order is another in each of eight rows.
__device__ __forceinline__ uint32 place_in_box(int row, int eight) { return row * 128 + ((eight ^ (row & 7)) << 4); }

/// Products read registers that were written before this.
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

/// Ends a group of products.
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Waits until at most the last `GROUPS` groups of products are under way.
template <int GROUPS>
__device__ __forceinline__ void wait_for_products_but() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

// The sums of a group of threads that are 64 rows and 8·COLUMNS columns: their numbers in a statement, and their registers.
#define NUMBERS_3 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11"
#define NUMBERS_4 NUMBERS_3 ", %12, %13, %14, %15"
#define NUMBERS_5 NUMBERS_4 ", %16, %17, %18, %19"
#define NUMBERS_6 NUMBERS_5 ", %20, %21, %22, %23"
#define NUMBERS_7 NUMBERS_6 ", %24, %25, %26, %27"
#define NUMBERS_8 NUMBERS_7 ", %28, %29, %30, %31"
#define NUMBERS_9 NUMBERS_8 ", %32, %33, %34, %35"
#define NUMBERS_12 NUMBERS_9 ", %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define NUMBERS_16 NUMBERS_12 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NUMBERS_18 NUMBERS_16 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define NUMBERS_25 NUMBERS_18 ", %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87" \
  ", %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99"
#define FOUR_REGISTERS(d, i) "+f"(d[4 * i]), "+f"(d[4 * i + 1]), "+f"(d[4 * i + 2]), "+f"(d[4 * i + 3])
#define REGISTERS_3(d) FOUR_REGISTERS(d, 0), FOUR_REGISTERS(d, 1), FOUR_REGISTERS(d, 2)
#define REGISTERS_4(d) REGISTERS_3(d), FOUR_REGISTERS(d, 3)
#define REGISTERS_5(d) REGISTERS_4(d), FOUR_REGISTERS(d, 4)
#define REGISTERS_6(d) REGISTERS_5(d), FOUR_REGISTERS(d, 5)
#define REGISTERS_7(d) REGISTERS_6(d), FOUR_REGISTERS(d, 6)
#define REGISTERS_8(d) REGISTERS_7(d), FOUR_REGISTERS(d, 7)
#define REGISTERS_9(d) REGISTERS_8(d), FOUR_REGISTERS(d, 8)
#define REGISTERS_12(d) REGISTERS_9(d), FOUR_REGISTERS(d, 9), FOUR_REGISTERS(d, 10), FOUR_REGISTERS(d, 11)
#define REGISTERS_16(d) REGISTERS_12(d), FOUR_REGISTERS(d, 12), FOUR_REGISTERS(d, 13), FOUR_REGISTERS(d, 14), \
  FOUR_REGISTERS(d, 15)
#define REGISTERS_18(d) REGISTERS_16(d), FOUR_REGISTERS(d, 16), FOUR_REGISTERS(d, 17)
#define REGISTERS_25(d) REGISTERS_18(d), FOUR_REGISTERS(d, 18), FOUR_REGISTERS(d, 19), FOUR_REGISTERS(d, 20), \
  FOUR_REGISTERS(d, 21), FOUR_REGISTERS(d, 22), FOUR_REGISTERS(d, 23), FOUR_REGISTERS(d, 24)

// A group's sums of 64 × 64: in warp w, d[4i], d[4i + 1] = (16w + g, 8i + 2t), (16w + g, 8i + 2t + 1); d[4i + 2], d[4i + 3] the
// same of row 16w + g + 8.

/// d += a · bᵀ for 64 rows of A and 64 of B, 16 long; d = a · bᵀ where not `adds`.
__device__ __forceinline__ void multiply_64_by_64(float *d, uint64 a, uint64 b, int adds) {
  asm volatile("{.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16." MATRIX_TYPES " {" NUMBERS_8
               "}, %32, %33, p, 1, 1, 0, 0;}"
               : REGISTERS_8(d)
               : "l"(a), "l"(b), "r"(adds));
}

/// d += a · b for 64 rows of A, 16 long, in registers as sums are, and 16 rows of 64 of B; d = a · b where not `adds`.
__device__ __forceinline__ void multiply_by_columns(float *d, const uint32 *a, uint64 b, int adds) {
  asm volatile("{.reg .pred p;\nsetp.ne.b32 p, %37, 0;\nwgmma.mma_async.sync.aligned.m64n64k16." MATRIX_TYPES " {" NUMBERS_8
               "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;}"
               : REGISTERS_8(d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
}

/// Keeps what reads sums behind the wait for them.
__device__ __forceinline__ void settle(float *d) { asm volatile("" : REGISTERS_8(d)::"memory"); }

/// d += a · bᵀ for 64 rows of A and 8·COLUMNS of B, 16 long; sums lie as those of 64 × 64 do.
template <int COLUMNS>
struct ProductsOf64Rows;

#define PRODUCTS_OF_64_ROWS(COLUMNS, WIDTH, A, B)                                                                             \
  template <>                                                                                                                 \
  struct ProductsOf64Rows<COLUMNS> {                                                                                          \
    static __device__ __forceinline__ void add(float *d, uint64 a, uint64 b) {                                                \
      asm volatile("wgmma.mma_async.sync.aligned.m64n" WIDTH "k16." MATRIX_TYPES " {" NUMBERS_##COLUMNS "}, " A ", " B        \
                   ", 1, 1, 1, 0, 0;"                                                                                         \
                   : REGISTERS_##COLUMNS(d)                                                                                   \
                   : "l"(a), "l"(b));                                                                                         \
    }                                                                                                                         \
    static __device__ __forceinline__ void settle(float *d) { asm volatile("" : REGISTERS_##COLUMNS(d)::"memory"); }          \
  };
PRODUCTS_OF_64_ROWS(3, "24", "%12", "%13")
PRODUCTS_OF_64_ROWS(4, "32", "%16", "%17")
PRODUCTS_OF_64_ROWS(5, "40", "%20", "%21")
PRODUCTS_OF_64_ROWS(6, "48", "%24", "%25")
PRODUCTS_OF_64_ROWS(7, "56", "%28", "%29")
PRODUCTS_OF_64_ROWS(8, "64", "%32", "%33")
PRODUCTS_OF_64_ROWS(9, "72", "%36", "%37")
PRODUCTS_OF_64_ROWS(12, "96", "%48", "%49")
PRODUCTS_OF_64_ROWS(16, "128", "%64", "%65")
PRODUCTS_OF_64_ROWS(18, "144", "%72", "%73")
PRODUCTS_OF_64_ROWS(25, "200", "%100", "%101")
#endif
