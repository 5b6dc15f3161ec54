import Synchronization
import Torch

/// How a product of some dozens to some hundreds of rows is cut into blocks: `linear_tiles.cu`.
struct TiledForm: Hashable {
  /// What the kernel is compiled for: tiles of 32 rows of x, tiles of 16 rows of the weight, and how many blocks share
  /// K and add up what they have.
  struct Compiled: Hashable {
    let rowTiles: Int
    let columnTiles: Int
    let ranks: Int

    var height: Int { 32 * rowTiles }
    var width: Int { 16 * columnTiles }

    var sharedBytes: Int {
      let stages = 4 * height + (columnTiles <= 4 ? 8 : 6) * width
      return max(stages * 144, 2 * height * (width + 8) * 4)
    }
  }

  let compiled: Compiled
  /// Sums that are left to the next kernel.
  let parts: Int

  /// The rows that a block can have.
  private static let highest = 224
  /// What one step of K is.
  static let depth = 64

  /// Nil where libtorch's product is to be used.
  ///
  /// - Parameters:
  ///   - parts: how many sums may be left to the next kernel.
  ///   - ranks: blocks that share K. Only from Hopper on can blocks read each other's memory.
  init?(
    rows: Int, inputs: Int, outputs: Int, parts: [Int], ranks: Int, multiprocessors: Int
  ) {
    guard rows > 0, outputs % 8 == 0 else { return nil }
    let bands = (rows + Self.highest - 1) / Self.highest
    let rowTiles = (rows + 32 * bands - 1) / (32 * bands)
    var best: (form: TiledForm, cost: Int)?
    for count in parts {
      for columnTiles in 3...6 where inputs % (Self.depth * ranks * count) == 0 {
        let form = TiledForm(
          compiled: Compiled(rowTiles: rowTiles, columnTiles: columnTiles, ranks: ranks),
          parts: count)
        let cost = form.cost(rows: rows, inputs: inputs, outputs: outputs, multiprocessors)
        if cost < best?.cost ?? .max { best = (form, cost) }
      }
    }
    guard let best else { return nil }
    self = best.form
  }

  private init(compiled: Compiled, parts: Int) { (self.compiled, self.parts) = (compiled, parts) }

  /// The numbers that pass through the busiest multiprocessor, which has one block at a time.
  private func cost(rows: Int, inputs: Int, outputs: Int, _ multiprocessors: Int) -> Int {
    let bands = (rows + compiled.height - 1) / compiled.height
    let blocks = (outputs + compiled.width - 1) / compiled.width * compiled.ranks * parts * bands
    let waves = (blocks + multiprocessors - 1) / multiprocessors
    let loaded = waves * (rows / bands + compiled.width) * inputs / (compiled.ranks * parts)
    // Written and read again.
    return loaded + 2 * parts * rows * outputs / multiprocessors
  }
}

/// A product's form, and the kernel that was compiled for it.
struct TiledProduct {
  let form: TiledForm
  let kernel: CUDAKernel
}

extension CUDAKernels {
  /// How a kernel of ours does a product; nil where libtorch's is to be used.
  ///
  /// - Parameter parts: how many sums may be left to the next kernel.
  func tiledProduct(rows: Int, _ weight: Tensor, parts: [Int]) -> TiledProduct? {
    guard computeCapability >= 90, choices.tiledRows.contains(rows) else { return nil }
    let (N, K) = weight.shape2
    return TiledForm(
      rows: rows, inputs: K, outputs: N, parts: parts, ranks: choices.tiledRanks,
      multiprocessors: multiprocessors
    ).flatMap { try? tiledProduct($0) }
  }

  /// Compiled when first used, as there are many and a model needs few.
  func tiledProduct(_ form: TiledForm) throws -> TiledProduct {
    try tiled.withLock { kernels in
      if let known = kernels[form.compiled] {
        return TiledProduct(form: form, kernel: try known.get())
      }
      // A failure is kept too, so that it is met once.
      let kernel = Result { try compile(form.compiled) }
      kernels[form.compiled] = kernel
      return TiledProduct(form: form, kernel: try kernel.get())
    }
  }

  private func compile(_ form: TiledForm.Compiled) throws -> CUDAKernel {
    let source = [PackageResources.common_cu, PackageResources.linear_tiles_cu]
      .map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
    let program = try CUDAProgram(
      source: source, name: "linear_tiles.cu",
      definitions: [
        "HALF_IS_BFLOAT16": dtype == .bfloat16 ? "1" : "0", "MT": "\(form.rowTiles)",
        "NT": "\(form.columnTiles)", "RANKS": "\(form.ranks)",
      ])
    return try program.kernel("linear_tiles", sharedBytes: form.sharedBytes)
  }

  /// x · weightᵀ + bias in parts, `[parts, …, N]`; the first part has the bias. GELU is for a single part.
  func multiply(
    _ product: TiledProduct, _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, gelu: Bool = false,
    overlaps: Bool = true
  ) -> Tensor {
    let (N, K) = weight.shape2
    let shape = x.shape
    let rows = shape.dropLast().reduce(1, *)
    let (form, parts) = (product.form.compiled, product.form.parts)
    precondition(!gelu || parts == 1)
    let y = Tensor.empty([parts] + shape.dropLast() + [N], dtype: dtype, device: x.device)
    product.kernel(
      grid: (
        (N + form.width - 1) / form.width, form.ranks * parts,
        (rows + form.height - 1) / form.height
      ), threads: 256, overlaps: overlaps,
      [
        .tensor(x), .tensor(weight), .optional(bias), .tensor(y), .int(rows), .int(N), .int(K),
        .int(gelu ? 1 : 0),
      ])
    return y
  }
}
