// Puts a tabby into a box of a picture and keeps the rest of it as it is.
import MVAR
import Pictures

let generator = try await ImageGenerator(
  model: "d16.pth", tokenizer: "vae_ch160v4096z32.pth", edits: true)
let schedule = generator.configuration.schedule

let picture = try Picture(contentsOf: "in.png")
let mask = try EditMask(
  width: picture.width, height: picture.height,
  box: PixelBox(left: 40, top: 40, right: 200, bottom: 220))

// Pictures of any size: the canvas brings them to the model's and back.
let canvas = try EditCanvas(picture, modelSize: generator.pictureSize)
let request = EditRequest(
  picture: canvas.fitted, mask: try canvas.fitted(mask, schedule: schedule), label: 281, seed: 1)

let drawn = try await generator.edited([request])[0]
try canvas.finished(drawn, keepingPixelsOutside: mask).write(to: "out.png")
