/// The sizes of the token maps of an image, coarse to fine (VAR, arXiv 2404.02905, section 3.2).
public struct ScaleSchedule: Sendable, Hashable {
  /// The size of one token map.
  public struct Size: Sendable, Hashable {
    public let height: Int
    public let width: Int

    public init(_ height: Int, _ width: Int) { (self.height, self.width) = (height, width) }

    /// Tokens of the map.
    public var count: Int { height * width }
  }

  public let sizes: [Size]

  /// The longest side of a map; the largest published one is 32.
  private static let longest = 4096

  /// - Throws: ``MVARError`` for an empty schedule, and for sides below 1 or above 4096.
  public init(_ sizes: [Size]) throws(MVARError) {
    let sides = 1...Self.longest
    guard !sizes.isEmpty,
      sizes.allSatisfy({ sides.contains($0.height) && sides.contains($0.width) })
    else {
      throw MVARError.invalidValue(
        "scales", "\(sizes.map { "\($0.height)x\($0.width)" }.joined(separator: ","))",
        mend: "name sizes from 1 to \(Self.longest), coarse to fine, such as 1,2,3,4")
    }
    self.sizes = sizes
  }

  /// Square maps.
  public init(squares: [Int]) throws(MVARError) {
    try self.init(squares.map { Size($0, $0) })
  }

  /// Reads "1,2,3" or, for maps that are not square, "1x1,2x3,4x6" (height x width).
  public init(parsing text: String) throws(MVARError) {
    var sizes: [Size] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let lengths = part.split(separator: "x", omittingEmptySubsequences: false)
        .map { Int($0.split(separator: " ").joined(separator: " ")) }
      guard let height = lengths.first ?? nil, let width = lengths.last ?? nil, lengths.count <= 2
      else {
        throw MVARError.invalidValue(
          "scales", text, mend: "write sizes with commas, such as 1,2,3,4 or 1x1,2x3")
      }
      sizes.append(Size(height, width))
    }
    try self.init(sizes)
  }

  /// The published schedule for 256 × 256 px.
  public static let px256 = try! ScaleSchedule(squares: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
  /// The published schedule for 512 × 512 px.
  public static let px512 = try! ScaleSchedule(squares: [1, 2, 3, 4, 6, 9, 13, 18, 24, 32])

  /// The number of scales, K.
  public var count: Int { sizes.count }
  /// All tokens of an image, L.
  public var tokenCount: Int { sizes.reduce(0) { $0 + $1.count } }
  /// The finest map.
  public var final: Size { sizes[count - 1] }

  /// Where each scale's tokens stand in the sequence of all.
  public var ranges: [Range<Int>] {
    var start = 0
    return sizes.map { size in
      defer { start += size.count }
      return start..<start + size.count
    }
  }
}

extension ScaleSchedule: CustomStringConvertible {
  /// As ``init(parsing:)`` reads it.
  public var description: String {
    sizes.map { $0.height == $0.width ? "\($0.height)" : "\($0.height)x\($0.width)" }
      .joined(separator: ",")
  }
}
