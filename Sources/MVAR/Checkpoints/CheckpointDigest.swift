import CDigest
import CheckpointFormats

extension Checkpoint {
  /// SHA-256 of the file, in hexadecimal; of several shards, of their bytes in the order of their
  /// names.
  ///
  /// - Throws: `CheckpointFormatError` where a file cannot be read.
  public static func digest(_ path: String) throws -> String {
    let isIndex = try CheckpointFormat(ofFile: path) == .safetensorsIndex
    let files = isIndex ? try SafetensorsIndex(path).shards : [path]
    let hash = SHA256()
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

/// SHA-256 by OpenSSL, piece by piece.
private final class SHA256 {
  private let context = EVP_MD_CTX_new()

  init() { EVP_DigestInit_ex(context, EVP_sha256(), nil) }

  deinit { EVP_MD_CTX_free(context) }

  func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  func hexadecimal() -> String {
    var digest = [UInt8](repeating: 0, count: 32)
    EVP_DigestFinal_ex(context, &digest, nil)
    return digest.map { byte in
      let text = String(byte, radix: 16)
      return byte < 16 ? "0" + text : text
    }.joined()
  }
}
