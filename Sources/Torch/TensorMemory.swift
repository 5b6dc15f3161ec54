import CTorch

extension Tensor {
  // MARK: Creation

  /// A tensor whose elements are not set.
  public static func empty(
    _ shape: [Int], dtype: DType = .float32, device: Device = .cpu
  ) -> Tensor {
    make("empty") { $0.empty(shape.c, shape.count, dtype.c, device.c, &$1) }
  }

  public static func full(
    _ shape: [Int], _ value: Double, dtype: DType = .float32, device: Device = .cpu
  ) -> Tensor {
    make("full") { $0.full(shape.c, shape.count, value, dtype.c, device.c, &$1) }
  }

  public static func zeros(
    _ shape: [Int], dtype: DType = .float32, device: Device = .cpu
  ) -> Tensor {
    full(shape, 0, dtype: dtype, device: device)
  }

  public static func ones(
    _ shape: [Int], dtype: DType = .float32, device: Device = .cpu
  ) -> Tensor {
    full(shape, 1, dtype: dtype, device: device)
  }

  /// 0, 1, … count − 1.
  public static func arange(
    _ count: Int, dtype: DType = .int64, device: Device = .cpu
  ) -> Tensor {
    make("arange") { $0.arange(0, Double(count), 1, dtype.c, device.c, &$1) }
  }

  /// Standard normal numbers in float32, the same for the same seed.
  public static func randn(_ shape: [Int], seed: UInt64) -> Tensor {
    make("randn") { $0.randn(shape.c, shape.count, seed, &$1) }
  }

  /// A tensor with a copy of `elements`.
  public static func of<Element: TensorElement>(
    _ elements: [Element], shape: [Int]? = nil, device: Device = .cpu
  ) -> Tensor {
    let shape = shape ?? [elements.count]
    precondition(shape.reduce(1, *) == elements.count, "\(elements.count) elements as \(shape)")
    return elements.withUnsafeBytes { bytes in
      Tensor.viewing(bytes, shape: shape, dtype: Element.dtype)
        .to(Element.dtype, device: device, copy: true)
    }
  }

  /// A tensor over memory that the caller keeps alive and unchanged.
  static func viewing(
    _ bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType
  ) -> Tensor {
    make("from_memory") {
      $0.from_memory(
        UnsafeMutableRawPointer(mutating: bytes.baseAddress), shape.c, nil, shape.count, dtype.c,
        nil, nil, &$1)
    }
  }

  /// A tensor over foreign memory, which `owner` keeps alive; nothing is copied.
  ///
  /// - Parameter strides: In elements; nil for contiguous elements.
  public static func viewing(
    _ bytes: UnsafeRawBufferPointer, shape: [Int], strides: [Int]? = nil, dtype: DType,
    keeping owner: AnyObject
  ) -> Tensor {
    let context = Unmanaged.passRetained(owner).toOpaque()
    return make("from_memory") {
      $0.from_memory(
        UnsafeMutableRawPointer(mutating: bytes.baseAddress), shape.c, strides?.c, shape.count,
        dtype.c, { Unmanaged<AnyObject>.fromOpaque($0!).release() }, context, &$1)
    }
  }

  // MARK: Reading

  /// The elements, converted to `Element` and brought to the CPU.
  ///
  /// - Throws: ``TorchError`` where the device fails or memory is short.
  public func elements<Element: TensorElement>(
    as type: Element.Type = Element.self
  ) throws(TorchError) -> [Element] {
    let source = dtype == Element.dtype ? self : to(Element.dtype)
    try ErrorScope.rethrow()
    let count = source.count
    var message: CMessage = nil
    let elements = [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
      message = LibTorch.table.pointee.read(
        source.handle, buffer.baseAddress, count * MemoryLayout<Element>.stride)
      initialized = message == nil ? count : 0
    }
    if let message { throw TorchError(operation: "read", message: takeString(message)) }
    return elements
  }

  /// The bytes of the elements, in row-major order.
  public func bytes() throws(TorchError) -> [UInt8] {
    try ErrorScope.rethrow()
    let size = count * dtype.byteCount
    var message: CMessage = nil
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
      message = LibTorch.table.pointee.read(handle, buffer.baseAddress, size)
      initialized = message == nil ? size : 0
    }
    if let message { throw TorchError(operation: "read", message: takeString(message)) }
    return bytes
  }

  /// The only element.
  public func item() throws(TorchError) -> Double {
    try ErrorScope.rethrow()
    return try attempt("item", 0.0) { $0.item(handle, &$1) }
  }

  // MARK: Conversion

  public func to(_ dtype: DType, device: Device? = nil, copy: Bool = false) -> Tensor {
    let device = device ?? self.device
    return make("to", [self]) { $0.to(handle, dtype.c, device.c, copy, &$1) }
  }

  public func to(_ device: Device) -> Tensor { to(dtype, device: device) }

  /// The same elements in row-major order; itself where they are.
  public func contiguous() -> Tensor {
    make("contiguous", [self]) { $0.contiguous(handle, false, &$1) }
  }

  /// `[B, C, H, W]` laid out in memory as `[B, H, W, C]`.
  public func channelsLast() -> Tensor {
    make("contiguous", [self]) { $0.contiguous(handle, true, &$1) }
  }

  public func clone() -> Tensor { make("clone", [self]) { $0.clone(handle, &$1) } }

  /// Overwrites the elements with those of `source`, converted and broadcast.
  ///
  /// - Parameter nonBlocking: does not wait for the GPU. `source` may be forgotten at once, but if it lies in pinned memory it
  ///   must not be changed before the GPU has read it.
  public func copyInPlace(from source: Tensor, nonBlocking: Bool = false) {
    perform("copy", [self, source]) { $0.copy_into(handle, source.handle, nonBlocking) }
  }

  public func fillInPlace(_ value: Double) { perform("fill", [self]) { $0.fill(handle, value) } }
}

extension [Int] {
  /// As the shim takes it.
  var c: [Int64] { map(Int64.init) }
}
