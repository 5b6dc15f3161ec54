import ArgumentParser
import ClassNames
import MVAR

/// Which pictures to draw.
struct SelectionFlags: ParsableArguments {
  @Option(
    name: .customLong("class"), parsing: .unconditionalSingleValue,
    help: "Classes, as above; may be given several times. (default: random)")
  var classes: [String] = []

  @Option(parsing: .unconditional, help: "Pictures of each class.")
  var count = 1

  @Option(
    parsing: .unconditional,
    help: "The first picture's seed; random classes depend on it too.")
  var seed: UInt64 = 0

  func validate() throws {
    try checkPositive(count, "count")
  }

  /// The pictures, class by class.
  ///
  /// - Parameter model: The model that has the classes.
  /// - Throws: ``UsageError`` for text that is no selection, and `ClassSelectionError` for classes that
  ///   this model has not.
  func jobs(of model: TransformerConfiguration) throws -> [SampleJob] {
    let labels = ClassLabels(classes: model.classes, names: model.classNames)
    let text = classes.isEmpty ? "random" : classes.joined(separator: ",")
    let selected: [Int]
    do {
      selected = try ClassSelection.parse(text, labels: labels, seed: seed)
    } catch {
      throw error.isAboutText ? UsageError(error.description) : error
    }
    guard selected.count.multipliedReportingOverflow(by: count).partialValue <= Self.limit,
      !selected.count.multipliedReportingOverflow(by: count).overflow
    else {
      throw UsageError(
        "count is \(count), which makes more than \(Self.limit) pictures; draw them in several runs"
      )
    }
    let drawn = selected.flatMap { Array(repeating: $0, count: count) }
    return drawn.enumerated().map { index, label in
      SampleJob(
        index: index, label: label, name: labels.name(of: label), seed: seed &+ UInt64(index))
    }
  }

  private static let limit = 10_000_000
}

/// One picture to be drawn.
struct SampleJob {
  /// Among all pictures of the run.
  let index: Int
  let label: Int
  /// The class's name, where it has one.
  let name: String?
  let seed: UInt64

  var request: ImageRequest { ImageRequest(label: label, seed: seed) }

  /// The beginning of its file's name.
  var stem: String {
    let number = String(index)
    let zeros = String(repeating: "0", count: max(4 - number.count, 0))
    return "\(zeros)\(number)-class\(label)-seed\(seed)"
  }
}

extension ClassSelectionError {
  /// Whether the text is wrong for every model.
  var isAboutText: Bool {
    switch self {
    case .empty, .emptyItem, .malformedNumber, .reversedRange: true
    case .noClasses, .outOfRange, .randomCount, .tooMany, .namesUnknown, .unknownName, .ambiguous:
      false
    }
  }
}
