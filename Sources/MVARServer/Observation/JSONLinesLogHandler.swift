import Foundation
import Logging

/// Writes each log message as a line of JSON: `time`, `level`, `label`, `message`, and the metadata
/// under `metadata`.
public struct JSONLinesLogHandler: LogHandler {
  public var metadata: Logger.Metadata = [:]
  public var metadataProvider: Logger.MetadataProvider?
  public var logLevel: Logger.Level = .info
  private let label: String
  private let write: @Sendable (String) -> Void

  /// - Parameter write: Takes one line without its end.
  public init(label: String, write: @escaping @Sendable (String) -> Void) {
    self.label = label
    self.write = write
  }

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    var all = metadata
    all.merge(metadataProvider?.get() ?? [:]) { $1 }
    all.merge(event.metadata ?? [:]) { $1 }
    let line = Line(
      time: Date.now.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)),
      level: event.level.rawValue, label: label, message: event.message.description,
      metadata: all.isEmpty ? nil : all.mapValues(Value.init))
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Texts alone are always encodable.
    if let data = try? encoder.encode(line) { write(String(decoding: data, as: UTF8.self)) }
  }

  private struct Line: Encodable {
    let time: String
    let level: String
    let label: String
    let message: String
    let metadata: [String: Value]?
  }

  private struct Value: Encodable {
    let value: Logger.Metadata.Value

    init(_ value: Logger.Metadata.Value) { self.value = value }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch value {
      case .string(let text): try container.encode(text)
      case .stringConvertible(let number as Int): try container.encode(number)
      case .stringConvertible(let number as Double) where number.isFinite:
        try container.encode(number)
      case .stringConvertible(let other): try container.encode("\(other)")
      case .array(let values): try container.encode(values.map(Value.init))
      case .dictionary(let values): try container.encode(values.mapValues(Value.init))
      }
    }
  }
}

/// Writes each log message as a line for people: time, level, message, metadata.
public struct PlainLogHandler: LogHandler {
  public var metadata: Logger.Metadata = [:]
  public var metadataProvider: Logger.MetadataProvider?
  public var logLevel: Logger.Level = .info
  private let write: @Sendable (String) -> Void

  /// - Parameter write: Takes one line without its end.
  public init(write: @escaping @Sendable (String) -> Void) { self.write = write }

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    var all = metadata
    all.merge(metadataProvider?.get() ?? [:]) { $1 }
    all.merge(event.metadata ?? [:]) { $1 }
    let details = all.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
    let time = Date.now.formatted(.iso8601.time(includingFractionalSeconds: false))
    let line = "\(time) \(event.level.rawValue) \(event.message)\(details)"
    // What a client sent must not look like another line.
    write(line.split(whereSeparator: \.isNewline).joined(separator: " "))
  }
}
