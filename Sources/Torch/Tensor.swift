import CTorch

/// A multi-dimensional array, owned by libtorch.
///
/// A tensor is a reference: views share memory with what they were taken from, and methods that end
/// in `InPlace` write into it. It is not `Sendable`; a model and its tensors stay on one executor.
/// Operations report their errors as ``withTorchErrors(_:)`` describes.
public final class Tensor {
  let handle: ct_tensor

  init(owning handle: ct_tensor) { self.handle = handle }

  deinit { LibTorch.table.pointee.release(handle) }

  /// What an operation returns after an error, until the scope ends.
  static func placeholder() -> Tensor {
    var out: ct_tensor?
    let one: [Int64] = [1]
    _ = LibTorch.table.pointee.full(one, 1, 0, DType.float32.c, Device.cpu.c, &out)
    guard let out else { fatalError("no memory for a single number") }
    return Tensor(owning: out)
  }

  // MARK: What it is

  /// The length of each axis.
  public var shape: [Int] {
    withUnsafeTemporaryAllocation(of: Int64.self, capacity: 16) { lengths in
      var rank = 0
      perform("shape") { $0.shape(handle, lengths.baseAddress, 16, &rank) }
      return lengths.prefix(rank).map(Int.init)
    }
  }

  public var rank: Int {
    var rank = 0
    perform("shape") { $0.shape(handle, nil, 0, &rank) }
    return rank
  }

  /// The number of elements.
  public var count: Int { shape.reduce(1, *) }

  /// The length of one axis; negative axes count from the end.
  public func length(_ axis: Int) -> Int {
    let shape = shape
    let index = axis < 0 ? axis + shape.count : axis
    // A placeholder has one axis; the error that it stands for is reported at the scope's end.
    return shape.indices.contains(index) ? shape[index] : placeholderLength(axis)
  }

  public var shape2: (Int, Int) { (length(0), length(1)) }
  public var shape3: (Int, Int, Int) { (length(0), length(1), length(2)) }
  public var shape4: (Int, Int, Int, Int) { (length(0), length(1), length(2), length(3)) }

  public var dtype: DType {
    var out = DType.float32.c
    perform("dtype") { $0.dtype(handle, &out) }
    guard let dtype = DType(rawValue: out.rawValue) else {
      fatalError("a tensor of libtorch's type \(out.rawValue), which Torch does not know")
    }
    return dtype
  }

  public var device: Device {
    var out = Device.cpu.c
    perform("device") { $0.device(handle, &out) }
    return Device(out)
  }

  /// Distances between neighbours along each axis, in elements.
  public var strides: [Int] {
    let rank = rank
    return withUnsafeTemporaryAllocation(of: Int64.self, capacity: 16) { strides in
      perform("strides") { $0.strides(handle, strides.baseAddress, 16) }
      return strides.prefix(rank).map(Int.init)
    }
  }

  public var isContiguous: Bool { layout.contiguous }
  /// Whether a `[B, C, H, W]` tensor lies in memory as `[B, H, W, C]`.
  public var isChannelsLast: Bool { layout.channels_last }

  private var layout: ct_layout {
    var out = ct_layout()
    perform("layout") { $0.layout(handle, &out) }
    return out
  }

  private func placeholderLength(_ axis: Int) -> Int {
    guard ErrorScope.current?.first != nil else {
      fatalError("axis \(axis) of a tensor of shape \(shape)")
    }
    return 1
  }
}

extension Tensor: CustomStringConvertible {
  public var description: String { "Tensor(\(dtype), \(shape), \(device))" }
}
