import CheckpointFormats
import Crypto

extension Checkpoint {
  /// SHA-256 of the file, in hexadecimal; of several shards, of their bytes in the order of their
  /// names.
  ///
  /// - Throws: `CheckpointFormatError` where a file cannot be read.
  public static func digest(_ path: String) throws -> String {
    var hash = SHA256()
    let files =
      try CheckpointFormat(ofFile: path) == .safetensorsIndex
      ? SafetensorsIndex(path).shards : [path]
    for file in files {
      let mapping = try MappedFile(file)
      let step = 16 << 20
      for start in stride(from: 0, to: mapping.count, by: step) {
        let count = min(step, mapping.count - start)
        hash.update(bufferPointer: try mapping.bytes(at: start, count: count))
        mapping.release(at: start, count: count)
      }
    }
    return hash.finalize().map { byte in
      let text = String(byte, radix: 16)
      return text.count == 1 ? "0" + text : text
    }.joined()
  }
}
