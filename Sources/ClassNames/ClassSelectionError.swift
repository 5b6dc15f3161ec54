/// Why a selection of classes could not be read: one line that shows the item and says what to write instead.
public enum ClassSelectionError: Error, Equatable {
  /// A class that an error points to.
  public struct Candidate: Sendable, Equatable {
    /// The class.
    public let number: Int
    /// What it is called.
    public let name: String
  }

  /// The model has no classes to choose from.
  case noClasses
  /// The selection has nothing in it.
  case empty
  /// Nothing stands between two commas; positions count from 1.
  case emptyItem(position: Int)
  /// Digits and hyphens that are neither a number nor a range.
  case malformedNumber(String)
  /// A number that no class has.
  case outOfRange(String, classes: Int)
  /// A range whose first number is above its last.
  case reversedRange(String, first: Int, last: Int)
  /// `random:` with something else than a number of classes that there are.
  case randomCount(String, classes: Int)
  /// The selection has too many classes.
  case tooMany(limit: Int)
  /// A name, where the classes have none.
  case namesUnknown(String, classes: Int)
  /// A name that no class bears.
  case unknownName(String, nearest: [Candidate], classes: Int)
  /// A name that several classes bear.
  case ambiguous(String, [Candidate])
}

extension ClassSelectionError: CustomStringConvertible {
  /// The whole message, on one line.
  public var description: String {
    switch self {
    case .noClasses: "the model has no classes to choose from; use a class-conditional checkpoint"
    case .empty: "no class is named; give numbers, ranges or names, such as 207,88-92"
    case .emptyItem(let position):
      "item \(position) of the class list is empty; put one comma between classes, and none at the ends"
    case .malformedNumber(let item):
      "\(quoted(item)) is not a class; give a number or a range such as 88-92, with commas between"
    case .outOfRange(let item, let classes):
      "class \(printable(item)) does not exist; \(numbers(classes))"
    case .reversedRange(let item, let first, let last):
      "the range \(quoted(item)) is reversed; write \(last)-\(first)"
    case .randomCount(let item, let classes):
      "\(quoted(item)) is not a number of classes; write random:1 to random:\(classes)"
    case .tooMany(let limit): "the class list has more than \(limit) classes; name fewer"
    case .namesUnknown(let item, let classes):
      "\(quoted(item)) is a name, but this model's \(classes) classes have no names; \(numbers(classes))"
    case .unknownName(let item, let nearest, let classes):
      "no class is called \(quoted(item)); \(advice(nearest, classes))"
    case .ambiguous(let item, let candidates):
      "\(quoted(item)) is the name of \(candidates.count) classes; give a number: \(list(candidates))"
    }
  }

  private func numbers(_ classes: Int) -> String {
    "give a number in 0...\(classes - 1)"
  }

  private func advice(_ nearest: [Candidate], _ classes: Int) -> String {
    guard nearest.isEmpty else { return "did you mean \(list(nearest))?" }
    let isImageNet = classes == ClassLabels.imageNet.count
    let names = isImageNet ? "an ImageNet name" : "a name of the model's own"
    return "give \(names), or \(numbers(classes).dropFirst("give ".count))"
  }

  private func list(_ candidates: [Candidate]) -> String {
    candidates.map { "\($0.number) (\($0.name))" }.joined(separator: ", ")
  }
}

private func quoted(_ text: String) -> String {
  "\"\(printable(text))\""
}

/// Text from a command line made fit for one line of a message: no line breaks or hidden characters, not too long.
private func printable(_ text: String, limit: Int = 60) -> String {
  var shown = ""
  for scalar in text.unicodeScalars.prefix(limit) {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator:
      shown += "\\u{\(String(scalar.value, radix: 16))}"
    default: shown.unicodeScalars.append(scalar)
    }
  }
  return text.unicodeScalars.dropFirst(limit).isEmpty ? shown : shown + "…"
}
