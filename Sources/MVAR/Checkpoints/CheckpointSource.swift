import CheckpointFormats
import Torch

/// The parameters of a model in a checkpoint, read through a memory mapping.
public final class CheckpointSource: ParameterSource {
  /// The checkpoint's path, for messages.
  public let file: String
  private let tensors: [String: StoredTensor]
  private var mappings: [String: MappedFile] = [:]
  /// In the file's order.
  public let names: [String]?

  public init(file: String, tensors: [StoredTensor]) {
    self.file = file
    self.tensors = Dictionary(
      tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    names = tensors.map(\.name)
  }

  public func shape(of name: String, expected: [Int]) -> [Int]? { tensors[name]?.shape }

  public func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    // What was saved as a view may lie in another order, which a copy keeps; kernels go by the address alone.
    try read(tensors[name]!) { stored in
      try withTorchErrors { stored.to(dtype, device: device, copy: true).contiguous() }
    }
  }

  /// Lends a stored tensor to `body` as it lies in the file; afterwards its pages are let go.
  public func read<R>(_ stored: StoredTensor, _ body: (Tensor) throws -> R) throws -> R {
    let mapping = try mapping(stored.storage.file)
    let storage = stored.storage
    let size = stored.elementType.byteCount
    defer {
      if let range = stored.contiguousBytes {
        mapping.release(at: range.offset, count: range.count)
      }
    }
    let skipped = stored.storageOffset * size
    var bytes = try mapping.bytes(
      at: storage.offset + skipped, count: max(storage.count - skipped, 0))
    // A file may put a tensor at any byte, but a processor wants elements at multiples of their size.
    let misaligned = UInt(bitPattern: bytes.baseAddress) % UInt(size) != 0
    let aligned = misaligned ? AlignedCopy(bytes) : nil
    if let aligned { bytes = UnsafeRawBufferPointer(aligned.bytes) }
    return try withExtendedLifetime(aligned) {
      try body(
        .viewing(
          bytes, shape: stored.shape, strides: stored.strides, dtype: DType(stored.elementType),
          keeping: mapping))
    }
  }

  private func mapping(_ path: String) throws -> MappedFile {
    if let mapping = mappings[path] { return mapping }
    let mapping = try MappedFile(path)
    mappings[path] = mapping
    return mapping
  }
}

private final class AlignedCopy {
  let bytes: UnsafeMutableRawBufferPointer

  init(_ source: UnsafeRawBufferPointer) {
    bytes = .allocate(byteCount: source.count, alignment: 64)
    bytes.copyMemory(from: source)
  }

  deinit { bytes.deallocate() }
}

extension DType {
  init(_ type: ElementType) {
    self =
      switch type {
      case .bool: .bool
      case .uint8: .uint8
      case .int8: .int8
      case .int16: .int16
      case .int32: .int32
      case .int64: .int64
      case .float16: .float16
      case .bfloat16: .bfloat16
      case .float32: .float32
      case .float64: .float64
      }
  }
}

extension ElementType {
  init(_ dtype: DType) {
    self =
      switch dtype {
      case .bool: .bool
      case .uint8: .uint8
      case .int8: .int8
      case .int16: .int16
      case .int32: .int32
      case .int64: .int64
      case .float16: .float16
      case .bfloat16: .bfloat16
      case .float32: .float32
      case .float64: .float64
      }
  }
}
