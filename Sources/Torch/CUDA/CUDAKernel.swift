import CTorch
import Foundation

/// A function that runs on the GPU.
public struct CUDAKernel: @unchecked Sendable {
  let handle: ct_kernel
  let name: String
  let sharedBytes: Int

  /// An argument, in the 8 bytes that it may take.
  public struct Argument {
    let bits: UInt64

    /// The address of the first element. The tensor has to be contiguous, or the kernel told its strides.
    public static func tensor(_ tensor: Tensor) -> Argument {
      Argument(bits: UInt64(UInt(bitPattern: tensor.address)))
    }

    /// The address of the element at `offset`.
    public static func tensor(_ tensor: Tensor, offset: Int, _ dtype: DType) -> Argument {
      Argument(bits: UInt64(UInt(bitPattern: tensor.address) + UInt(offset * dtype.byteCount)))
    }

    /// The address of a tensor that may be left out.
    public static func optional(_ tensor: Tensor?) -> Argument {
      tensor.map(Argument.tensor) ?? Argument(bits: 0)
    }

    public static func int(_ value: Int) -> Argument {
      Argument(bits: UInt64(UInt32(bitPattern: Int32(value))))
    }

    public static func long(_ value: Int) -> Argument {
      Argument(bits: UInt64(bitPattern: Int64(value)))
    }

    public static func float(_ value: Double) -> Argument {
      Argument(bits: UInt64(Float(value).bitPattern))
    }
  }

  /// A contiguous matrix `[rows, columns]` of 16-bit numbers, that a kernel copies in boxes of 64 columns (TMA, from Hopper
  /// on). Its columns are a multiple of 8.
  public struct Matrix {
    let matrix: ct_matrix

    /// - Parameter boxRows: of a box, at most 256.
    public init(_ tensor: Tensor, rows: Int, columns: Int, boxRows: Int) {
      self.init(tensor, count: 0, rows: rows, columns: columns, boxRows: boxRows)
    }

    /// Several matrices, `[count, rows, columns]`: a box has rows of one of them.
    ///
    /// - Parameter apart: of `[count, apart, columns]` each matrix is the first `rows`; those behind them are not read, boxes
    ///   have zeros in their place. As many as there are rows if left out.
    public init(
      _ tensor: Tensor, count: Int, rows: Int, columns: Int, apart: Int? = nil, boxRows: Int
    ) {
      matrix = ct_matrix(
        address: tensor.address, count: UInt64(count), rows: UInt64(rows),
        columns: UInt64(columns), apart: UInt64(apart ?? rows), box_rows: UInt32(boxRows))
    }
  }

  /// Queues the kernel on the current GPU. Errors go to the enclosing ``withTorchErrors(_:)``.
  ///
  /// - Parameters:
  ///   - sharedBytes: shared memory, at most what the kernel was made with; that if left out.
  ///   - overlaps: whether it may start before the kernel in front of it has ended; it must then wait by itself
  ///     (`griddepcontrol.wait`) before it reads what that one wrote.
  ///   - matrices: the first parameters, before `arguments`; each a `CUtensorMap` that is a `__grid_constant__`.
  public func callAsFunction(
    grid: (x: Int, y: Int, z: Int), threads: Int, sharedBytes: Int? = nil, overlaps: Bool = false,
    matrices: [Matrix] = [], _ arguments: [Argument]
  ) {
    guard grid.x > 0, grid.y > 0, grid.z > 0 else { return }
    // After an error its placeholders must not be read on the GPU.
    guard ErrorScope.current?.first == nil else { return }
    var launch = ct_launch()
    launch.grid = (UInt32(grid.x), UInt32(grid.y), UInt32(grid.z))
    launch.threads = UInt32(threads)
    launch.shared_bytes = UInt32(sharedBytes ?? self.sharedBytes)
    launch.overlaps = overlaps
    let values = arguments.map(\.bits)
    perform("launch") { _ in
      guard let table = try? CUDA.table() else { return strdup("TorchShimCUDA is missing") }
      let message = matrices.map(\.matrix).withUnsafeBufferPointer { matrices in
        launch.matrices = matrices.baseAddress
        launch.matrix_count = UInt32(matrices.count)
        return table.pointee.launch(handle, &launch, values, values.count)
      }
      guard let message else { return nil }
      defer { free(message) }
      return strdup("\(name): \(String(cString: message))")
    }
  }
}

extension Tensor {
  /// Where the first element lies, on the tensor's device.
  fileprivate var address: UnsafeMutableRawPointer? {
    var address: UnsafeMutableRawPointer?
    perform("data", [self]) { $0.data(handle, &address) }
    return address
  }
}
