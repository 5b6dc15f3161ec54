import ArgumentParser

struct EvaluateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Measures generated pictures and tokenizers: FID, IS, precision, recall and more.",
    discussion: """
      Two sets of pictures, or a model whose pictures are generated first:

        mvar evaluate --images generated/ --reference real/
        mvar evaluate --model d16.pth --tokenizer vae_ch160v4096z32.pth --samples 50000 \\
          --reference VIRTUAL_imagenet256_labeled.npz --inception pt_inception-2015-12-05-6726825d.pth

      What a tokenizer keeps of pictures:

        mvar evaluate reconstruction --tokenizer vae_ch160v4096z32.pth --data val/

      Options of the first form: mvar help evaluate pictures.
      """,
    subcommands: [
      EvaluatePicturesCommand.self, EvaluateReconstructionCommand.self, EvaluateBenchCommand.self,
    ],
    defaultSubcommand: EvaluatePicturesCommand.self)
}
