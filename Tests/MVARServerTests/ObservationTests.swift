import Foundation
import Logging
import Metrics
import Synchronization
import Testing

@testable import MVARServer

/// Metrics and logs.
struct ObservationTests {
  @Test func metricsAreWrittenAsPrometheusReadsThem() {
    let registry = PrometheusRegistry([
      "pictures_total": .init(help: "Pictures\nin \"all\" \\."),
      "size": .init(help: "Sizes.", buckets: [1, 4]),
    ])
    Counter(label: "pictures_total", dimensions: [("kind", "a\"b\n")], factory: registry)
      .increment(by: 3)
    Counter(label: "pictures_total", dimensions: [("kind", "c")], factory: registry).increment()
    Counter(label: "pictures_total", dimensions: [("kind", "c")], factory: registry).increment()
    Meter(label: "load.now", factory: registry).set(0.5)
    let sizes = Recorder(label: "size", factory: registry)
    for size in [1, 2, 4, 9] { sizes.record(size) }
    #expect(
      registry.exposition() == """
        # TYPE load_now gauge
        load_now 0.5
        # HELP pictures_total Pictures\\nin "all" \\\\.
        # TYPE pictures_total counter
        pictures_total{kind="a\\"b\\n"} 3
        pictures_total{kind="c"} 2
        # HELP size Sizes.
        # TYPE size histogram
        size_bucket{le="1"} 1
        size_bucket{le="4"} 3
        size_bucket{le="+Inf"} 4
        size_sum 16
        size_count 4

        """)
  }

  @Test func timesAreInSeconds() {
    let registry = PrometheusRegistry()
    Metrics.Timer(label: "wait", factory: registry).recordNanoseconds(1_500_000_000)
    let text = registry.exposition()
    #expect(text.contains("wait_sum 1.5\n") && text.contains("wait_bucket{le=\"2.5\"} 1\n"))
    #expect(text.contains("wait_bucket{le=\"1\"} 0\n"))
  }

  @Test func whatIsDestroyedIsNotWritten() {
    let registry = PrometheusRegistry()
    let counter = Counter(label: "gone", factory: registry)
    counter.increment()
    #expect(registry.exposition().contains("gone 1"))
    counter.destroy()
    #expect(registry.exposition().isEmpty)
  }

  @Test func requestsAreCountedByRoute() async throws {
    try await withServer { client in
      _ = try await client.get("/v1/images/results/0123.png")
      _ = try await client.get("/some/path/that/is/not/there")
      _ = try await client.generate(#"{"class": 1}"#)
      _ = try await client.generate(#"{"class": 1, "stream": true}"#)
      let text = try await client.get("/metrics").text
      #expect(
        text.contains(
          #"mvar_http_requests_total{route="/v1/images/generations",method="POST",status="200"} 2"#
        ))
      // Neither names of results nor whatever clients make up become series.
      #expect(!text.contains("0123") && !text.contains("/some/path"))
      #expect(text.contains("mvar_pictures_total 2\n"))
      #expect(text.contains("mvar_orders_total{outcome=\"finished\"} 2\n"))
      #expect(text.contains("mvar_batch_pictures_count 2\n"))
      #if os(Linux)
        #expect(text.contains("process_resident_memory_bytes"))
      #endif
      for line in text.split(separator: "\n") where !line.hasPrefix("#") {
        #expect(Double(line.split(separator: " ").last!) != nil, "\(line)")
      }
    }
  }

  @Test func aLogLineIsOneLineOfJSON() throws {
    let lines = Mutex<[String]>([])
    var logger = Logger(label: "test") { label in
      JSONLinesLogHandler(label: label) { line in lines.withLock { $0.append(line) } }
    }
    logger[metadataKey: "id"] = "7"
    logger.info(
      "two\nlines \"quoted\"",
      metadata: [
        "count": .stringConvertible(3), "seconds": .stringConvertible(0.5),
        "list": .array(["a", "b"]), "odd": .stringConvertible(Double.nan),
      ])
    logger.debug("below the level")
    let line = try #require(lines.withLock { $0.count == 1 ? $0[0] : nil })
    #expect(!line.contains("\n"))
    let json = try JSONDecoder().decode(JSONValue.self, from: Data(line.utf8))
    #expect(json["message"].text == "two\nlines \"quoted\"" && json["level"].text == "info")
    #expect(json["label"].text == "test" && json["time"].text?.hasSuffix("Z") == true)
    let metadata = json["metadata"]
    #expect(metadata["id"].text == "7" && metadata["count"].integer == 3)
    #expect(metadata["seconds"] == .number(0.5) && metadata["list"][1].text == "b")
    #expect(metadata["odd"].text == "nan")
  }

  @Test func aPlainLogLineIsOneLine() {
    let lines = Mutex<[String]>([])
    let logger = Logger(label: "test") { _ in
      PlainLogHandler { line in lines.withLock { $0.append(line) } }
    }
    logger.warning("begins\nends", metadata: ["who": "a\nb"])
    let line = lines.withLock { $0[0] }
    #expect(line.hasSuffix("warning begins ends who=a b") && !line.contains("\n"))
  }
}
