/// Access to the records of a zip archive, which this module leaves to a library that reads zip files.
public protocol ArchiveReader {
  /// The names of all records, with or without the archive's own folder in front.
  var recordNames: [String] { get }

  /// The bytes of a record.
  ///
  /// - Throws: If there is no such record or it cannot be read.
  func record(_ name: String) throws -> [UInt8]

  /// Where a record's bytes lie in the file, or nil if they are compressed.
  ///
  /// - Throws: If there is no such record or the archive is damaged.
  func location(of name: String) throws -> (offset: Int, count: Int)?
}
