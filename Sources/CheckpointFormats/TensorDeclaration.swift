/// A tensor that is going to be written.
public struct TensorDeclaration: Sendable, Hashable {
  /// The dotted key.
  public let name: String
  /// The type of the elements.
  public let elementType: ElementType
  /// The sizes, outermost first; empty for a single number.
  public let shape: [Int]

  public init(name: String, elementType: ElementType, shape: [Int]) {
    self.name = name
    self.elementType = elementType
    self.shape = shape
  }
}
