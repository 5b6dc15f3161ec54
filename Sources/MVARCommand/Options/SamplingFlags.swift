import ArgumentParser
import MVAR

/// How tokens are drawn.
struct SamplingFlags: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: "Strength of classifier-free guidance at the last scale; it grows from 0.")
  var guidance = SamplingSettings().guidance

  @Option(parsing: .unconditional, help: "Draw among so many of the likeliest tokens; 0 for all.")
  var topK = SamplingSettings().topK

  @Option(
    parsing: .unconditional,
    help: "Draw among the likeliest tokens of this probability together, above 0 and at most 1.")
  var topP = SamplingSettings().topP

  @Flag(help: "Mix codes instead of drawing one: smoother pictures, no use for metrics.")
  var smooth = false

  var settings: SamplingSettings {
    SamplingSettings(guidance: guidance, topK: topK, topP: topP, smooth: smooth)
  }

  func validate() throws {
    do { try settings.validate() } catch { throw ValidationError(error.description) }
  }
}
