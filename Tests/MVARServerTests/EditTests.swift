import Foundation
import HTTPTypes
import MVAR
import Pictures
import Testing
import TorchTestSupport

@testable import MVARServer

/// `POST /v1/images/edits`.
struct EditTests {
  /// A picture with something in it, not of the model's size.
  private static let source: Picture = {
    var pixels: [UInt8] = []
    for y in 0..<80 {
      for x in 0..<96 { pixels += [UInt8(2 * x), UInt8(3 * y), UInt8(x * y % 256)] }
    }
    return Picture(width: 96, height: 80, pixels: pixels)
  }()

  /// White in the lower half.
  private static let lowerHalf: Picture = {
    let half = 96 * 40 * 3
    let pixels = [UInt8](repeating: 0, count: half) + [UInt8](repeating: 255, count: half)
    return Picture(width: 96, height: 80, pixels: pixels)
  }()

  private func base64(_ picture: Picture) throws -> String {
    Data(try picture.encoded(as: .png)).base64EncodedString()
  }

  private func json(_ fields: [String: Any]) throws -> String {
    String(decoding: try JSONSerialization.data(withJSONObject: fields), as: UTF8.self)
  }

  private func picture(_ answer: Client.Answer) throws -> Picture {
    #expect(answer.status == 200, "\(answer.error)")
    let data = Data(base64Encoded: try answer.json()["data"][0]["b64_json"].text ?? "")
    return try Picture(data: Array(try #require(data)), name: "answer")
  }

  @Test func whatTheMaskLeavesStaysToTheBit() async throws {
    let (image, mask) = (try base64(Self.source), try base64(Self.lowerHalf))
    try await withServer(try await goldenEngine(edits: true)) { client in
      let body = try json(["image": image, "mask": mask, "class": 2, "seed": 4])
      let answer = try await client.post("/v1/images/edits", body)
      let edited = try picture(answer)
      #expect((edited.width, edited.height) == (96, 80))
      #expect(try answer.json()["size"].text == "96x80")
      // A seam of eight pixels lies outside the mask.
      let kept = 96 * 3 * (40 - 8)
      #expect(edited.pixels[..<kept] == Self.source.pixels[..<kept])
      #expect(edited.pixels[(96 * 3 * 40)...] != Self.source.pixels[(96 * 3 * 40)...])

      let again = try picture(try await client.post("/v1/images/edits", body))
      #expect(again == edited)
      let box = try json(["image": image, "box": "0,40,96,80", "class": 2, "seed": 4])
      #expect(try picture(try await client.post("/v1/images/edits", box)) == edited)
      let drawn = try json([
        "image": "data:image/png;base64," + image, "mask": mask, "class": 2, "seed": 4,
        "keep_pixels": false,
      ])
      let reconstructed = try picture(try await client.post("/v1/images/edits", drawn))
      #expect(reconstructed.width == 64 && reconstructed.height == 53)
    }
  }

  @Test func aFormDoesWhatJSONDoes() async throws {
    let (image, mask) = (
      try Self.source.encoded(as: .png), try Self.lowerHalf.encoded(as: .png)
    )
    try await withServer(try await goldenEngine(edits: true)) { client in
      var body: [UInt8] = []
      func part(_ head: String, _ value: [UInt8]) {
        body += Array("--XyZ\r\nContent-Disposition: form-data; \(head)\r\n\r\n".utf8)
        body += value + Array("\r\n".utf8)
      }
      part(#"name="image"; filename="a.png""#, image)
      part(#"name="mask"; filename="b.png""#, mask)
      part(#"name="prompt""#, Array("2".utf8))
      part(#"name="seed""#, Array("4".utf8))
      part(#"name="n""#, Array("1".utf8))
      body += Array("--XyZ--\r\n".utf8)
      let form = try await client.send(
        .post, "/v1/images/edits", bytes: body,
        headers: [.contentType: "multipart/form-data; boundary=XyZ"])
      let plain = try await client.post(
        "/v1/images/edits",
        try json([
          "image": Data(image).base64EncodedString(), "mask": Data(mask).base64EncodedString(),
          "class": 2, "seed": 4,
        ]))
      #expect(try picture(form) == picture(plain))
    }
  }

  /// What clients of other images APIs send: a mask whose holes are drawn anew.
  @Test func holesAreDrawn() async throws {
    let holes = try Data(contentsOf: URL(filePath: Golden.folder + "/../pictures/rgba.png"))
    let values = try #require(try Transparency(data: Array(holes), name: "mask"))
    let engine = FakeEngine(edits: true)
    try await withServer(engine) { client in
      let picture = Picture(width: values.width, height: values.height, filledWith: .neutral)
      let answer = try await client.post(
        "/v1/images/edits",
        try json(["image": base64(picture), "mask": holes.base64EncodedString(), "class": 1]))
      #expect(answer.status == 200, "\(answer.error)")
      guard case .edit(let request) = engine.batches[0][0] else {
        Issue.record("no edit")
        return
      }
      let canvas = try EditCanvas(picture, modelSize: (8, 8))
      let mask = EditMask(
        width: values.width, height: values.height, coverage: values.values)
      #expect(try request.mask == canvas.fitted(mask, schedule: engine.facts.schedule))
    }
  }

  @Test func variationsAndExpansions() async throws {
    let engine = FakeEngine(edits: true)
    try await withServer(engine) { client in
      let image = try base64(Picture(width: 8, height: 8, filledWith: .neutral))
      let varied = try await client.post(
        "/v1/images/edits", try json(["image": image, "strength": 0.5, "n": 2]))
      #expect(varied.status == 200, "\(varied.error)")
      #expect(try varied.json()["data"][0]["class"] == .null)
      let expanded = try await client.post(
        "/v1/images/edits", try json(["image": image, "expand": "4, 0,4,0", "class": 3]))
      #expect(try expanded.json()["size"].text == "16x8")
      for task in engine.batches[0] {
        guard case .edit(let request) = task else { continue }
        #expect(request.keptScales == 2 && request.label == nil)
        #expect(request.mask == .everything(width: 8, height: 8))
      }
    }
  }

  /// A stroke that is thinner than half a token is drawn all the same, unless that was asked for.
  @Test func aSmallMaskReachesAToken() async throws {
    let engine = FakeEngine(edits: true)
    try await withServer(engine) { client in
      let image = try base64(Picture(width: 8, height: 8, filledWith: .neutral))
      let fields: [String: Any] = ["image": image, "box": "3,3,4,4"]
      let answer = try await client.post("/v1/images/edits", try json(fields))
      #expect(answer.status == 200, "\(answer.error)")
      let strict = fields.merging(["threshold": 0.5]) { $1 }
      let refused = try await client.post("/v1/images/edits", try json(strict))
      #expect(refused.status == 400 && refused.error.parameter == "mask")
      guard case .edit(let request) = engine.batches[0][0] else { return }
      #expect(request.edges == .hard(threshold: 0.25))
    }
  }

  @Test func editsAndNewPicturesShareABatch() async throws {
    let generator = try await goldenEngine(edits: true)
    let mask = EditMask.everything(width: 64, height: 64)
    let gray = Picture(width: 64, height: 64, filledWith: .neutral)
    // An edit of everything is what the same class and seed draw.
    let draw = PictureTask.draw(ImageRequest(label: 1, seed: 3))
    let edit = PictureTask.edit(EditRequest(picture: gray, mask: mask, label: 1, seed: 3))
    let other = PictureTask.draw(ImageRequest(label: 2, seed: 9))
    try await withScheduler(generator, .init(batch: 3, warmUp: [])) { scheduler in
      let order = Order(client: .init(address: "a"), tasks: [edit, other, draw], previews: true)
      var pictures: [Int: Picture] = [:]
      for try await event in try await scheduler.submit(order).events {
        if case .finished(let index, let picture) = event { pictures[index] = picture }
      }
      #expect(pictures.count == 3)
      let (edited, drawn) = (try #require(pictures[0]), try #require(pictures[2]))
      // The tokens are equal; the decoder may round differently.
      let difference = zip(edited.pixels, drawn.pixels).map { abs(Int($0) - Int($1)) }.max()
      #expect(difference! <= 1 && edited != pictures[1])
    }
  }

  @Test func aStreamedEdit() async throws {
    try await withServer(FakeEngine(edits: true)) { client in
      let image = try base64(Picture(width: 16, height: 16, filledWith: .neutral))
      let answer = try await client.post(
        "/v1/images/edits", try json(["image": image, "box": "0,0,8,8", "stream": true]))
      let events = try answer.events()
      #expect(events.first?.name == "image_edit.queued")
      #expect(events.last?.name == "image_edit.completed")
      #expect(events.last?.value["size"].text == "16x16")
    }
  }

  /// JPEG, which previews are, allows no such length; PNG does.
  @Test func aLongThinPictureComesWithoutPreviews() async throws {
    try await withServer(FakeEngine(edits: true)) { client in
      let image = try base64(Picture(width: 65_501, height: 1, filledWith: .neutral))
      let answer = try await client.post(
        "/v1/images/edits", try json(["image": image, "strength": 0.5, "stream": true]))
      let events = try answer.events()
      #expect(events.last?.name == "image_edit.completed", "\(answer.text.prefix(500))")
      #expect(!events.contains { $0.name == "image_edit.partial_image" })
    }
  }

  // MARK: Bad input

  private func refused(
    _ fields: [String: Any], _ status: Int, _ parameter: String?, _ words: String...,
    configure: (inout ServerConfiguration) -> Void = { _ in },
    at location: SourceLocation = #_sourceLocation
  ) async throws {
    let engine = FakeEngine(edits: true)
    let body = try json(fields)
    try await withServer(engine, configure: configure) { client in
      let answer = try await client.post("/v1/images/edits", body)
      let error = answer.error
      #expect(answer.status == status, "\(error)", sourceLocation: location)
      #expect(error.parameter == parameter, "\(error)", sourceLocation: location)
      for word in words {
        #expect(error.message.contains(word), "\(error)", sourceLocation: location)
      }
      #expect(engine.batches.isEmpty, sourceLocation: location)
    }
  }

  @Test func whatIsMissingOrDoesNotFitIsNamed() async throws {
    let image = try base64(Picture(width: 16, height: 16, filledWith: .neutral))
    let small = try base64(Picture(width: 8, height: 8, filledWith: .white))
    let black = try base64(Picture(width: 16, height: 16, filledWith: .black))
    try await refused(["class": 1], 400, "image", "missing")
    try await refused(["image": image], 400, "mask", "box")
    try await refused(["image": image, "mask": small], 400, "mask", "8 × 8", "16 × 16")
    try await refused(["image": image, "mask": black], 400, "mask", "empty")
    try await refused(["image": image, "mask": image, "box": "0,0,1,1"], 400, "box", "one of them")
    try await refused(["image": image, "box": "0,0,17,16"], 400, "box", "0,0,17,16")
    try await refused(["image": image, "box": "0,0,9"], 400, "box", "0,0,9")
    try await refused(["image": image, "expand": "-1,0,0,0"], 400, "expand", "-1")
    try await refused(["image": image, "strength": 2], 400, "strength", "2")
    try await refused(["image": image, "box": "0,0,8,8", "class": 1000], 400, "class", "1000")
    try await refused(["image": "aGVsbG8="], 400, "image", "not a PNG")
    try await refused(["image": "%%"], 400, "image", "base64")
    try await refused(["image": image, "mask": "aGVsbG8="], 400, "mask", "not a PNG")
    try await refused(["image": image, "mosk": image], 400, "mosk", "known are")
  }

  @Test func aFormatThatCannotHoldThePictureIsRefusedBeforeItIsDrawn() async throws {
    let long = try base64(Picture(width: 16_384, height: 1, filledWith: .neutral))
    try await refused(
      ["image": long, "strength": 0.5, "output_format": "webp"], 400, "output_format", "16384x1",
      "16383", "png")
    let longer = try base64(Picture(width: 40_000, height: 1, filledWith: .neutral))
    try await refused(
      ["image": longer, "expand": "25501,0,0,0", "output_format": "jpeg"], 400, "output_format",
      "65501x1")
  }

  @Test func aPictureThatIsTooLargeIsRefusedByItsHeader() async throws {
    let bomb = try Data(contentsOf: URL(filePath: Golden.folder + "/../pictures/gigapixel.png"))
    try await refused(
      ["image": bomb.base64EncodedString(), "strength": 0.5], 413, "image", "pixels")
    let image = try base64(Picture(width: 16, height: 16, filledWith: .neutral))
    try await refused(
      ["image": image, "strength": 0.5], 413, "image", "16x16", configure: { $0.maxPixels = 255 })
    try await refused(
      ["image": image, "expand": "1000,0,0,0"], 400, "expand", "1016",
      configure: { $0.maxPixels = 16000 })
    try await refused(["image": image], 413, nil, "64", configure: { $0.maxBody = 64 })
  }

  /// The canvas counts, not the picture in it: margins can be far larger.
  @Test func memoryIsCountedByTheCanvas() throws {
    let picture = try Picture(width: 8, height: 8, filledWith: .neutral).encoded(as: .png)
    func parameters(_ fields: [String: String], _ budget: MemoryBudget) throws -> EditParameters {
      var all = RequestFields(
        fields.mapValues { .form(Array($0.utf8), isFile: false) }
          .merging(["image": .form(picture, isFile: true)]) { $1 })
      return try EditParameters(
        &all, FakeEngine(edits: true).facts, limits: PictureLimits(), budget: budget)
    }
    let budget = MemoryBudget(total: 4 * 24 * 8)
    let edit = try parameters(["expand": "16,0,0,0"], budget)
    #expect(budget.heldBytes == 4 * 24 * 8)
    #expect(edit.finishingBytes == 16 * 24 * 8)
    let drawn = try parameters(
      ["strength": "0.5", "keep_pixels": "false"], MemoryBudget(total: 4 * 8 * 8))
    #expect(drawn.finishingBytes == 0)
    let error = #expect(throws: APIError.self) {
      _ = try parameters(["expand": "17,0,0,0"], MemoryBudget(total: 4 * 24 * 8))
    }
    #expect(error?.status == .serviceUnavailable && error?.code == "busy")
  }

  @Test func aServerWithoutEditing() async throws {
    try await withServer(FakeEngine(edits: false)) { client in
      let answer = try await client.post("/v1/images/edits", "{}")
      #expect(answer.status == 404 && answer.error.code == "edits_not_available")
    }
  }
}
