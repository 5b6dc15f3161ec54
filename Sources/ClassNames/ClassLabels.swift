/// The classes of a model and, where they are known, their names.
public struct ClassLabels: Sendable {
  /// ImageNet's 1000 classes.
  public static let imageNet = ClassLabels(named: ImageNetNames.all())

  /// How many classes there are; they are numbered from 0.
  public let count: Int

  /// The names of each class, or nothing at all.
  private let names: [[String]]
  /// The classes that bear a name, by ``NameKey``.
  private let classes: [String: [Int]]

  /// Classes without names.
  public init(unnamed count: Int) {
    self.count = max(0, count)
    self.names = []
    self.classes = [:]
  }

  /// The classes of a model that has so many: by the names that it brings, ImageNet's if there are 1000, and else
  /// without any.
  public init(classes count: Int, names: [String]? = nil) {
    if let names, names.count == count {
      self.init(named: names.map { [$0] })
    } else {
      self = count == Self.imageNet.count ? .imageNet : ClassLabels(unnamed: count)
    }
  }

  private init(named names: [[String]]) {
    var classes: [String: [Int]] = [:]
    for (number, names) in names.enumerated() {
      // Two spellings of one name are one key.
      for key in Set(names.map(nameKey)) { classes[key, default: []].append(number) }
    }
    self.count = names.count
    self.names = names
    self.classes = classes
  }
}

extension ClassLabels {
  /// Whether the classes have names.
  public var hasNames: Bool { !names.isEmpty }

  /// All names of a class, the usual one first; none if the class has no name or does not exist.
  public func names(of number: Int) -> [String] {
    names.indices.contains(number) ? names[number] : []
  }

  /// The usual name of a class, or nil if it has none or does not exist.
  public func name(of number: Int) -> String? {
    names(of: number).first
  }

  /// The classes that bear a name, in ascending order; usually one.
  ///
  /// Upper and lower case, hyphens, underscores and spaces, apostrophes and full stops make no difference.
  public func classes(named name: String) -> [Int] {
    classes[nameKey(name)] ?? []
  }
}

/// A name in the form in which names are compared: words in lower case, one space between them.
func nameKey(_ name: String) -> String {
  name.lowercased()
    .filter { !"'’.".contains($0) }
    .split { $0 == "-" || $0 == "_" || $0.isWhitespace }
    .joined(separator: " ")
}
