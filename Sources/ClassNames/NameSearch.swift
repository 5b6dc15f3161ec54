/// Finds the classes that somebody may have meant by a name that no class bears.
struct NameSearch {
  let labels: ClassLabels

  /// How well a name fits; the smaller the better.
  private typealias Fit = (kind: Int, distance: Int)

  private static let resultLimit = 5
  /// Longer than any name with a few slips in it.
  private static let lengthLimit = 64

  /// The classes with the nearest names, nearest first.
  func nearest(to name: String) -> [(number: Int, name: String)] {
    let wanted = Array(nameKey(name))
    guard !wanted.isEmpty, wanted.count <= Self.lengthLimit else { return [] }
    var found: [(number: Int, name: String, fit: Fit)] = []
    for number in 0..<labels.count {
      let fits = labels.names(of: number).compactMap { name in
        fit(Array(nameKey(name)), wanted).map { (number: number, name: name, fit: $0) }
      }
      if let best = fits.min(by: { $0.fit < $1.fit }) { found.append(best) }
    }
    return found.sorted {
      ($0.fit.kind, $0.fit.distance, $0.number) < ($1.fit.kind, $1.fit.distance, $1.number)
    }
    .prefix(Self.resultLimit).map { ($0.number, $0.name) }
  }

  /// A whole word of the name, then a slip of the pen, then a part of a word; nil if nothing fits.
  private func fit(_ name: [Character], _ wanted: [Character]) -> Fit? {
    let rest = name.count - wanted.count
    if " \(String(name)) ".contains(" \(String(wanted)) ") { return (0, rest) }
    let slips = editDistance(name, wanted)
    if slips <= max(1, wanted.count / 4) { return (1, slips) }
    return wanted.count >= 3 && String(name).contains(String(wanted)) ? (2, rest) : nil
  }
}

/// How many characters must be put in, left out, replaced, or swapped with their neighbour to get from one text to another.
func editDistance(_ first: [Character], _ second: [Character]) -> Int {
  var beforeLast: [Int] = []
  var last = Array(0...second.count)
  for row in first.indices {
    var current = [row + 1]
    for column in second.indices {
      let differs = first[row] == second[column] ? 0 : 1
      var best = min(last[column] + differs, last[column + 1] + 1, current[column] + 1)
      if row > 0, column > 0, first[row] == second[column - 1], first[row - 1] == second[column] {
        best = min(best, beforeLast[column - 1] + 1)
      }
      current.append(best)
    }
    (beforeLast, last) = (last, current)
  }
  return last[second.count]
}
