import ArgumentParser
import Foundation
import Logging
import MVAR
import MVARServer

/// Where a server can be reached, and by whom.
struct ListeningFlags: ParsableArguments {
  @Option(help: "The address to listen at; 0.0.0.0 for all of this machine's, with a token.")
  var host = "127.0.0.1"

  @Option(parsing: .unconditional, help: "The port; 0 for any that is free.")
  var port = 8080

  @Option(
    help: """
      What clients must present, \(AccessToken.shortest) characters or more. Others on this machine \
      can see it here; the environment variable MVAR_TOKEN keeps it from them.
      """)
  var token: String?

  @Option(
    name: .customLong("allow-host"), parsing: .singleValue,
    help: "A name besides localhost that requests may be for; may be given several times.")
  var allowedHosts: [String] = []

  @Option(
    name: .customLong("allow-origin"), parsing: .singleValue,
    help: """
      A site whose pages may use the server, such as https://example.org; may be given several times.
      """)
  var allowedOrigins: [String] = []

  /// - Throws: ``UsageError`` for a token that is too short.
  func configuration() throws -> ServerConfiguration {
    var configuration = ServerConfiguration()
    configuration.host = host
    configuration.port = port
    configuration.allowedHosts = Set(allowedHosts)
    configuration.allowedOrigins = Set(allowedOrigins)
    let environment = ProcessInfo.processInfo.environment["MVAR_TOKEN"]
    if let secret = token ?? environment {
      guard let token = AccessToken(secret) else {
        throw UsageError(
          "the token has \(secret.utf8.count) characters; use \(AccessToken.shortest) or more")
      }
      configuration.token = token
    }
    return configuration
  }
}

/// How much a server takes on.
struct LoadFlags: ParsableArguments {
  @Option(
    parsing: .unconditional, help: "Pictures drawn at once. (default: 4 on a CPU, 32 on a GPU)")
  var batch: Int?

  @Option(parsing: .unconditional, help: "Pictures that may wait; beyond, clients get 429.")
  var queue = 256

  @Option(
    parsing: .unconditional,
    help: """
      Pictures of one address that may wait. (default: all of the queue for clients on this machine \
      alone, half of it where others can come)
      """)
  var queuePerAddress: Int?

  @Option(parsing: .unconditional, help: "Pictures of one request.")
  var maxCount = 16

  @Option(parsing: .unconditional, help: "MiB of a request's body.")
  var maxBody = 20

  @Option(parsing: .unconditional, help: "Megapixels of a picture to edit.")
  var maxMegapixels = 32

  @Option(parsing: .unconditional, help: "Connections at once.")
  var maxConnections = 512

  @Option(parsing: .unconditional, help: "Seconds after which a request is given up.")
  var timeout = 300.0

  func validate() throws {
    for (value, name) in [
      (batch, "batch"), (queue, "queue"), (queuePerAddress, "queue-per-address"),
      (maxCount, "max-count"), (maxBody, "max-body"), (maxMegapixels, "max-megapixels"),
      (maxConnections, "max-connections"),
    ] { try checkPositive(value, name) }
    for (value, name, limit) in [
      (maxBody, "max-body", 1024), (maxMegapixels, "max-megapixels", 1000),
    ] where value > limit {
      throw ValidationError("\(name) is \(value); use \(limit) or less")
    }
    guard timeout > 0, timeout <= 86_400 else {
      throw ValidationError("timeout is \(timeout); use a number of seconds up to 86400")
    }
  }

  func limit(_ configuration: inout ServerConfiguration) {
    configuration.maxCount = maxCount
    configuration.maxBody = maxBody << 20
    configuration.maxPixels = maxMegapixels * 1_000_000
    configuration.maxConnections = maxConnections
  }

  func scheduler(for generator: ImageGenerator, isLoopback: Bool) -> SchedulerConfiguration {
    let isGPU = generator.device != .cpu
    let batch = batch ?? (isGPU ? 32 : 4)
    let recorded = generator.recordedBatchSizes(upTo: batch)
    return SchedulerConfiguration(
      batch: batch, queue: queue,
      queuePerAddress: queuePerAddress ?? (isLoopback ? queue : max(queue / 2, 1)),
      timeout: .seconds(timeout),
      // A GPU prepares itself for each size, in two runs where it records them; a CPU has nothing to prepare.
      warmUp: !recorded.isEmpty ? recorded : isGPU ? [1, batch] : [1],
      warmUpRuns: recorded.isEmpty ? 1 : 3)
  }
}

/// What a server tells about its requests.
struct LogFlags: ParsableArguments {
  @Flag(help: "Log lines of JSON, for programs.")
  var logJson = false

  @Option(help: "How much to log: trace, debug, info, notice, warning, error or critical.")
  var logLevel = Logger.Level.info

  @Flag(help: "Log errors alone.")
  var quiet = false

  /// Logs to standard error.
  func logger() -> Logger {
    var logger = Logger(label: "mvar.serve") { label in
      let write = { @Sendable (line: String) in StandardStreams.writeError(line) }
      return logJson
        ? JSONLinesLogHandler(label: label, write: write) as any LogHandler
        : PlainLogHandler(write: write)
    }
    logger.logLevel = quiet ? .error : logLevel
    return logger
  }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}
