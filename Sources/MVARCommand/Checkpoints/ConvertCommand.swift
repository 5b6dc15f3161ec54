import ArgumentParser
import MVAR
import Torch

struct ConvertCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Writes a checkpoint as safetensors.",
    discussion: """
      Tensors are copied one after the other, so memory does not limit the size. A model or a \
      tokenizer inside a training checkpoint comes out under its published names.

        mvar convert d16.pth d16.safetensors --dtype bfloat16
        mvar convert training.pth model.safetensors --part model

      A file that is there already is replaced once the new one is whole.
      """)

  @Argument(help: "The checkpoint to read.")
  var input: String

  @Argument(help: "The file to write; it ends in .safetensors.")
  var output: String

  @Option(help: "What floating-point tensors become. (default: what they are)")
  var dtype: FloatType?

  @Option(help: "Which part to write, where the checkpoint holds several.")
  var part: Checkpoint.Role?

  @Flag(help: "Show no progress.")
  var quiet = false

  enum FloatType: String, CaseIterable, ExpressibleByArgument {
    case float32, bfloat16, float16

    var dtype: DType {
      switch self {
      case .float32: .float32
      case .bfloat16: .bfloat16
      case .float16: .float16
      }
    }
  }

  func validate() throws {
    guard output.lowercased().hasSuffix(".safetensors") else {
      throw ValidationError("\(output) does not end in .safetensors; that is what is written")
    }
  }

  func run() async throws {
    try ComputeOptions(place: .cpu).prepare()
    let checkpoint = try Checkpoint(input)
    let inputs = Set(checkpoint.tensors.map(\.storage.file) + [input])
    guard !inputs.contains(where: { Files.areSame($0, output) }) else {
      throw UsageError("\(output) is a file that is being read; choose another name")
    }
    try Files.checkWritable(output)
    let console = Console(isQuiet: quiet)
    var progress = console.progress(checkpoint.tensors.count)
    defer { progress.finish() }
    try checkpoint.convert(to: output, role: part, dtype: dtype?.dtype) { done, total in
      try Task.checkCancellation()
      progress.advance("tensor \(done) of \(total)")
    }
    progress.finish()
    let written = try CheckpointSummary(Checkpoint(output))
    try console.result(
      "\(output): \(written.tensors) tensors, \(Quantity.bytes(written.bytes))")
  }
}

extension Checkpoint.Role: ExpressibleByArgument {}
