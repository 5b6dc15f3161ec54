import Foundation

/// A log of one JSON object a line: `{"step":10,"train/loss":8.31,…}`.
///
/// A number that is not finite is written as null. A last line that was cut short, as a crash leaves
/// it, is dropped when the file is opened.
public final class JSONLinesLog: TrainingLog {
  private let path: String
  private var file: FileHandle

  /// Opens a log to add to, or begins one.
  ///
  /// - Throws: ``TrainingError`` if the file cannot be written.
  public init(_ path: String) throws {
    self.path = path
    let whole = try Self.lines(path)
    file = try Self.rewrite(path, whole)
  }

  deinit { try? file.close() }

  public func record(_ scalars: [String: Double], step: Int) throws {
    let members = scalars.sorted { $0.key < $1.key }.map { name, value in
      "\(Self.quoted(name)):\(value.isFinite ? "\(value)" : "null")"
    }
    let line = "{" + (["\"step\":\(step)"] + members).joined(separator: ",") + "}\n"
    do { try file.write(contentsOf: Data(line.utf8)) } catch { throw Self.failure(path, error) }
  }

  public func flush() throws {
    do { try file.synchronize() } catch { throw Self.failure(path, error) }
  }

  public func rewind(to step: Int) throws {
    let kept = try Self.lines(path).filter { (Self.step(of: $0) ?? 0) <= step }
    try file.close()
    file = try Self.rewrite(path, kept)
  }

  /// The lines that end; none where there is no file.
  private static func lines(_ path: String) throws -> [Substring] {
    guard let data = FileManager.default.contents(atPath: path) else { return [] }
    let text = String(decoding: data, as: UTF8.self)
    guard let end = text.lastIndex(of: "\n") else { return [] }
    return text[..<end].split(separator: "\n")
  }

  private static func rewrite(_ path: String, _ lines: [Substring]) throws -> FileHandle {
    do {
      let text = lines.map { $0 + "\n" }.joined()
      try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
      let file = try FileHandle(forWritingTo: URL(filePath: path))
      try file.seekToEnd()
      return file
    } catch {
      throw failure(path, error)
    }
  }

  private static func step(of line: Substring) -> Int? {
    let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
    return object?["step"] as? Int
  }

  private static func quoted(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    let data = try? encoder.encode(text)
    return data.map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
  }

  private static func failure(_ path: String, _ error: any Error) -> TrainingError {
    let reason = (error as NSError).localizedFailureReason ?? error.localizedDescription
    return TrainingError(
      .file, "\(path) cannot be written (\(reason)); make room or choose another folder")
  }
}
