import CTorch

extension Tensor {
  public static func + (a: Tensor, b: Tensor) -> Tensor {
    make("add", [a, b]) { $0.add(a.handle, b.handle, 1, &$1) }
  }

  public static func - (a: Tensor, b: Tensor) -> Tensor {
    make("sub", [a, b]) { $0.add(a.handle, b.handle, -1, &$1) }
  }

  public static func * (a: Tensor, b: Tensor) -> Tensor {
    make("mul", [a, b]) { $0.mul(a.handle, b.handle, &$1) }
  }

  public static func / (a: Tensor, b: Tensor) -> Tensor {
    make("div", [a, b]) { $0.div(a.handle, b.handle, &$1) }
  }

  public static func + (a: Tensor, b: Double) -> Tensor {
    make("add", [a]) { $0.add_scalar(a.handle, b, &$1) }
  }

  public static func - (a: Tensor, b: Double) -> Tensor { a + -b }

  public static func * (a: Tensor, b: Double) -> Tensor {
    make("mul", [a]) { $0.mul_scalar(a.handle, b, &$1) }
  }

  public static func * (a: Double, b: Tensor) -> Tensor { b * a }

  public static func / (a: Tensor, b: Double) -> Tensor { a * (1 / b) }

  public static prefix func - (a: Tensor) -> Tensor {
    make("neg", [a]) { $0.neg(a.handle, &$1) }
  }

  /// Binds the name to the sum; the old tensor stays as it is.
  public static func += (a: inout Tensor, b: Tensor) { a = a + b }
  public static func -= (a: inout Tensor, b: Tensor) { a = a - b }
  public static func *= (a: inout Tensor, b: Tensor) { a = a * b }

  public func power(_ exponent: Double) -> Tensor {
    make("pow", [self]) { $0.pow_scalar(handle, exponent, &$1) }
  }

  /// `self + value · a · b`, in one pass.
  public func adding(_ a: Tensor, times b: Tensor, value: Double = 1) -> Tensor {
    make("addcmul", [self, a, b]) { $0.addcmul(handle, a.handle, b.handle, value, &$1) }
  }

  // MARK: In place

  public func addInPlace(_ other: Tensor, scale: Double = 1) {
    perform("add_", [self, other]) { $0.add_in_place(handle, other.handle, scale) }
  }

  public func addInPlace(_ other: Double) {
    perform("add_", [self]) { $0.add_scalar_in_place(handle, other) }
  }

  public func multiplyInPlace(_ other: Tensor) {
    perform("mul_", [self, other]) { $0.mul_in_place(handle, other.handle) }
  }

  public func multiplyInPlace(_ other: Double) {
    perform("mul_", [self]) { $0.mul_scalar_in_place(handle, other) }
  }

  /// `self ← self + value · a · b`, in one pass.
  public func addInPlace(_ a: Tensor, times b: Tensor, value: Double = 1) {
    perform("addcmul_", [self, a, b]) { $0.addcmul_in_place(handle, a.handle, b.handle, value) }
  }

  public func siluInPlace() { perform("silu_", [self]) { $0.silu_in_place(handle) } }

  public func clampInPlace(_ low: Double, _ high: Double) {
    perform("clamp_", [self]) { $0.clamp_in_place(handle, low, high) }
  }

  // MARK: Functions of each element

  public func absolute() -> Tensor { make("abs", [self]) { $0.abs(handle, &$1) } }
  public func exp() -> Tensor { make("exp", [self]) { $0.exp(handle, &$1) } }
  public func log() -> Tensor { make("log", [self]) { $0.log(handle, &$1) } }
  public func reciprocalSquareRoot() -> Tensor { make("rsqrt", [self]) { $0.rsqrt(handle, &$1) } }
  public func sigmoid() -> Tensor { make("sigmoid", [self]) { $0.sigmoid(handle, &$1) } }
  public func silu() -> Tensor { make("silu", [self]) { $0.silu(handle, &$1) } }
  /// GELU in its tanh approximation.
  public func geluTanh() -> Tensor { make("gelu", [self]) { $0.gelu_tanh(handle, &$1) } }
  /// log(1 + exp(x)); x itself above 20.
  public func softplus() -> Tensor { make("softplus", [self]) { $0.softplus(handle, &$1) } }

  public func clamped(_ low: Double, _ high: Double) -> Tensor {
    make("clamp", [self]) { $0.clamp(handle, low, high, &$1) }
  }

  // MARK: Comparison and selection

  public static func .< (a: Tensor, b: Tensor) -> Tensor { a.compared(b, 0) }
  public static func .<= (a: Tensor, b: Tensor) -> Tensor { a.compared(b, 1) }
  public static func .< (a: Tensor, b: Double) -> Tensor { a.compared(b, 0) }
  public static func .<= (a: Tensor, b: Double) -> Tensor { a.compared(b, 1) }
  public static func .== (a: Tensor, b: Tensor) -> Tensor { a.compared(b, 2) }

  private func compared(_ other: Tensor, _ relation: Int32) -> Tensor {
    make("compare", [self, other]) { $0.compare(handle, other.handle, relation, &$1) }
  }

  private func compared(_ other: Double, _ relation: Int32) -> Tensor {
    make("compare", [self]) { $0.compare_scalar(handle, other, relation, &$1) }
  }

  /// `a` where the condition (self, bool) holds, `b` elsewhere.
  public func choosing(_ a: Tensor, else b: Tensor) -> Tensor {
    make("where", [self, a, b]) { $0.where(handle, a.handle, b.handle, &$1) }
  }

  /// `value` where `mask` holds.
  public func filled(where mask: Tensor, with value: Double) -> Tensor {
    make("masked_fill", [self, mask]) { $0.masked_fill(handle, mask.handle, value, &$1) }
  }

  public func gathered(_ axis: Int, _ index: Tensor) -> Tensor {
    make("gather", [self, index]) { $0.gather(handle, Int64(axis), index.handle, &$1) }
  }

  /// A copy in which the elements named by `index` along `axis` are those of `source`.
  public func scattered(_ axis: Int, _ index: Tensor, _ source: Tensor) -> Tensor {
    make("scatter", [self, index, source]) {
      $0.scatter(handle, Int64(axis), index.handle, source.handle, &$1)
    }
  }

  public func indexed(_ axis: Int, _ index: Tensor) -> Tensor {
    make("index_select", [self, index]) { $0.index_select(handle, Int64(axis), index.handle, &$1) }
  }

  /// The `count` largest along an axis, descending.
  public func largest(_ count: Int, axis: Int = -1) -> (values: Tensor, indices: Tensor) {
    pair("topk") { $0.topk(handle, Int64(count), Int64(axis), &$1, &$2) }
  }

  public func sorted(axis: Int = -1, descending: Bool = false) -> (values: Tensor, indices: Tensor)
  {
    pair("sort") { $0.sort(handle, Int64(axis), descending, &$1, &$2) }
  }

  func pair(
    _ operation: StaticString,
    _ body: (borrowing CTorchAPI, inout ct_tensor?, inout ct_tensor?) -> CMessage
  ) -> (values: Tensor, indices: Tensor) {
    var indices: ct_tensor?
    let values = make(operation, [self]) { body($0, &$1, &indices) }
    return (values, indices.map(Tensor.init(owning:)) ?? .placeholder())
  }

  /// In each ascending row `self […, V]`, the index of the first element above `values […, n]`.
  public func insertionIndex(of values: Tensor) -> Tensor {
    make("searchsorted", [self, values]) { $0.searchsorted(handle, values.handle, &$1) }
  }

  // MARK: Reduction

  public func sum(_ axes: Int..., keepingAxes: Bool = false) -> Tensor {
    make("sum", [self]) { $0.sum(handle, axes.c, axes.count, keepingAxes, &$1) }
  }

  public func mean(_ axes: Int..., keepingAxes: Bool = false) -> Tensor {
    make("mean", [self]) { $0.mean(handle, axes.c, axes.count, keepingAxes, &$1) }
  }

  public func max(_ axes: Int..., keepingAxes: Bool = false) -> Tensor {
    make("amax", [self]) { $0.amax(handle, axes.c, axes.count, keepingAxes, &$1) }
  }

  public func min(_ axes: Int..., keepingAxes: Bool = false) -> Tensor {
    make("amin", [self]) { $0.amin(handle, axes.c, axes.count, keepingAxes, &$1) }
  }

  public func argmax(_ axis: Int, keepingAxis: Bool = false) -> Tensor {
    make("argmax", [self]) { $0.argmax(handle, Int64(axis), keepingAxis, &$1) }
  }

  public func argmin(_ axis: Int, keepingAxis: Bool = false) -> Tensor {
    make("argmin", [self]) { $0.argmin(handle, Int64(axis), keepingAxis, &$1) }
  }

  public func cumulativeSum(_ axis: Int) -> Tensor {
    make("cumsum", [self]) { $0.cumsum(handle, Int64(axis), &$1) }
  }

  /// Whether shapes and all elements are equal.
  public func isEqual(to other: Tensor) throws(TorchError) -> Bool {
    try attempt("equal", false) { $0.equal(handle, other.handle, &$1) }
  }
}
