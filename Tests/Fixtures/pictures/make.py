"""Makes the pictures in this folder, and what Pillow reads from them.

Run in this folder with: pip install pillow numpy safetensors; apt-get install libturbojpeg0
Made with Pillow 13.0.0 (libjpeg-turbo 3.2.0, libwebp 1.6.0) and libturbojpeg 2.1.5.
"""

import ctypes, struct, zlib
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin
from safetensors.numpy import save_file

W, H = 22, 15
y, x = np.mgrid[0:H, 0:W]
rng = np.random.default_rng(7)
# A smooth picture without any symmetry, and a bright block in the top left corner.
rgb = np.stack([x * 11, y * 16, 255 - x * 5 - y * 7], -1) + rng.integers(0, 4, (H, W, 3))
rgb = rgb.clip(0, 255).astype(np.uint8)
rgb[:4, :7] = [250, 200, 30]
alpha = ((x * 37 + y * 11) % 256).astype(np.uint8)
picture = Image.fromarray(rgb)
gray = picture.convert("L")


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(name, bits, color, rows, width=W, height=H, interlace=0):
    """A PNG of a kind that Pillow does not write; `rows` are unfiltered."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    with open(name, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data))
        file.write(chunk(b"IEND", b""))


for value in range(1, 9):
    picture.save(f"orientation-{value}.jpg", quality=95, subsampling=0, exif=exif(value))
picture.save("orientation-6.png", exif=exif(6))
picture.save("orientation-8.webp", lossless=True, exif=exif(8))
xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
picture.save("xmp-3.jpg", quality=95, subsampling=0, xmp=xmp % 3)
picture.save("xmp-5.webp", lossless=True, xmp=xmp % 5)
text = PngImagePlugin.PngInfo()
text.add_itxt("XML:com.adobe.xmp", "<tiff:Orientation>7</tiff:Orientation>")
picture.save("xmp-7.png", pnginfo=text)
# EXIF goes before XMP.
picture.save("exif-2-xmp-7.png", pnginfo=text, exif=exif(2))
text = PngImagePlugin.PngInfo()
block = exif(8)
text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
picture.save("raw-profile-8.png", pnginfo=text)

wide = np.dstack([rgb, alpha]).astype(">u2") * 257 + 1
png("rgb16.png", 16, 2, [row.tobytes() for row in wide[..., :3]])
png("rgba16.png", 16, 6, [row.tobytes() for row in wide])
# Pillow makes all from 255 up white.
png("gray16.png", 16, 0, [row.tobytes() for row in (x * 24 + y * 3).astype(">u2")])
png("gray-alpha16.png", 16, 4, [row.tobytes() for row in wide[..., ::3]])
passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
png("interlaced.png", 8, 2, [row.tobytes() for a, b, dx, dy in passes for row in rgb[b::dy, a::dx]], interlace=1)
for bits in (1, 2, 4):
    levels = np.asarray(gray) >> (8 - bits)
    width = W * bits
    as_bits = (levels[..., None] >> np.arange(bits)[::-1]) & 1
    png(f"gray{bits}.png", bits, 0, [row.tobytes() for row in np.packbits(as_bits.reshape(H, width), axis=1)])
Image.merge("LA", [gray, Image.fromarray(alpha)]).save("gray-alpha.png")
Image.fromarray(np.dstack([rgb, alpha])).save("rgba.png")
picture.save("transparent-color.png", transparency=(250, 200, 30))
palette = picture.quantize(13)
palette.save("palette4.png", bits=4)
palette.save("palette-alpha.png", transparency=bytes(range(0, 250, 20)))
for bits in (1, 2):
    picture.quantize(1 << bits).save(f"palette{bits}.png", bits=bits)
gray.save("gray-transparent.png", transparency=int(np.asarray(gray)[0, 0]))

gray.save("gray.jpg", quality=90)
picture.save("progressive.jpg", quality=90, progressive=True)
picture.save("subsampled.jpg", quality=90, subsampling="4:2:0")
picture.convert("CMYK").save("cmyk.jpg", quality=95)

turbo = ctypes.CDLL("libturbojpeg.so.0")
turbo.tjInitCompress.restype = ctypes.c_void_p
ink = np.ascontiguousarray(np.dstack([rgb, 255 - (alpha >> 2)]))
RGB, CMYK = 0, 11
S444, S440, S411 = 0, 4, 5


def jpeg(name, pixels, layout, sampling):
    """A JPEG of a kind that Pillow does not write."""
    out, size = ctypes.c_void_p(), ctypes.c_ulong()
    handle = ctypes.c_void_p(turbo.tjInitCompress())
    data = np.ascontiguousarray(pixels).ctypes.data_as(ctypes.c_void_p)
    assert turbo.tjCompress2(handle, data, W, 0, H, layout, ctypes.byref(out), ctypes.byref(size), sampling, 95, 4096) == 0
    open(name, "wb").write(ctypes.string_at(out, size.value))


jpeg("ycck.jpg", ink, CMYK, S444)
jpeg("sampling440.jpg", rgb, RGB, S440)
jpeg("sampling411.jpg", rgb, RGB, S411)

picture.save("lossy.webp", quality=85)
Image.fromarray(np.dstack([rgb, alpha])).save("alpha.webp", lossless=True, exact=True)
picture.save("animated.webp", save_all=True, append_images=[picture.transpose(0)], lossless=True)

text = PngImagePlugin.PngInfo()
text.add_text("Title", "caf\u00e9")
text.add_text("Comment", "a long line " * 40, zip=True)
text.add_itxt("Description", "\u91d1\u6bdb\u5bfb\u56de\u72ac \U0001f415")
text.add_itxt("Packed", "\u03b1\u03b2\u03b3 " * 40, zip=True)
picture.save("texts.png", pnginfo=text)
late = PngImagePlugin.PngInfo()
late.add_text("Before", "the pixels")
late.add(b"tEXt", b"After\0the pixels", after_idat=True)
picture.save("late-text.png", pnginfo=late)

png("gigapixel.png", 8, 2, [b"\0"], width=40_000, height=40_000)

expected = {}
import glob

for name in sorted(glob.glob("*.png") + glob.glob("*.jpg") + glob.glob("*.webp")):
    if name == "gigapixel.png":
        continue
    image = ImageOps.exif_transpose(Image.open(name)).convert("RGB")
    expected[name] = np.asarray(image)
save_file({name: np.ascontiguousarray(value) for name, value in expected.items()}, "expected.safetensors")
