/// Pictures to learn from, with a label each where they have any; nothing is decoded yet.
public struct PictureDataSet: Sendable {
  /// Where a picture's bytes are.
  public enum Location: Sendable, Hashable {
    case file(String)
    /// A range of bytes of a tar file.
    case member(shard: String, name: String, offset: Int, count: Int)

    /// What errors call it.
    public var name: String {
      switch self {
      case .file(let path): path
      case .member(let shard, let name, _, _): "\(shard):\(name)"
      }
    }
  }

  /// One picture.
  public struct Entry: Sendable, Hashable {
    public let location: Location
    /// An index into the class names; 0 where there are none.
    public let label: Int

    public init(_ location: Location, label: Int) {
      (self.location, self.label) = (location, label)
    }
  }

  /// What was named as the data.
  public let path: String
  public let entries: [Entry]
  /// Empty where labels are not wanted.
  public let classNames: [String]
  /// What the entries' names begin with: the path itself, or the folder that a table lies in.
  let root: String

  /// - Parameter root: What the entries' names begin with; nil for the path itself.
  public init(path: String, entries: [Entry], classNames: [String], root: String? = nil) {
    self.path = path
    self.entries = entries
    self.classNames = classNames
    self.root = root ?? path
  }

  public var count: Int { entries.count }

  /// How many pictures each class has.
  public var classCounts: [Int] {
    var counts = [Int](repeating: 0, count: max(classNames.count, 1))
    for entry in entries { counts[entry.label] += 1 }
    return counts
  }

  /// What a user may want to know before a long run.
  public var remarks: [String] {
    guard !classNames.isEmpty else { return [] }
    let counts = classCounts
    let empty = counts.count { $0 == 0 }
    var remarks: [String] = []
    if classNames.count == 1 {
      remarks.append(
        "\(path): all \(count) pictures are of one class, \(classNames[0]); guidance will have "
          + "nothing to tell apart")
    }
    if empty > 0 {
      remarks.append("\(path): \(empty) of \(counts.count) classes have no picture")
    }
    return remarks
  }

  /// Some pictures, with all the class names.
  public func filtered(_ isIncluded: (Entry) -> Bool) -> PictureDataSet {
    PictureDataSet(
      path: path, entries: entries.filter(isIncluded), classNames: classNames, root: root)
  }

  /// An entry's name below the root, its slash (or a tar file's colon) with it: what stays the same
  /// where the data move. A name that does not lie below the root is whole.
  func relativeName(_ entry: Entry) -> Substring {
    let name = entry.location.name
    let rest = name.utf8.dropFirst(root.utf8.count)
    let isBelow = rest.first == UInt8(ascii: "/") || rest.first == UInt8(ascii: ":")
    return isBelow && name.utf8.starts(with: root.utf8) ? Substring(rest) : name[...]
  }

  /// Sets pictures apart to measure on; which ones depends on their names only, so that pictures
  /// added later move none.
  ///
  /// - Parameter share: About how many to hold out, from 0 to below 1.
  public func holdingOut(_ share: Double) -> (training: PictureDataSet, heldOut: PictureDataSet) {
    let bound = UInt64(share * 0x1p32)
    func isHeldOut(_ entry: Entry) -> Bool {
      let hash = relativeName(entry).utf8
        .reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
      // FNV's low bits are the better mixed ones; the multiplication spreads them upwards.
      return (hash &* 0x9E37_79B9_7F4A_7C15) >> 32 < bound
    }
    return (filtered { !isHeldOut($0) }, filtered(isHeldOut))
  }
}

extension TrainingError {
  static func data(_ path: String, _ problem: String, mend: String) -> TrainingError {
    TrainingError(.data, "\(path): \(problem); \(mend)")
  }
}
