import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

@testable import MVARServer

/// `POST /v1/images/generations`.
struct GenerationTests {
  private func bytes(_ base64: String?) throws -> [UInt8] {
    let text = try #require(base64)
    return Array(try #require(Data(base64Encoded: text)))
  }

  @Test func picturesAreWhatTheLibraryDraws() async throws {
    let engine = try await goldenEngine()
    let settings = SamplingSettings(guidance: 2, topK: 100, topP: 0.9)
    let expected = try await ImageGenerator(
      model: Golden.mvar64.modelFile, tokenizer: Golden.tokenizerFile,
      options: ComputeOptions(precision: .float32, place: .cpu, threads: 1)
    ).pictures(
      [ImageRequest(label: 3, seed: 7), ImageRequest(label: 3, seed: 8)], settings: settings)
    try await withServer(engine) { client in
      let answer = try await client.generate(
        #"{"class": 3, "n": 2, "seed": 7, "guidance": 2, "top_k": 100, "top_p": 0.9, "size": "64x64"}"#
      )
      #expect(answer.status == 200)
      let json = try answer.json()
      #expect(json["size"].text == "64x64" && json["model"].text == "golden")
      #expect(json["output_format"].text == "png" && (json["created"].integer ?? 0) > 0)
      #expect(json["data"].list.count == 2)
      for index in 0...1 {
        let image = json["data"][index]
        #expect(image["seed"].integer == 7 + index && image["class"].integer == 3)
        let file = try bytes(image["b64_json"].text)
        let picture = try Picture(data: file, name: "answer")
        // The tokens are equal whatever the batch; the decoder may round differently.
        let difference = zip(picture.pixels, expected[index].pixels)
          .map { abs(Int($0) - Int($1)) }.max()
        #expect(picture.width == 64 && difference! <= 1)
        let texts = try PictureMetadata(data: file, name: "answer")
        #expect(texts["Seed"] == "\(7 + index)" && texts["Class"] == "3")
        #expect(texts["Guidance"] == "2.0" && texts["Top-k"] == "100" && texts["Top-p"] == "0.9")
        #expect(texts["Software"] == "mvar test" && texts["Model"] == "golden")
      }
    }
  }

  @Test func aStreamShowsEveryScaleAndThenThePicture() async throws {
    try await withServer(try await goldenEngine()) { client in
      let plain = try await client.generate(#"{"class": 1, "seed": 5}"#).json()
      let answer = try await client.generate(#"{"class": 1, "seed": 5, "stream": true}"#)
      #expect(answer.headers[.contentType] == "text/event-stream")
      let events = try answer.events()
      #expect(events.first?.name == "image_generation.queued")
      #expect(events.last?.name == "image_generation.completed")
      #expect(events.last?.value["b64_json"] == plain["data"][0]["b64_json"])
      #expect(events.last?.value["seed"].integer == 5)
      let previews = events.filter { $0.name == "image_generation.partial_image" }
      // A reader that is late misses some; none comes after a later one.
      let scales = previews.compactMap { $0.value["scale"].integer }
      #expect(scales == scales.sorted() && scales.allSatisfy { (0..<3).contains($0) })
      for preview in previews {
        #expect(preview.value["scales"].integer == 4 && preview.value["index"].integer == 0)
        let picture = try Picture(data: try bytes(preview.value["b64_json"].text), name: "preview")
        #expect(picture.width == 64)
      }
      for event in events { #expect(event.value["type"].text == event.name) }
    }
  }

  @Test func aStreamThatFailsEndsInAnError() async throws {
    let engine = FakeEngine()
    engine.fail(with: TorchError(kind: .outOfMemory, operation: "test", message: "out of memory"))
    try await withServer(engine) { client in
      let events = try await client.generate(#"{"class": 1, "stream": true}"#).events()
      #expect(events.last?.name == "error")
      #expect(events.last?.value["error"]["code"].text == "out_of_memory")
    }
  }

  @Test func runningOutOfMemoryIsA503AndTheNextRequestSucceeds() async throws {
    let engine = FakeEngine()
    engine.fail(with: TorchError(kind: .outOfMemory, operation: "test", message: "out of memory"))
    try await withServer(engine) { client in
      let failed = try await client.generate(#"{"class": 1, "n": 4}"#)
      #expect(failed.status == 503 && failed.error.code == "out_of_memory")
      #expect(Int(failed.headers[.retryAfter] ?? "") ?? 0 >= 1)
      let next = try await client.generate(#"{"class": 1, "n": 4}"#)
      #expect(next.status == 200)
      #expect(try next.json()["data"].list.count == 4)
      let metrics = try await client.get("/metrics").text
      #expect(metrics.contains(#"mvar_batches_total{outcome="out_of_memory"} 1"#))
      #expect(metrics.contains("mvar_batch_limit_pictures 2"))
    }
  }

  @Test func aFullQueueIsA429() async throws {
    let engine = FakeEngine(open: false)
    try await withServer(engine, scheduler: .init(batch: 1, queue: 2, warmUp: [])) { client in
      async let running = client.generate(#"{"class": 1}"#)
      try await eventually("a batch begins") { engine.batches.count == 1 }
      async let waiting = client.generate(#"{"class": 2, "n": 2}"#)
      try await eventually("two wait") { await client.server.scheduler.load.queued == 2 }
      let refused = try await client.generate(#"{"class": 3}"#)
      #expect(refused.status == 429 && refused.error.type == "rate_limit_error")
      #expect(Int(refused.headers[.retryAfter] ?? "") ?? 0 >= 1)
      await engine.gate.open()
      #expect(try await running.status == 200)
      #expect(try await waiting.status == 200)
    }
  }

  @Test(arguments: [
    (#"{"class": "golden retriever"}"#, 207), (#"{"class": 207}"#, 207),
    (#"{"class": "207"}"#, 207), (#"{"prompt": "Golden-Retriever"}"#, 207),
    (#"{"prompt": "ignored", "class": 1}"#, 1),
  ]) func classesByNumberAndName(_ body: String, _ label: Int) async throws {
    let engine = FakeEngine()
    try await withServer(engine) { client in
      let json = try await client.generate(body).json()
      #expect(json["data"][0]["class"].integer == label)
      if label == 207 { #expect(json["data"][0]["class_name"].text == "golden retriever") }
      #expect(engine.batches[0][0].label == label)
    }
  }

  @Test func seedsOfAllSizes() async throws {
    let engine = FakeEngine()
    try await withServer(engine) { client in
      for body in [
        #"{"class": 1, "n": 2, "seed": 18446744073709551615}"#,
        #"{"class": 1, "n": 2, "seed": "18446744073709551615"}"#,
      ] {
        #expect(try await client.generate(body).status == 200)
      }
      let chance = try await client.generate(#"{"class": 1}"#).json()["data"][0]["seed"].integer
      #expect(engine.batches.prefix(2).allSatisfy { $0.map(\.seed) == [.max, 0] })
      #expect(engine.batches[2][0].seed == chance.map(UInt64.init))
    }
  }

  @Test(arguments: ["png", "jpeg", "webp"]) func formats(_ format: String) async throws {
    try await withServer { client in
      let json = try await client.generate(
        #"{"class": 1, "output_format": "\#(format)", "output_compression": 50}"#
      ).json()
      #expect(json["output_format"].text == format)
      let file = try bytes(json["data"][0]["b64_json"].text)
      #expect(try Picture(data: file, name: "answer").width == 8)
      let beginning: [UInt8] =
        ["png": [0x89, 0x50], "jpeg": [0xFF, 0xD8], "webp": Array("RI".utf8)][format]!
      #expect(file.starts(with: beginning))
    }
  }

  @Test func aResultIsThereForWhoKnowsItsName() async throws {
    try await withServer { client in
      let json = try await client.generate(#"{"class": 1, "response_format": "url"}"#).json()
      let image = json["data"][0]
      #expect(image["b64_json"] == .null)
      let url = try #require(image["url"].text)
      #expect(url.hasPrefix("http://localhost/v1/images/results/"))
      let path = String(url.dropFirst("http://localhost".count))
      let result = try await client.get(path)
      #expect(result.status == 200 && result.headers[.contentType] == "image/png")
      #expect(try Picture(data: result.bytes, name: "result").width == 8)
      let name = path.split(separator: "/").last!
      #expect(name.count == 32 + 4)
      let other = try await client.get("/v1/images/results/\(name.replacing("a", with: "b"))x")
      #expect(other.status == 404 && other.error.code == "result_not_found")
    }
  }

  @Test func previewsAsManyAsAskedFor() async throws {
    let engine = FakeEngine(scales: 10)
    var fields = RequestFields(["partial_images": .json(.integer(3)), "class": .json(.integer(1))])
    let three = try ImageParameters(&fields, engine.facts, .imageNet, maxCount: 1)
    #expect((0..<10).filter { three.shows(scale: $0, of: 10) } == [2, 5, 8])
    fields = RequestFields(["class": .json(.integer(1))])
    let all = try ImageParameters(&fields, engine.facts, .imageNet, maxCount: 1)
    #expect((0..<10).filter { all.shows(scale: $0, of: 10) } == Array(0..<9))
    try await withServer(engine) { client in
      let answer = try await client.generate(#"{"class": 1, "stream": true, "partial_images": 0}"#)
      #expect(try answer.events().map(\.name).last == "image_generation.completed")
      #expect(engine.previews == [false])
    }
  }

  // MARK: Bad input

  @Test(arguments: [
    (#"{"class": 1000}"#, "class", ["1000", "0...999"]),
    (#"{"class": -1}"#, "class", ["-1"]),
    (#"{"class": "goldn retriever"}"#, "class", ["goldn retriever", "golden retriever"]),
    (#"{"prompt": "a dog on a beach"}"#, "prompt", ["a dog on a beach"]),
    (#"{"class": "all"}"#, "class", ["1000 classes"]),
    (#"{"class": true}"#, "class", ["true"]),
    (#"{}"#, "class", ["missing"]),
    (#"{"class": 1, "n": 0}"#, "n", ["0", "1 to 16"]),
    (#"{"class": 1, "n": 17}"#, "n", ["17", "1 to 16"]),
    (#"{"class": 1, "n": 1.5}"#, "n", ["1.5"]),
    (#"{"class": 1, "n": "2"}"#, "n", [#""2""#]),
    (#"{"class": 1, "size": "512x512"}"#, "size", ["512x512", "8x8"]),
    (#"{"class": 1, "seed": -1}"#, "seed", ["-1"]),
    (#"{"class": 1, "seed": 18446744073709551616}"#, "seed", ["whole number"]),
    (#"{"class": 1, "guidance": -0.1}"#, "guidance", ["-0.1"]),
    (#"{"class": 1, "guidance": 1e300}"#, "guidance", ["1e+300"]),
    (#"{"class": 1, "top_k": -1}"#, "top_k", ["-1"]),
    (#"{"class": 1, "top_p": 0}"#, "top_p", ["0"]),
    (#"{"class": 1, "top_p": 1.01}"#, "top_p", ["1.01"]),
    (#"{"class": 1, "response_format": "file"}"#, "response_format", ["file", "b64_json or url"]),
    (#"{"class": 1, "stream": 1}"#, "stream", ["true or false"]),
    (#"{"class": 1, "timeout": 0}"#, "timeout", ["0"]),
    (#"{"class": 1, "guidence": 2}"#, "guidence", ["guidence", "guidance"]),
  ]) func aValueThatMakesNoSenseIsNamed(
    _ body: String, _ parameter: String, _ words: [String]
  ) async throws {
    let engine = FakeEngine()
    try await withServer(engine) { client in
      let answer = try await client.generate(body)
      #expect(answer.status == 400)
      let error = answer.error
      #expect(error.parameter == parameter && error.type == "invalid_request_error")
      for word in words { #expect(error.message.contains(word), "\(error.message)") }
      #expect(!error.message.contains("\n"))
      #expect(engine.batches.isEmpty)
    }
  }

  @Test func aRequestThatOutlastsItsOwnTimeoutIsTheClientsMatter() async throws {
    try await withServer(FakeEngine(open: false)) { client in
      let answer = try await client.generate(#"{"class": 1, "timeout": 0.02}"#)
      #expect(answer.status == 408)
      let error = answer.error
      #expect(error.parameter == "timeout" && error.message.contains("0.02 s"), "\(error.message)")
    }
  }

  @Test(arguments: [
    "", "{", "[]", "null", "17", #"{"class" 1}"#, "\u{0}", #"{"class": "\ud800"}"#,
  ])
  func aBodyThatIsNoObject(_ body: String) async throws {
    try await withServer { client in
      let answer = try await client.generate(body)
      #expect(answer.status == 400 && answer.error.code == "invalid_json")
    }
  }

  @Test func anotherModel() async throws {
    try await withServer { client in
      let answer = try await client.generate(#"{"class": 1, "model": "dall-e-3"}"#)
      #expect(answer.status == 404 && answer.error.code == "model_not_found")
      #expect(answer.error.message.contains("fake"))
      #expect(try await client.generate(#"{"class": 1, "model": "fake"}"#).status == 200)
    }
  }

  @Test func bodiesOfOtherTypesAndSizes() async throws {
    try await withServer { client in
      let form = try await client.post(
        "/v1/images/generations", "class=1",
        headers: [.contentType: "application/x-www-form-urlencoded"])
      #expect(form.status == 415 && form.error.message.contains("application/json"))
      let padding = String(repeating: " ", count: ImagesRoutes.jsonLimit)
      let large = try await client.generate(#"{"class": 1}"# + padding)
      #expect(large.status == 413 && large.error.message.contains("\(ImagesRoutes.jsonLimit)"))
    }
  }
}
