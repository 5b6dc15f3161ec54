import Foundation
import Pictures

/// An event file that TensorBoard reads: scalars, pictures and texts.
///
/// Each record is its length, a masked CRC-32C of that, an `Event` message, and a masked CRC-32C of it.
/// A run that goes on writes a new file into the same folder; ``rewind(to:)`` says in it that whatever
/// came after a step is void, and TensorBoard drops that.
public final class TensorBoardLog: TrainingLog {
  /// The event file.
  public let path: String
  private let file: FileHandle
  private let clock: () -> Double

  /// Begins an event file in a folder, which is made where it is missing.
  ///
  /// - Throws: ``TrainingError`` if that cannot be written to.
  public convenience init(folder: String) throws {
    let host = ProcessInfo.processInfo.hostName
    try self.init(
      folder: folder, host: host, process: ProcessInfo.processInfo.processIdentifier,
      clock: { Date().timeIntervalSince1970 })
  }

  init(folder: String, host: String, process: Int32, clock: @escaping () -> Double) throws {
    self.clock = clock
    let manager = FileManager.default
    let start = "\(folder)/events.out.tfevents.\(Int(clock())).\(host).\(process)"
    // Two runs of one process within a second must not share a file.
    let number = (0...).first { !manager.fileExists(atPath: "\(start).\($0)") }!
    path = "\(start).\(number)"
    do {
      try manager.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try Data().write(to: URL(filePath: path))
      file = try FileHandle(forWritingTo: URL(filePath: path))
    } catch {
      throw Self.failure(path, error)
    }
    try write { $0.add(3, "brain.Event:2") }
  }

  deinit { try? file.close() }

  public func record(_ scalars: [String: Double], step: Int) throws {
    try writeSummary(step) { summary in
      for (name, value) in scalars.sorted(by: { $0.key < $1.key }) {
        summary.add(1) { entry in
          entry.add(1, name)
          entry.add(2, Float(value))
        }
      }
    }
  }

  /// Keeps a picture, such as a grid of samples.
  public func record(_ picture: Picture, name: String, step: Int) throws {
    let png = try picture.encoded(as: .png)
    try writeSummary(step) { summary in
      summary.add(1) { entry in
        entry.add(1, name)
        entry.add(4) { image in
          image.add(1, Int64(picture.height))
          image.add(2, Int64(picture.width))
          image.add(3, Int64(3))  // red, green, blue
          image.add(4, png)
        }
      }
    }
  }

  /// Keeps a text, which TensorBoard shows as Markdown: the settings of a run.
  public func record(text: String, name: String, step: Int) throws {
    try writeSummary(step) { summary in
      summary.add(1) { entry in
        entry.add(1, name)
        entry.add(9) { metadata in metadata.add(1) { $0.add(1, "text") } }
        entry.add(8) { tensor in
          tensor.add(1, Int64(7))  // DT_STRING
          tensor.add(2) { shape in shape.add(2) { $0.add(1, Int64(1)) } }
          tensor.add(8, text)
        }
      }
    }
  }

  public func flush() throws {
    do { try file.synchronize() } catch { throw Self.failure(path, error) }
  }

  public func rewind(to step: Int) throws {
    try write { event in
      event.add(2, Int64(step + 1))
      event.add(7) { $0.add(1, Int64(1)) }  // SessionLog.START
    }
  }

  private func writeSummary(_ step: Int, _ fill: (inout WireMessage) -> Void) throws {
    try write { event in
      event.add(2, Int64(step))
      event.add(5, fill)
    }
  }

  private func write(_ fill: (inout WireMessage) -> Void) throws {
    var event = WireMessage()
    event.add(1, clock())
    fill(&event)
    do { try file.write(contentsOf: Data(Self.record(event.bytes))) } catch {
      throw Self.failure(path, error)
    }
  }

  static func record(_ event: [UInt8]) -> [UInt8] {
    func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    let length = littleEndian(UInt64(event.count))
    return length + littleEndian(CRC32C.masked(length)) + event
      + littleEndian(CRC32C.masked(event))
  }

  private static func failure(_ path: String, _ error: any Error) -> TrainingError {
    let reason = (error as NSError).localizedFailureReason ?? error.localizedDescription
    return TrainingError(
      .file, "\(path) cannot be written (\(reason)); make room or choose another folder")
  }
}
