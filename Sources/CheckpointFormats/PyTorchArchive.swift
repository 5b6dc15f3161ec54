/// The tensors of a `.pth` file, as `torch.save` writes it since PyTorch 1.6.
public struct PyTorchArchive: Sendable {
  /// The file that the archive was read from.
  public let file: String
  /// Everything in the file, for values other than tensors.
  public let root: PickleValue
  /// All tensors in the order written, under dotted keys.
  public let tensors: [StoredTensor]
  /// The dotted paths of all dictionaries that hold tensors, outermost first; the whole file is the empty path.
  public let groups: [String]
  /// Which of the tensors lie in each dictionary, one run for each that has the path.
  let places: [String: [Range<Int>]]

  /// Reads the table of contents; no tensor's bytes are read.
  ///
  /// - Parameters:
  ///   - archive: Access to the zip file.
  ///   - file: The file's path, for the tensors and for errors.
  /// - Throws: ``CheckpointFormatError`` if the file is no PyTorch archive, is damaged, holds anything but data, or
  ///   describes a tensor that does not lie in its storage.
  public init(_ archive: some ArchiveReader, file: String) throws(CheckpointFormatError) {
    var records = try ArchiveRecords(archive, file: file)
    try records.checkByteOrder()
    let root = try PickleReader(file: file).read(try records.bytes("data.pkl"))
    var contents = TensorCollector(file: file)
    try contents.collect(root)
    var tensors: [StoredTensor] = []
    for (name, tensor) in contents.tensors {
      tensors.append(try records.locate(tensor, name: name))
    }
    self.file = file
    self.root = root
    self.tensors = tensors
    self.groups = contents.groups
    self.places = contents.places
  }

  /// The tensors of one dictionary, such as `trainer.mvar_wo_ddp`, under their keys in that dictionary.
  ///
  /// - Parameter group: One of ``groups``.
  /// - Throws: ``CheckpointFormatError`` if there is no such dictionary.
  public func tensors(in group: String) throws(CheckpointFormatError) -> [StoredTensor] {
    if group.isEmpty { return tensors }
    guard let places = places[group] else {
      let known = groups.filter { !$0.isEmpty }.prefix(8).map { printable($0) }.joined(
        separator: ", ")
      let mend = known.isEmpty ? "all its tensors are at the top" : "it has \(known)"
      throw CheckpointFormatError(
        .missing, file: file, "no tensors under \(printable(group))", mend: mend)
    }
    // By bytes: a character may join the dot with what follows it.
    let prefix = "\(group).".utf8.count
    return places.flatMap { tensors[$0] }
      .map { $0.renamed(String(Substring($0.name.utf8.dropFirst(prefix)))) }
  }
}
