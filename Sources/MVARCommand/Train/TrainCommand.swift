import ArgumentParser

struct TrainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Trains tokenizers and models.",
    discussion: """
      First a tokenizer, which turns pictures into tokens and back; then a model, which says what \
      tokens a class has.
      """,
    subcommands: [TrainTokenizerCommand.self, TrainModelCommand.self])
}
