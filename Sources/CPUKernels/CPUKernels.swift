/// The type of the numbers that a kernel reads and writes.
public enum KernelType: Sendable {
  case float32
  case bfloat16
}

/// Rows of a tensor `[B, L, C]` in memory, which may be a part of wider rows. Distances count elements.
public struct Rows: @unchecked Sendable {
  let base: UnsafeMutableRawPointer
  let batchStride: Int
  let rowStride: Int

  /// - Parameters:
  ///   - base: The first row's first element; the others of a row follow it.
  ///   - batchStride: From one sequence to the next.
  ///   - rowStride: From one row to the next.
  public init(_ base: UnsafeMutableRawPointer, batchStride: Int, rowStride: Int) {
    (self.base, self.batchStride, self.rowStride) = (base, batchStride, rowStride)
  }

  @inline(__always)
  func row<E: Element>(_ b: Int, _ l: Int, of type: E.Type) -> UnsafeMutablePointer<E> {
    base.assumingMemoryBound(to: E.self) + (b &* batchStride &+ l &* rowStride)
  }
}

typealias Numbers = UnsafePointer<Float>
typealias MutableNumbers = UnsafeMutablePointer<Float>
