import CheckpointFormats
import Digests

extension Checkpoint {
  /// SHA-256 of the file, in hexadecimal; of several shards, of their bytes in the order of their
  /// names.
  ///
  /// - Throws: `CheckpointFormatError` where a file cannot be read.
  public static func digest(_ path: String) throws -> String {
    let isIndex = try CheckpointFormat(ofFile: path) == .safetensorsIndex
    let files = isIndex ? try SafetensorsIndex(path).shards : [path]
    let hash = MessageDigest(.sha256)
    for file in files {
      let mapping = try MappedFile(file)
      let step = 16 << 20
      for start in stride(from: 0, to: mapping.count, by: step) {
        let count = min(step, mapping.count - start)
        hash.update(try mapping.bytes(at: start, count: count))
        mapping.release(at: start, count: count)
      }
    }
    return hash.hexadecimal()
  }
}
