import Torch

/// How a product of few rows is cut into blocks: `linear_few_rows.cu`.
struct FewRowsForm: Hashable {
  static let largestRows = 64
  /// Up to so many rows a product is bound by reading its weight, whatever its size.
  private static let alwaysFew = 32
  /// So that a block of the next product fits beside it, where a block may have as much as `largest`.
  static func mostSharedBytes(of largest: Int) -> Int { min(110_000, largest - staticSharedBytes) }
  private static let staticSharedBytes = 1024
  /// Widths of models whose products leave a multiprocessor a single block.
  static let narrow = 1024
  /// The rows of the weight that a block has, in eights.
  private static let widths = 2...5

  /// Tiles of 16 rows of x.
  let tiles: Int
  let columns: Int
  /// Sums that are left to the next kernel.
  let parts: Int
  let sharedBytes: Int
  /// Whether a multiprocessor has so few blocks that each may have more registers.
  let isRoomy: Bool

  /// Nil where libtorch's product is to be used.
  ///
  /// - Parameters:
  ///   - parts: how many sums may be left to the next kernel.
  ///   - largestSharedMemory: what a block may have, in bytes.
  init?(
    rows: Int, inputs: Int, outputs: Int, parts: [Int], multiprocessors: Int,
    largestSharedMemory: Int
  ) {
    guard (1...Self.largestRows).contains(rows), outputs % 2 == 0 else { return nil }
    let tiles = (rows + 15) / 16
    var best: (form: FewRowsForm, cost: Int)?
    for columns in Self.widths {
      for count in parts where inputs % (32 * count) == 0 && inputs / count >= 128 {
        let (width, share) = (8 * columns, inputs / count)
        let blocks = (outputs + width - 1) / width * count
        // A second block to a multiprocessor would have its weights too late: libtorch's product is as fast.
        if rows > Self.alwaysFew && blocks > multiprocessors { continue }
        // In wide models it is slower as a whole: the products beside this one have more blocks, which then have no room
        // before this one ends.
        let isRoomy =
          tiles <= 2 && blocks <= multiprocessors && min(inputs, outputs) <= Self.narrow
        let form = FewRowsForm(
          tiles: tiles, columns: columns, parts: count, share: share, isRoomy: isRoomy)
        guard form.sharedBytes <= Self.mostSharedBytes(of: largestSharedMemory) else { continue }
        // Bytes that pass through the busiest multiprocessor, where starting a block counts as some too.
        let loaded = (blocks + multiprocessors - 1) / multiprocessors * (2 * width * share + 6000)
        let cost = loaded + 4 * count * rows * outputs / multiprocessors
        if cost < best?.cost ?? .max { best = (form, cost) }
      }
    }
    guard let best else { return nil }
    self = best.form
  }

  private init(tiles: Int, columns: Int, parts: Int, share: Int, isRoomy: Bool) {
    (self.tiles, self.columns, self.parts, self.isRoomy) = (tiles, columns, parts, isRoomy)
    // The weight with 32 numbers between rows; then the sums of all slices in its place.
    let weight = 8 * columns * (share + 32) * 2
    sharedBytes = max(weight, 16 * tiles * Self.slices(tiles) * (8 * columns + 4) * 4)
  }

  /// Warps that share K for the same rows.
  private static func slices(_ tiles: Int) -> Int { tiles == 1 ? 8 : 4 }

  var threads: Int { 32 * tiles * Self.slices(tiles) }

  var name: String { Self.name(tiles, columns, isRoomy: isRoomy) }

  private static func name(_ tiles: Int, _ columns: Int, isRoomy: Bool) -> String {
    "linear_few_rows_\(isRoomy ? "roomy_" : "")\(tiles)_\(columns)"
  }

  static var names: [String] {
    (1...largestRows / 16).flatMap { tiles in
      (tiles <= 2 ? [false, true] : [false]).flatMap { isRoomy in
        widths.map { name(tiles, $0, isRoomy: isRoomy) }
      }
    }
  }
}

/// When a product waits for the kernel in front, and lets the next one start: `linear_few_rows.cu`.
enum ProductOrder: Int {
  case yieldsEarly, yieldsLate, waitsLast
}

extension CUDAKernels {
  func fewRowsForm(rows: Int, _ weight: Tensor, parts: [Int]) -> FewRowsForm? {
    let (N, K) = weight.shape2
    return FewRowsForm(
      rows: rows, inputs: K, outputs: N, parts: parts, multiprocessors: multiprocessors,
      largestSharedMemory: largestSharedMemory)
  }

  /// x · weightᵀ + bias into `[parts, rows, N]`.
  func multiply(
    _ form: FewRowsForm, _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, into y: Tensor, rows: Int,
    gelu: Bool, order: ProductOrder
  ) {
    let (N, K) = weight.shape2
    // Measured on an H100: weights of narrow models are in time even so, and those of the product after the next one
    // would come between.
    let yieldsLate = order == .yieldsEarly && min(N, K) <= FewRowsForm.narrow && rows <= 32
    fewRows[form.name]!(
      grid: ((N + 8 * form.columns - 1) / (8 * form.columns), form.parts, 1),
      threads: form.threads, sharedBytes: form.sharedBytes, overlaps: true,
      [
        .tensor(x), .tensor(weight), .optional(bias), .tensor(y), .int(rows), .int(N), .int(K),
        .int(gelu ? 1 : 0), .int((yieldsLate ? ProductOrder.yieldsLate : order).rawValue),
      ])
  }
}
