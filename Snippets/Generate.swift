// Generates two golden retrievers, showing the picture after every scale.
import MVAR
import Pictures

let generator = try await ImageGenerator(
  model: "d16.pth", tokenizer: "vae_ch160v4096z32.pth")
let requests = [ImageRequest(label: 207, seed: 1), ImageRequest(label: 207, seed: 2)]

for try await scale in generator.scales(requests, previews: true) {
  for (index, picture) in (scale.pictures ?? []).enumerated() {
    try picture.write(to: "retriever-\(index)-scale\(scale.index).png")
  }
}
