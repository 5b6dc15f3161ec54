"""Writes blended.safetensors: the transparent pictures here over the colour (200, 100, 50).

Pillow decodes; each byte is (colour * alpha + background * (255 - alpha) + 127) // 255. Pictures of
16 bits are left out, because Pillow cannot read them with their alpha as libspng does.
    pip install pillow numpy safetensors
"""
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

names = "rgba.png gray-alpha.png palette-alpha.png transparent-color.png gray-transparent.png alpha.webp".split()
blended = {}
for name in names:
    layers = np.asarray(Image.open(name).convert("RGBA")).astype(int)
    colour, alpha = layers[..., :3], layers[..., 3:]
    background = np.array([200, 100, 50])
    blended[name] = np.ascontiguousarray((colour * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)
save_file(blended, "blended.safetensors")
