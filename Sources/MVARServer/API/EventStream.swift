import Foundation
import NIOCore

/// One server-sent event: a name and a value as JSON.
struct ServerSentEvent {
  let name: String
  let value: any Encodable

  var buffer: ByteBuffer {
    var buffer = ByteBuffer(string: "event: \(name)\ndata: ")
    buffer.writeBytes(JSONText.of(value))
    buffer.writeString("\n\n")
    return buffer
  }
}

/// The events of a streamed request, named `image_generation.…` or `image_edit.…`.
enum StreamedImage {
  struct Queued: Encodable {
    let type: String
    let ahead: Int
    let estimatedSeconds: Double?

    enum CodingKeys: String, CodingKey {
      case type, ahead
      case estimatedSeconds = "estimated_seconds"
    }
  }

  struct Partial: Encodable {
    let type: String
    let b64JSON: String
    let partialImageIndex: Int
    let index: Int
    let scale: Int
    let scales: Int
    let seed: UInt64
    let size: String
    let outputFormat = "jpeg"
    let createdAt: Int

    enum CodingKeys: String, CodingKey {
      case type, index, scale, scales, seed, size
      case b64JSON = "b64_json"
      case partialImageIndex = "partial_image_index"
      case outputFormat = "output_format"
      case createdAt = "created_at"
    }
  }

  struct Completed: Encodable {
    let type: String
    let index: Int
    let image: ImageData
    let size: String
    let outputFormat: String
    let createdAt: Int

    enum CodingKeys: String, CodingKey {
      case type, index, size
      case outputFormat = "output_format"
      case createdAt = "created_at"
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(type, forKey: .type)
      try container.encode(index, forKey: .index)
      try container.encode(size, forKey: .size)
      try container.encode(outputFormat, forKey: .outputFormat)
      try container.encode(createdAt, forKey: .createdAt)
      try image.encode(to: encoder)
    }
  }

  struct Failed: Encodable {
    let type = "error"
    let error: APIError.Body.Content

    enum CodingKeys: String, CodingKey { case type, error }
  }
}

/// One finished picture of an answer.
struct ImageData: Encodable, Sendable {
  var b64JSON: String?
  var url: String?
  let seed: UInt64
  let label: Int?
  let className: String?

  enum CodingKeys: String, CodingKey {
    case url, seed
    case b64JSON = "b64_json"
    case label = "class"
    case className = "class_name"
  }
}

/// All finished pictures of a request.
struct ImagesAnswer: Encodable {
  let created: Int
  let model: String
  let size: String
  let outputFormat: String
  let data: [ImageData]

  enum CodingKeys: String, CodingKey {
    case created, model, size, data
    case outputFormat = "output_format"
  }
}
