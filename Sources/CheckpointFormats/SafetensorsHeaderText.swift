/// Makes the header of a safetensors file.
enum SafetensorsHeaderText {
  /// The header with its length in front, padded so that the data begins at a multiple of 8.
  static func bytes(
    for tensors: [TensorDeclaration], metadata: [String: String], file: String
  ) throws(CheckpointFormatError) -> [UInt8] {
    var members: [String] = []
    if !metadata.isEmpty { members.append(metadataMember(metadata)) }
    var names: Set<String> = ["__metadata__"]
    var end = 0
    for tensor in tensors {
      guard names.insert(tensor.name).inserted else {
        throw misuse(
          file, "two tensors are called \(printable(tensor.name))", mend: "give each its own name")
      }
      guard
        let count = TensorLayout.byteCount(of: tensor.shape, as: tensor.elementType),
        case (let next, let overflow) = end.addingReportingOverflow(count), !overflow
      else {
        throw misuse(
          file, "\(printable(tensor.name)) has shape \(printable("\(tensor.shape)"))",
          mend: "give sizes that fit a file")
      }
      members.append(member(tensor, begin: end, end: next))
      end = next
    }
    let json = Array("{\(members.joined(separator: ","))}".utf8)
    let padding = (8 - json.count % 8) % 8
    let size = json.count + padding
    guard size <= SafetensorsHeader.sizeLimit else {
      throw misuse(
        file, "its header would have \(size) bytes", mend: "write fewer tensors or less metadata")
    }
    return (0..<8).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) } + json
      + [UInt8](repeating: UInt8(ascii: " "), count: padding)
  }

  private static func metadataMember(_ metadata: [String: String]) -> String {
    let pairs = metadata.sorted { $0.key < $1.key }.map {
      "\($0.key.jsonQuoted):\($0.value.jsonQuoted)"
    }
    return "\"__metadata__\":{\(pairs.joined(separator: ","))}"
  }

  private static func member(_ tensor: TensorDeclaration, begin: Int, end: Int) -> String {
    let shape = tensor.shape.map(String.init).joined(separator: ",")
    let type = tensor.elementType.safetensorsName
    return
      "\(tensor.name.jsonQuoted):{\"dtype\":\"\(type)\",\"shape\":[\(shape)],\"data_offsets\":[\(begin),\(end)]}"
  }

  private static func misuse(_ file: String, _ problem: String, mend: String)
    -> CheckpointFormatError
  {
    CheckpointFormatError(.misuse, file: file, problem, mend: mend)
  }
}
