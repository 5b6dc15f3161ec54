import ArgumentParser

struct EditCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "edit",
    abstract: "Draws parts of pictures anew, varies them, and goes from seed to seed.",
    discussion: """
      No model was trained for it: the picture becomes tokens, and at every scale those outside the \
      region are kept while those inside are drawn, so that the new fits the old.

        mvar edit inpaint --model m-var-d16 --image in.png --mask mask.png \\
          --class 207 --out out.png
        mvar edit outpaint --model m-var-d16 --image in.png --left 64 --right 64 \\
          --out out.png
        mvar edit class --model m-var-d16 --image in.png --box 40,40,200,220 \\
          --class tabby --out out.png
        mvar edit vary --model m-var-d16 --image in.png --strength 0.4 --out v.png
        mvar edit interpolate --model m-var-d16 --class 207 --from 1 --to 2 \\
          --steps 8 --out between

      What is kept comes back as the tokenizer reconstructs it; --keep-pixels puts the original's own \
      pixels back. Seeds, settings and batches work as in `mvar sample`.
      """,
    subcommands: [
      InpaintCommand.self, OutpaintCommand.self, EditClassCommand.self, VaryCommand.self,
      InterpolateCommand.self,
    ])
}
