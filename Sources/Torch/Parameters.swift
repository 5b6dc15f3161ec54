/// Where a model's parameters come from: a checkpoint, or a random source.
public protocol ParameterSource: AnyObject {
  /// The names of all parameters, or nil where any name will do.
  var names: [String]? { get }

  /// The shape of a parameter, or nil if there is none of that name. A source that accepts any name
  /// answers with `expected`.
  func shape(of name: String, expected: [Int]) -> [Int]?

  /// A parameter in the wanted type on the wanted device, in memory of its own.
  ///
  /// - Throws: Where it cannot be read.
  func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor
}

/// A place in the tree of a model's parameters, from which a module takes its tensors by the names
/// that the published checkpoints use.
///
///     let mamba = Mamba2(parameters / "blocks" / 3 / "mamba", width: 1024)
///
/// Nothing throws while modules are built: what is missing or misshapen is noted, a placeholder
/// stands in for it, and ``finish(ignoring:)`` reports it all at once.
public struct Parameters {
  private let ledger: Ledger
  /// The dotted name of this place; empty at the root.
  public let path: String

  /// - Parameter dtype: What ``tensor(_:_:dtype:)`` gives unless told otherwise.
  /// - Parameter purpose: What the modules will do with the tensors.
  public init(
    _ source: any ParameterSource, dtype: DType, device: Device, purpose: Purpose = .inference
  ) {
    ledger = Ledger(source: source, dtype: dtype, device: device, purpose: purpose)
    path = ""
  }

  private init(ledger: Ledger, path: String) {
    self.ledger = ledger
    self.path = path
  }

  /// Whether modules may keep weights in a form that only inference can use.
  public enum Purpose: Sendable {
    case inference
    case training
  }

  public var dtype: DType { ledger.dtype }
  public var device: Device { ledger.device }
  public var purpose: Purpose { ledger.purpose }

  public static func / (scope: Parameters, name: String) -> Parameters {
    Parameters(ledger: scope.ledger, path: scope.fullName(name))
  }

  public static func / (scope: Parameters, index: Int) -> Parameters { scope / String(index) }

  /// Whether there is a parameter of this name.
  public func has(_ name: String) -> Bool { shape(of: name) != nil }

  /// The shape that the source has for a name.
  public func shape(of name: String) -> [Int]? {
    ledger.source.names == nil ? nil : ledger.source.shape(of: fullName(name), expected: [])
  }

  /// Takes a parameter; a placeholder of zeros where it is missing, misshapen or unreadable.
  ///
  /// - Parameter dtype: Instead of the scope's.
  public func tensor(_ name: String, _ shape: Int..., dtype: DType? = nil) -> Tensor {
    ledger.take(fullName(name), shape: shape, dtype: dtype ?? ledger.dtype)
  }

  /// Marks a parameter as known though no module takes it: masks and indices that code computes.
  public func skip(_ name: String) { ledger.taken.insert(fullName(name)) }

  /// Ends the building of a model.
  ///
  /// - Parameter ignoring: Tells which names no module has to take.
  /// - Throws: ``ParameterReport`` if anything did not fit, or what the source threw.
  public func finish(ignoring: (String) -> Bool = { _ in false }) throws {
    if let failure = ledger.failure { throw failure }
    var report = ledger.report
    report.unexpected = (ledger.source.names ?? [])
      .filter { !ledger.taken.contains($0) && !ignoring($0) }
    if !report.isEmpty { throw report }
  }

  private func fullName(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
}

/// What did not fit between a model and the source of its parameters.
public struct ParameterReport: Error, Equatable, CustomStringConvertible {
  public struct Misshapen: Equatable, Sendable {
    public let name: String
    public let found: [Int]
    public let expected: [Int]
  }

  public var missing: [String] = []
  public var misshapen: [Misshapen] = []
  public var unexpected: [String] = []

  public var isEmpty: Bool { missing.isEmpty && misshapen.isEmpty && unexpected.isEmpty }

  /// One line; long lists are cut.
  public var description: String {
    [
      Self.list("missing", missing),
      Self.list(
        "misshapen", misshapen.map { "\($0.name) is \($0.found) and should be \($0.expected)" }),
      Self.list("unexpected", unexpected),
    ].compactMap { $0 }.joined(separator: "; ")
  }

  private static func list(_ title: String, _ entries: [String]) -> String? {
    guard !entries.isEmpty else { return nil }
    let more = entries.count > 4 ? " and \(entries.count - 4) more" : ""
    return "\(title): \(entries.prefix(4).joined(separator: ", "))\(more)"
  }
}

private final class Ledger {
  let source: any ParameterSource
  let dtype: DType
  let device: Device
  let purpose: Parameters.Purpose
  var taken: Set<String> = []
  var report = ParameterReport()
  var failure: (any Error)?

  init(
    source: any ParameterSource, dtype: DType, device: Device, purpose: Parameters.Purpose
  ) {
    self.source = source
    self.dtype = dtype
    self.device = device
    self.purpose = purpose
  }

  func take(_ name: String, shape: [Int], dtype: DType) -> Tensor {
    taken.insert(name)
    guard let found = source.shape(of: name, expected: shape) else {
      report.missing.append(name)
      return placeholder(shape, dtype)
    }
    guard found == shape else {
      report.misshapen.append(.init(name: name, found: found, expected: shape))
      return placeholder(shape, dtype)
    }
    guard failure == nil else { return placeholder(shape, dtype) }
    do {
      return try source.tensor(name, shape: shape, dtype: dtype, device: device)
    } catch {
      failure = error
      return placeholder(shape, dtype)
    }
  }

  private func placeholder(_ shape: [Int], _ dtype: DType) -> Tensor {
    Tensor.zeros([1], dtype: dtype, device: device).expand(shape)
  }
}
