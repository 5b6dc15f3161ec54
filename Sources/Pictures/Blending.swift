extension Picture {
  /// A picture whose pixels `fill` writes as red, green, blue and alpha, blended with a background.
  ///
  /// Each byte is colour · α + background · (1 − α), rounded.
  init(
    width: Int, height: Int, over background: RGB, fill: (UnsafeMutablePointer<UInt8>) -> Void
  ) {
    let count = width * height
    self.init(width: width, height: height) { out in
      let layers = UnsafeMutablePointer<UInt8>.allocate(capacity: 4 * count)
      defer { layers.deallocate() }
      // A decoder that gives up half-way leaves the rest transparent.
      layers.initialize(repeating: 0, count: 4 * count)
      fill(layers)
      let behind = [Int(background.red), Int(background.green), Int(background.blue)]
      for pixel in 0..<count {
        let alpha = Int(layers[4 * pixel + 3])
        for channel in 0..<3 {
          let sum = Int(layers[4 * pixel + channel]) * alpha + behind[channel] * (255 - alpha)
          out[3 * pixel + channel] = UInt8((sum + 127) / 255)
        }
      }
    }
  }

  /// The picture with left and right exchanged.
  public func mirrored() -> Picture { upright(from: .mirrored) }
}
