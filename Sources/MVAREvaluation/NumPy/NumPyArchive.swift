import CZip
import Foundation

/// A `.npz` file to read: a zip archive of NumPy's arrays, read by libzip.
final class NumPyArchive {
  /// An array in the archive, by its header.
  struct Entry {
    /// Without ".npy".
    let name: String
    let header: NumPyHeader
    /// The checksum in the archive's directory, which tells content apart without reading it.
    let checksum: UInt32
    fileprivate let index: UInt64
  }

  let path: String
  private let archive: OpaquePointer
  private(set) var entries: [Entry] = []
  /// What is wrong with arrays that are not read, such as texts.
  private(set) var unread: [String] = []

  /// Opens an archive and reads the headers of its arrays.
  ///
  /// - Throws: ``EvaluationError`` naming the file.
  init(_ path: String) throws(EvaluationError) {
    var code: Int32 = 0
    guard let archive = zip_open(path, ZIP_RDONLY, &code) else {
      throw Self.unopened(path, code)
    }
    self.path = path
    self.archive = archive
    for index in 0..<UInt64(max(zip_get_num_entries(archive, 0), 0)) {
      do throws(EvaluationError) {
        if let entry = try entry(index) { entries.append(entry) }
      } catch {
        // It may be an array that nobody wants.
        guard error.kind == .wrongKind else { throw error }
        unread.append(error.problem)
      }
    }
  }

  deinit { zip_discard(archive) }

  /// The array of that name.
  subscript(name: String) -> Entry? { entries.first { $0.name == name } }

  private func entry(_ index: UInt64) throws(EvaluationError) -> Entry? {
    var status = zip_stat_t()
    guard zip_stat_index(archive, index, 0, &status) == 0, let text = status.name else {
      throw malformed("its directory cannot be read")
    }
    let file = String(cString: text)
    guard file.hasSuffix(".npy") else { return nil }
    let name = String(file.dropLast(4))
    let stream = try Stream(archive, index, path: path, name: name)
    let header = try stream.header()
    // What a damaged or hostile file announces is not believed before it is seen.
    guard status.valid & UInt64(ZIP_STAT_SIZE) != 0,
      UInt64(header.byteCount) <= status.size, isPlausible(status)
    else { throw malformed("\(name) ends early") }
    return Entry(name: name, header: header, checksum: status.crc, index: index)
  }

  /// Whether what is in the archive can become what its directory says: DEFLATE makes 258 bytes of two bits at most.
  private func isPlausible(_ status: zip_stat_t) -> Bool {
    var file = stat()
    guard status.valid & UInt64(ZIP_STAT_COMP_SIZE) != 0, stat(path, &file) == 0 else {
      return false
    }
    return status.comp_size <= UInt64(file.st_size) && status.size / 1032 <= status.comp_size
  }

  /// The numbers of an array, from the first on.
  func stream(_ entry: Entry) throws(EvaluationError) -> Stream {
    let stream = try Stream(archive, entry.index, path: path, name: entry.name)
    _ = try stream.header()
    return stream
  }

  /// All numbers of an array of floating-point numbers, which are none of the file's largest arrays.
  ///
  /// - Throws: ``EvaluationError`` where they cannot be read or are no such numbers.
  func doubles(_ entry: Entry) throws(EvaluationError) -> [Double] {
    let bytes = try stream(entry).next(entry.header.byteCount)
    let numbers = try bytes.withBytes { (raw) throws(EvaluationError) -> [Double] in
      switch entry.header.element {
      case .float64: raw.numbers(Double.self)
      case .float32: raw.numbers(Float.self).map(Double.init)
      case .float16: raw.numbers(UInt16.self).map { Double(Float(halfBits: $0)) }
      case .uint8, .int32, .int64: throw notFloating(entry)
      }
    }
    return numbers.inRows(entry.header)
  }

  /// As ``doubles(_:)``.
  func floats(_ entry: Entry) throws(EvaluationError) -> [Float] {
    let bytes = try stream(entry).next(entry.header.byteCount)
    let numbers = try bytes.withBytes { (raw) throws(EvaluationError) -> [Float] in
      switch entry.header.element {
      case .float64: raw.numbers(Double.self).map(Float.init)
      case .float32: raw.numbers(Float.self)
      case .float16: raw.numbers(UInt16.self).map(Float.init(halfBits:))
      case .uint8, .int32, .int64: throw notFloating(entry)
      }
    }
    return numbers.inRows(entry.header)
  }

  private func notFloating(_ entry: Entry) -> EvaluationError {
    EvaluationError(
      .wrongKind, path, "\(entry.name) holds \(entry.header.element.rawValue), not floats",
      mend: "name features [N, D], or mu and sigma")
  }

  private func malformed(_ problem: String) -> EvaluationError {
    EvaluationError(
      .malformed, path, problem, mend: "the file is damaged or incomplete, fetch it again")
  }

  private static func unopened(_ path: String, _ code: Int32) -> EvaluationError {
    var error = zip_error_t()
    zip_error_init_with_code(&error, code)
    defer { zip_error_fini(&error) }
    let text = String(cString: zip_error_strerror(&error))
    if code == ZIP_ER_NOZIP || code == ZIP_ER_INCONS {
      return EvaluationError(
        .wrongKind, path, "is not a .npz file (\(text))",
        mend: "name a file that numpy.savez wrote, or a folder of pictures")
    }
    return EvaluationError(
      .inputOutput, path, "cannot be read (\(text))", mend: "check the path")
  }
}

extension NumPyArchive {
  /// Reads an array's bytes in turn.
  final class Stream {
    private let file: OpaquePointer
    private let path: String
    private let name: String

    fileprivate init(
      _ archive: OpaquePointer, _ index: UInt64, path: String, name: String
    ) throws(EvaluationError) {
      guard let file = zip_fopen_index(archive, index, 0) else {
        throw EvaluationError(
          .malformed, path,
          "\(name) cannot be unpacked (\(String(cString: zip_strerror(archive))))",
          mend: "save it again with numpy.savez")
      }
      self.file = file
      self.path = path
      self.name = name
    }

    deinit { zip_fclose(file) }

    fileprivate func header() throws(EvaluationError) -> NumPyHeader {
      do {
        let start = try next(12)
        let (prefix, count) = try NumPyHeader.extent(of: start)
        guard count <= NumPyHeader.lengthLimit else {
          throw NumPyHeader.Problem("has a header of \(count) bytes")
        }
        let rest = prefix + count - 12
        guard rest >= 0 else { throw NumPyHeader.Problem("has a header that cannot be read") }
        return try NumPyHeader(parsing: Array(start[prefix...]) + next(rest))
      } catch let problem as NumPyHeader.Problem {
        throw EvaluationError(
          .wrongKind, path, "\(name) \(problem.text)",
          mend: "name pictures [N, H, W, 3] uint8, features [N, D], or mu and sigma")
      } catch let error as EvaluationError {
        throw error
      } catch {
        fatalError("\(error)")
      }
    }

    /// So many bytes.
    ///
    /// - Throws: ``EvaluationError`` where there are fewer, or they do not fit the checksum.
    func next(_ count: Int) throws(EvaluationError) -> [UInt8] {
      var failure = false
      let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
        while filled < count {
          let step = zip_fread(file, buffer.baseAddress! + filled, UInt64(count - filled))
          guard step > 0 else {
            failure = true
            return
          }
          filled += Int(step)
        }
      }
      guard !failure else {
        throw EvaluationError(
          .malformed, path, "\(name) ends early or is damaged",
          mend: "the file is damaged or incomplete, fetch it again")
      }
      return bytes
    }
  }
}

extension [UInt8] {
  fileprivate func withBytes<R>(
    _ body: (UnsafeRawBufferPointer) throws(EvaluationError) -> R
  ) throws(EvaluationError) -> R {
    let result: Result<R, EvaluationError> = withUnsafeBytes { raw in
      do throws(EvaluationError) { return .success(try body(raw)) } catch { return .failure(error) }
    }
    return try result.get()
  }
}

extension UnsafeRawBufferPointer {
  /// All of the bytes as numbers.
  fileprivate func numbers<Number>(_ type: Number.Type) -> [Number] {
    let count = self.count / MemoryLayout<Number>.size
    return [Number](unsafeUninitializedCapacity: count) { buffer, filled in
      UnsafeMutableRawBufferPointer(buffer).copyMemory(
        from: UnsafeRawBufferPointer(rebasing: self.prefix(count * MemoryLayout<Number>.size)))
      filled = count
    }
  }
}

extension Array {
  /// A matrix row by row, whichever way it was written.
  fileprivate func inRows(_ header: NumPyHeader) -> [Element] {
    guard header.isFortran else { return self }
    let (rows, columns) = (header.shape[0], header.shape[1])
    return (0..<rows).flatMap { row in (0..<columns).map { self[$0 * rows + row] } }
  }
}

extension Float {
  /// IEEE half precision; spelled out, as `Float16` is not there on every machine.
  init(halfBits: UInt16) {
    let sign: Float = halfBits & 0x8000 == 0 ? 1 : -1
    let exponent = Int(halfBits >> 10 & 0x1F)
    let fraction = Float(halfBits & 0x3FF)
    switch exponent {
    case 0: self = sign * fraction * 0x1p-24
    case 31: self = fraction == 0 ? sign * .infinity : .nan
    default:
      self =
        sign * (1 + fraction / 1024) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
    }
  }
}
