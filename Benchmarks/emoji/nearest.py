"""How much of a small model's pictures is memory: each beside the closest picture it learnt from.

    python3 -m pip install pillow numpy
    python3 Benchmarks/emoji/nearest.py --samples demo/samples --data .cache/emoji --out nearest.png

Distances are mean absolute differences of pixels in [0, 1] on white, the smaller of a picture and its
mirror image. The same distance from the held-out pictures to the training pictures says how alike two
drawings are that nobody copied.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COPY = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="a folder of generated pictures, one class a name")
    parser.add_argument("--data", type=Path, required=True, help="what Scripts/emoji/make_dataset.py made")
    parser.add_argument("--side", type=int, default=96, help="pixels along a side")
    parser.add_argument("--shown", type=int, default=48, help="pictures on the sheet")
    parser.add_argument("--out", type=Path, required=True, help="the sheet: a generated picture, then its closest one")
    options = parser.parse_args()

    rows = list(csv.DictReader(open(options.data / "labels.csv", newline="")))
    known = {split: [on_white(options.data / row["file"], options.side) for row in rows if row["split"] == split and row["class"]]
             for split in ("train", "test")}
    training = np.stack(known["train"] + [mirrored(picture) for picture in known["train"]])
    files = sorted(options.samples.rglob("*.png"))
    samples = [on_white(file, options.side) for file in files]
    nearest = [closest(sample, training) for sample in samples]
    distances = np.array([distance for _, distance in nearest])
    held_out = np.array([closest(picture, training)[1] for picture in known["test"]])
    print(json.dumps({
        "samples": len(samples), "training pictures": len(known["train"]),
        "median distance": round(float(np.median(distances)), 4),
        f"share below {COPY}": round(float((distances < COPY).mean()), 3),
        "held-out median distance": round(float(np.median(held_out)), 4),
        f"held-out share below {COPY}": round(float((held_out < COPY).mean()), 3),
        "smallest distance": round(float(distances.min()), 4),
    }, indent=2))
    chosen = np.linspace(0, len(samples) - 1, min(options.shown, len(samples))).astype(int)
    sheet([(samples[i], training[nearest[i][0]], distances[i]) for i in chosen], options.side).save(options.out)


def on_white(file: Path, side: int) -> np.ndarray:
    picture = Image.open(file).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return np.asarray(white.convert("RGB").resize((side, side), Image.LANCZOS), dtype=np.float32) / 255


def mirrored(picture: np.ndarray) -> np.ndarray:
    return picture[:, ::-1]


def closest(picture: np.ndarray, others: np.ndarray) -> tuple[int, float]:
    distances = np.concatenate([np.abs(part - picture).mean((1, 2, 3)) for part in np.array_split(others, 16)])
    index = int(distances.argmin())
    return index, float(distances[index])


def sheet(triples: list, side: int, columns: int = 6) -> Image.Image:
    lines = (len(triples) + columns - 1) // columns
    width, height = 2 * side + 12, side + 18
    image = Image.new("RGB", (columns * width, lines * height), "white")
    draw = ImageDraw.Draw(image)
    for i, (sample, other, distance) in enumerate(triples):
        left, top = i % columns * width, i // columns * height
        for place, picture in enumerate((sample, other)):
            image.paste(Image.fromarray((picture * 255).round().astype(np.uint8)), (left + place * (side + 2), top))
        draw.text((left + 2, top + side + 2), f"{distance:.3f}", fill="black")
    return image


if __name__ == "__main__":
    main()
