import Foundation

extension PictureDataSet {
  /// Whether pictures need labels.
  public enum Labels: Sendable {
    case wanted
    /// Every picture below a folder counts, wherever it lies.
    case ignored
  }

  /// Finds the pictures of a path, whatever form they are kept in:
  ///
  /// - a folder of folders, one for each class, which gives the class its name;
  /// - a folder with one `.csv` table of files and classes, or that table itself;
  /// - tar files (PAX, ustar or GNU) with WebDataset's names, `key.jpg` beside `key.cls`, `key.json` or
  ///   `key.txt`: one file, or a folder of them.
  ///
  /// A file `classes.txt` beside a table or the shards, one name a line, gives numbered classes their
  /// names and order.
  ///
  /// - Parameter split: Only rows of a table whose column `split` says this.
  /// - Throws: ``TrainingError`` of kind `data` that names the file and what to do: no pictures, class
  ///   folders and loose pictures mixed, an empty class folder, a row without a file.
  public init(_ path: String, labels: Labels = .wanted, split: String? = nil) throws(TrainingError)
  {
    let path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    let found: PictureDataSet
    switch path.ending {
    case "tar" where !FolderListing.isFolder(path):
      found = try .shards([path], path: path, folder: path.parent, labels)
    case "csv" where !FolderListing.isFolder(path):
      found = try .table(path, labels, split: split)
    default:
      found = try .folder(path, labels, split: split)
    }
    if found.entries.isEmpty {
      let which = split.map { " of the split \($0)" } ?? ""
      throw .data(
        path, "there are no pictures\(which) in it",
        mend: "put PNG, JPEG or WebP files into it, one folder for each class")
    }
    self = labels == .ignored ? found.unlabelled() : found
  }

  /// Whether two paths mean the same data, however they are written: from here or from the root, with a
  /// slash at the end, a table or the folder that it lies in.
  public static func isSame(_ path: String, as other: String) -> Bool {
    func resolved(_ path: String) -> String {
      let whole = URL(filePath: path).resolvingSymlinksInPath().standardizedFileURL.path
      let tables = (try? FolderListing(whole))?.files.filter { $0.ending == "csv" } ?? []
      return tables.count == 1 ? "\(whole)/\(tables[0])" : whole
    }
    return path == other || resolved(path) == resolved(other)
  }

  private func unlabelled() -> PictureDataSet {
    PictureDataSet(
      path: path, entries: entries.map { Entry($0.location, label: 0) }, classNames: [],
      root: root)
  }

  private static func folder(_ path: String, _ labels: Labels, split: String?) throws(TrainingError)
    -> PictureDataSet
  {
    let listing = try FolderListing(path)
    let shards = listing.files.filter { $0.ending == "tar" }
    let tables = listing.files.filter { $0.ending == "csv" }
    let loose = listing.files.filter(\.namesPicture)
    if let compressed = listing.files.first(where: {
      ["gz", "tgz", "zst", "xz"].contains($0.ending)
    }),
      shards.isEmpty, loose.isEmpty, listing.folders.isEmpty
    {
      throw .data(
        "\(path)/\(compressed)", "a compressed archive cannot be read in any order",
        mend: "unpack it to a .tar or a folder")
    }
    if tables.count == 1 && (labels == .wanted || split != nil) {
      return try table("\(path)/\(tables[0])", labels, split: split)
    }
    if let split {
      throw .data(
        path, "has \(tables.count) tables, so there is no split \(split)",
        mend: "put one .csv with a column split into it, or name the table")
    }
    if !shards.isEmpty {
      let others = loose.first ?? listing.folders.first
      if let others {
        throw .data(
          path, "has \(shards.count) tar files and also \(others)", mend: "keep one kind in it")
      }
      return try .shards(shards.map { "\(path)/\($0)" }, path: path, folder: path, labels)
    }
    if case .ignored = labels { return try anything(path) }
    return try classes(path, listing.folders, loose: loose)
  }

  /// Every picture below a folder.
  private static func anything(_ path: String) throws(TrainingError) -> PictureDataSet {
    let files = try FolderListing.allFiles(below: path).filter(\.namesPicture)
    return PictureDataSet(
      path: path, entries: files.map { Entry(.file("\(path)/\($0)"), label: 0) }, classNames: [])
  }

  /// A folder for each class.
  private static func classes(_ path: String, _ folders: [String], loose: [String])
    throws(TrainingError) -> PictureDataSet
  {
    if let first = loose.first {
      throw .data(
        path,
        folders.isEmpty
          ? "its \(loose.count) pictures have no classes"
          : "has \(loose.count) pictures, such as \(first), beside its \(folders.count) class folders",
        mend: "move each picture into a folder named for its class, or add a table labels.csv with "
          + "a line \"file,class\" for each")
    }
    var entries: [Entry] = []
    for (label, folder) in folders.enumerated() {
      let files = try FolderListing.allFiles(below: "\(path)/\(folder)").filter(\.namesPicture)
      if files.isEmpty {
        throw .data(
          "\(path)/\(folder)", "this class has no pictures",
          mend: "put some in or remove the folder")
      }
      entries += files.map { Entry(.file("\(path)/\(folder)/\($0)"), label: label) }
    }
    return PictureDataSet(path: path, entries: entries, classNames: folders)
  }

  /// Files relative to the table's own folder; rows without a class only where labels are ignored.
  private static func table(_ path: String, _ labels: Labels, split: String?)
    throws(TrainingError) -> PictureDataSet
  {
    let rows = try LabelTable(path).rows
    let folder = path.parent
    let classes =
      labels == .wanted
      ? try classList(beside: folder, rows.map(\.name).filter { !$0.isEmpty }, path) : nil
    var entries: [Entry] = []
    entries.reserveCapacity(rows.count)
    for row in rows where split == nil || row.split == split {
      if classes != nil, row.name.isEmpty { continue }
      guard let label = classes.map({ $0.label(row.name) }) ?? 0 else {
        throw .data(
          path, "line \(row.line) has the class \(row.name), which classes.txt lacks",
          mend: "add it there")
      }
      let file = row.file.hasPrefix("/") ? row.file : "\(folder)/\(row.file)"
      entries.append(Entry(.file(file), label: label))
    }
    return PictureDataSet(
      path: path, entries: entries, classNames: classes?.names ?? [], root: folder)
  }

  private static func shards(
    _ shards: [String], path: String, folder: String, _ labels: Labels
  ) throws(TrainingError) -> PictureDataSet {
    var members: [TarShard.Labelled] = []
    for shard in shards { members += try TarShard(shard).pictures(labelled: labels == .wanted) }
    let classes =
      labels == .wanted ? try classList(beside: folder, members.map(\.label), path) : nil
    var entries: [Entry] = []
    entries.reserveCapacity(members.count)
    for member in members {
      guard let label = classes.map({ $0.label(member.label) }) ?? 0 else {
        throw .data(
          member.location.name, "has the class \(member.label), which classes.txt lacks",
          mend: "add it there")
      }
      entries.append(Entry(member.location, label: label))
    }
    return PictureDataSet(path: path, entries: entries, classNames: classes?.names ?? [])
  }

  private static func classList(beside folder: String, _ labels: [String], _ path: String)
    throws(TrainingError) -> ClassList
  {
    let listing = try FolderListing(folder)
    return listing.files.contains("classes.txt")
      ? try ClassList(contentsOf: "\(folder)/classes.txt") : try ClassList(of: labels, in: path)
  }
}

extension String {
  /// The folder that a path lies in.
  var parent: String {
    guard let slash = lastIndex(of: "/") else { return "." }
    return slash == startIndex ? "/" : String(self[..<slash])
  }
}
