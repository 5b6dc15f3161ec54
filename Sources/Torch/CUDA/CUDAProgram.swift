import CTorch
import Foundation

/// Kernels in CUDA C++, compiled for the GPU at hand when first used. Compiled code is kept on disk.
public final class CUDAProgram {
  private let module: ct_module

  /// - Parameter definitions: macros, as `NAME` → `value`.
  /// - Throws: ``TorchError`` with the compiler's messages.
  public init(source: String, name: String, definitions: [String: String] = [:]) throws {
    let capability = try CUDA.properties().computeCapability
    let macros = definitions.sorted { $0.key < $1.key }.map { "-D\($0.key)=\($0.value)" }
    let options =
      [
        "-arch=\(Self.architecture(capability))", "-std=c++17", "-default-device", "-use_fast_math",
      ] + Self.threads(capability) + macros
    // libtorch brings the compiler.
    let file = CompiledKernels.file(of: [source, LibTorch.version] + options)
    // What is kept there may be torn or foreign.
    if let kept = CompiledKernels.read(file), let loaded = try? Self.load(kept) {
      module = loaded
    } else {
      let code = try Self.compile(source, name, options)
      module = try Self.load(code)
      CompiledKernels.keep(code, in: file)
    }
  }

  /// Code is optimised by as many threads: up to Hopper the same code whatever they do, later not.
  private static func threads(_ capability: Int) -> [String] {
    capability < 100 ? ["--split-compile=8"] : []
  }

  /// Never unloaded: programs live as long as the process.
  private static func load(_ code: [UInt8]) throws(TorchError) -> ct_module {
    try code.withUnsafeBufferPointer { bytes throws(TorchError) in
      try CUDA.call("module_load", ct_module?.none) { $0.module_load(bytes.baseAddress, &$1) }!
    }
  }

  /// What code is made for: on Hopper with what only Hopper has.
  private static func architecture(_ capability: Int) -> String {
    capability == 90 ? "sm_90a" : "sm_\(capability)"
  }

  /// - Parameter sharedBytes: dynamic shared memory that every launch gets.
  public func kernel(_ name: String, sharedBytes: Int = 0) throws(TorchError) -> CUDAKernel {
    let handle = try CUDA.call("module_kernel", ct_kernel?.none) {
      $0.module_kernel(module, name, UInt32(sharedBytes), &$1)
    }!
    return CUDAKernel(handle: handle, name: name, sharedBytes: sharedBytes)
  }

  private static func compile(_ source: String, _ name: String, _ options: [String]) throws
    -> [UInt8]
  {
    let copies = options.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    let pointers = copies.map { UnsafePointer($0) }
    let cubin = try CUDA.call("compile", ct_cubin()) { api, out in
      api.compile(source, name, pointers, pointers.count, &out)
    }
    defer { free(cubin.bytes) }
    return Array(UnsafeBufferPointer(start: cubin.bytes, count: cubin.count))
  }
}

/// Compiled kernels on disk, under names made of what they were compiled from.
private enum CompiledKernels {
  /// Nil where there is no folder of the user's own: code out of a common one could be anybody's.
  static func file(of key: [String]) -> URL? {
    folder?.appending(path: fingerprint(key) + ".cubin")
  }

  static func read(_ file: URL?) -> [UInt8]? {
    guard let file, let stored = try? Data(contentsOf: file), !stored.isEmpty else { return nil }
    return Array(stored)
  }

  /// Without a place to write, the next start compiles again; nothing else is lost.
  static func keep(_ code: [UInt8], in file: URL?) {
    guard let file else { return }
    try? FileManager.default.createDirectory(
      at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try? Data(code).write(to: file, options: .atomic)
  }

  private static var folder: URL? {
    func variable(_ name: String) -> URL? {
      guard let value = ProcessInfo.processInfo.environment[name], value.hasPrefix("/") else {
        return nil
      }
      return URL(filePath: value)
    }
    let caches = variable("XDG_CACHE_HOME") ?? variable("HOME")?.appending(path: ".cache")
    return caches?.appending(path: "swift-mvar/kernels")
  }

  /// 128 bits of FNV-1a, in two halves that start differently.
  private static func fingerprint(_ parts: [String]) -> String {
    func hash(_ start: UInt64) -> UInt64 {
      parts.joined(separator: "\0").utf8.reduce(start) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
    return [0xcbf2_9ce4_8422_2325, 0x8422_2325_cbf2_9ce4].map { String(hash($0), radix: 16) }
      .joined()
  }
}
