import MVAR
import TorchTestSupport

@testable import MVARTraining

extension ModelTrainingOptions {
  /// Of a run on one thread of the CPU, with the recorded tokenizer.
  static func tiny(_ out: String, saveEvery: Int, resumes: Bool) -> ModelTrainingOptions {
    var options = ModelTrainingOptions(out: out, tokenizer: Golden.tokenizerFile)
    options.compute = ComputeOptions(precision: .float32, place: .cpu, threads: 1)
    (options.saveEvery, options.logEvery, options.resumes) = (saveEvery, 1, resumes)
    return options
  }
}
