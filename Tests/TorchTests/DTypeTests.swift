import Testing
import Torch

@Suite struct DTypeTests {
  init() throws { try LibTorch.load() }

  /// libtorch refuses to read a tensor into a number of bytes that is not its own.
  @Test(arguments: DType.allCases) func sizesAreLibtorchs(_ dtype: DType) throws {
    let tensor = Tensor.ones([3], dtype: dtype)
    #expect(tensor.dtype == dtype)
    #expect(try tensor.bytes().count == 3 * dtype.byteCount)
    #expect(try tensor.sum(0).to(.float64).item() == 3)
  }

  /// How the number 1 looks in memory, lowest byte first.
  @Test(
    arguments: [
      (DType.uint8, [1]), (.int8, [1]), (.bool, [1]), (.int16, [1, 0]), (.int32, [1, 0, 0, 0]),
      (.int64, [1, 0, 0, 0, 0, 0, 0, 0]), (.float16, [0x00, 0x3C]), (.bfloat16, [0x80, 0x3F]),
      (.float32, [0, 0, 0x80, 0x3F]), (.float64, [0, 0, 0, 0, 0, 0, 0xF0, 0x3F]),
    ] as [(DType, [UInt8])])
  func one(_ dtype: DType, _ bytes: [UInt8]) throws {
    #expect(try Tensor.ones([1], dtype: dtype).bytes() == bytes)
  }

  /// 1 + 2⁻⁹ needs ten bits.
  @Test(arguments: [
    (DType.float64, true), (.float32, true), (.float16, true), (.bfloat16, false), (.int32, false),
  ])
  func keepsFractions(_ dtype: DType, _ keeps: Bool) throws {
    let value = 1 + 0x1p-9
    #expect(try Tensor.full([1], value, dtype: .float64).to(dtype).item() == (keeps ? value : 1))
    #expect(dtype.isFloatingPoint == (dtype != .int32))
  }
}
