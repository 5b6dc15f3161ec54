#!/usr/bin/env python3
"""Makes a labelled set of pictures out of the colour emoji that Debian carries.

    python3 -m pip install fonttools pillow
    python3 Scripts/emoji/make_dataset.py --out .cache/emoji

Noto Color Emoji (bitmaps of the CBDT table) and Twemoji (coloured layers of the font in firefox-esr)
become RGBA pictures of 136 × 136, named and classed by Unicode's emoji-test.txt:

    OUT/classes/<class>/<vendor>-<code points>.png
    OUT/others/<vendor>-<code points>.png      in no class; for a tokenizer
    OUT/labels.csv                             file,class,name,vendor,codepoints,subgroup,split
    OUT/DATA_CARD.md

Nothing is installed: the packages are fetched with apt-get download and unpacked in a cache folder.
The program rsvg-convert is used where it is installed (librsvg2-bin) or else from its package.
The pictures held out ("test" in the column split) are chosen by code point, so that no drawing of an
emoji that is measured on is trained on, by whichever vendor or of whichever gender.
"""
import argparse
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fontTools.misc.transform import Identity
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.pens.transformPen import TransformPen
from fontTools.ttLib import TTFont
from PIL import Image

from classes import CLASSES, FLAG_LIMIT, LEFT_OUT, class_of

PACKAGES = ["fonts-noto-color-emoji", "firefox-esr", "unicode-data"]
SIDE = 136
MARGIN = 4
HELD_OUT = 0.07
SKIN_TONES = range(0x1F3FB, 0x1F400)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", required=True, type=Path, help="the folder to make; it must be new or empty")
    arguments.add_argument("--cache", type=Path, default=Path(".cache/emoji-packages"), help="where packages are kept")
    arguments.add_argument("--sheets", type=Path, help="a folder for a contact sheet of each class, to look at")
    options = arguments.parse_args()
    if options.out.exists() and any(options.out.iterdir()):
        sys.exit(f"{options.out} is not empty; name a new folder or remove it")

    packages = Packages(options.cache)
    emoji = read_emoji_test(packages.file("unicode-data", "usr/share/unicode/emoji/emoji-test.txt"))
    noto = Noto(packages.file("fonts-noto-color-emoji", "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
    twemoji = Twemoji(packages.file("firefox-esr", "usr/lib/firefox-esr/fonts/TwemojiMozilla.ttf"), packages.rsvg_convert())

    staging = options.out.with_name(options.out.name + ".part")
    shutil.rmtree(staging, ignore_errors=True)
    rows = draw_all(emoji, [noto, twemoji], staging)
    with open(staging / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (staging / "DATA_CARD.md").write_text(data_card(rows, packages), encoding="utf-8")
    if options.sheets:
        write_sheets(rows, staging, options.sheets)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.out.exists():
        options.out.rmdir()
    staging.rename(options.out)
    counts = Counter(row["class"] or "(no class)" for row in rows)
    for label, count in counts.items():
        print(f"{count:6} {label}")
    print(f"{len(rows)} pictures in {options.out}")


class Packages:
    """Debian packages, fetched once and unpacked."""

    def __init__(self, cache):
        self.cache = cache.absolute()
        self.versions = {}
        (self.cache / "debs").mkdir(parents=True, exist_ok=True)

    def root(self, package):
        folder = self.cache / package
        debs = self.cache / "debs"
        found = sorted(debs.glob(f"{package}_*.deb"))
        if not found:
            print(f"fetching {package}")
            result = subprocess.run(["apt-get", "download", package], cwd=debs, capture_output=True, text=True)
            found = sorted(debs.glob(f"{package}_*.deb"))
            if not found:
                reason = (result.stderr.strip().splitlines() or ["no file came"])[-1]
                sys.exit(f"apt-get download {package} failed ({reason}); run apt-get update, or put the .deb into {debs}")
        if not folder.exists():
            part = self.cache / f"{package}.part"
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run(["dpkg-deb", "-x", found[-1], part], check=True)
            part.rename(folder)
        self.versions[package] = subprocess.run(
            ["dpkg-deb", "-f", found[-1], "Version"], check=True, capture_output=True, text=True).stdout.strip()
        return folder

    def file(self, package, path):
        file = self.root(package) / path
        if not file.exists():
            sys.exit(f"{package} {self.versions[package]} has no {path}; it was there in Debian 12")
        return file

    def rsvg_convert(self):
        program = shutil.which("rsvg-convert") or self.file("librsvg2-bin", "usr/bin/rsvg-convert")
        if subprocess.run([program, "--version"], capture_output=True).returncode != 0:
            sys.exit("rsvg-convert does not run here; install it with: apt-get install librsvg2-bin")
        return str(program)


def stripped(codepoints):
    """Without the joiner and the selector of pictures, which fonts use or leave out as they like."""
    return tuple(c for c in codepoints if c not in (0xFE0F, 0x200D))


def read_emoji_test(path):
    """One entry for each fully qualified emoji without a skin tone, in Unicode's order."""
    entries, subgroup = [], ""
    find = class_of()
    for line in open(path, encoding="utf-8"):
        if line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        match = re.match(r"([0-9A-F ]+?)\s*; fully-qualified\s*# \S+ E\S+ (.*)$", line)
        if not match or subgroup in LEFT_OUT:
            continue
        codepoints = [int(c, 16) for c in match[1].split()]
        if any(c in SKIN_TONES for c in codepoints):
            continue
        name = match[2].strip()
        entries.append({
            "codepoints": stripped(codepoints), "name": name, "subgroup": subgroup, "class": find(subgroup, name)})
    known = {entry["name"] for entry in entries}
    for label, (_, less, more) in CLASSES.items():
        for name in filter(None, (n.strip() for n in f"{less},{more}".split(","))):
            if name not in known:
                print(f"note: this emoji-test.txt has no {name!r} ({label})")
    entries = thin_flags(entries)
    hold_out(entries)
    return entries


def thin_flags(entries):
    flags = [entry for entry in entries if entry["class"] == "flag"]
    kept = {id(flags[i * len(flags) // FLAG_LIMIT]) for i in range(min(FLAG_LIMIT, len(flags)))}
    return [entry for entry in entries if entry["class"] != "flag" or id(entry) in kept]


def family(entry):
    """What is the same drawing in other hands: one name for the genders, one for the hours."""
    name = re.sub(r"\b(man|woman|person|men|women|people|boy|girl|prince|princess|wo|old|older)\b", "", entry["name"])
    return re.sub(r"\W+", " ", name).strip() or entry["name"]


def hold_out(entries):
    """Marks about one in fourteen families of each class, at least one, by a hash of its name."""
    families = defaultdict(set)
    for entry in entries:
        families[entry["class"]].add(family(entry))
    held_out = set()
    for label, found in families.items():
        ordered = sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())
        held_out |= {(label, name) for name in ordered[:max(1, round(HELD_OUT * len(found)))]}
    for entry in entries:
        entry["split"] = "test" if (entry["class"], family(entry)) in held_out else "train"


def sequences(font):
    """Glyph names by stripped code points: single characters, and ligatures of the GSUB table."""
    characters = font.getBestCmap()
    found = {stripped([c]): glyph for c, glyph in characters.items() if stripped([c])}
    codes = {}
    for c, glyph in characters.items():
        codes.setdefault(glyph, c)
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, ligatures in getattr(table, "ligatures", {}).items():
                for ligature in ligatures:
                    glyphs = [first] + ligature.Component
                    if all(glyph in codes for glyph in glyphs):
                        found.setdefault(stripped(codes[glyph] for glyph in glyphs), ligature.LigGlyph)
    return found


class Noto:
    """Bitmaps of 136 × 128."""

    vendor = "noto"

    def __init__(self, path):
        font = TTFont(path)
        self.glyphs = sequences(font)
        self.bitmaps = font["CBDT"].strikeData[0]

    def draw(self, codepoints):
        glyph = self.glyphs.get(codepoints)
        if glyph not in self.bitmaps:
            return None
        return on_square(Image.open(io.BytesIO(self.bitmaps[glyph].imageData)).convert("RGBA"))


class Twemoji:
    """Outlines in coloured layers, drawn as SVG."""

    vendor = "twemoji"

    def __init__(self, path, rsvg_convert):
        font = TTFont(path)
        self.glyphs = sequences(font)
        self.layers = font["COLR"].ColorLayers
        self.palette = font["CPAL"].palettes[0]
        self.outlines = font.getGlyphSet()
        self.ascent, self.descent = font["hhea"].ascent, font["hhea"].descent
        self.widths = font["hmtx"]
        self.rsvg_convert = rsvg_convert

    def draw(self, codepoints):
        glyph = self.glyphs.get(codepoints)
        if glyph not in self.layers:
            return None
        result = subprocess.run(
            [self.rsvg_convert, "--width", str(SIDE - 2 * MARGIN), "--keep-aspect-ratio", "--format", "png"],
            input=self.svg(glyph).encode(), capture_output=True, check=True)
        return on_square(Image.open(io.BytesIO(result.stdout)).convert("RGBA"))

    def svg(self, glyph):
        paths, box = [], None
        for layer in self.layers[glyph]:
            color = self.palette[layer.colorID]
            pen = SVGPathPen(self.outlines)
            # Fonts count upwards, SVG downwards.
            self.outlines[layer.name].draw(TransformPen(pen, Identity.scale(1, -1)))
            alpha = color.alpha / 255
            paths.append(
                f'<path d="{pen.getCommands()}" fill="rgb({color.red},{color.green},{color.blue})" fill-opacity="{alpha:.4f}"/>')
        width = self.widths[glyph][0]
        height = self.ascent - self.descent
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-self.ascent} {width} {height}" '
            f'width="{width}" height="{height}">' + "".join(paths) + "</svg>")


def on_square(picture):
    """In the middle of a transparent square, shrunk if it is larger."""
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE), Image.LANCZOS)
    square = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return square


def draw_all(entries, vendors, out):
    """Writes every picture and returns the rows of the table."""
    def draw(task):
        entry, vendor = task
        picture = vendor.draw(entry["codepoints"])
        if picture is None or picture.getchannel("A").getextrema()[1] == 0:
            return None
        codes = "-".join(f"{c:04x}" for c in entry["codepoints"])
        folder = Path("classes") / entry["class"] if entry["class"] else Path("others")
        file = folder / f"{vendor.vendor}-{codes}.png"
        (out / folder).mkdir(parents=True, exist_ok=True)
        picture.save(out / file, optimize=True)
        return {
            "file": str(file), "class": entry["class"] or "", "name": entry["name"], "vendor": vendor.vendor,
            "codepoints": codes, "subgroup": entry["subgroup"], "split": entry["split"]}

    order = list(CLASSES)
    tasks = [(entry, vendor) for entry in entries for vendor in vendors]
    # fontTools reads glyphs lazily from one file, so that only the drawing program runs beside.
    with ThreadPoolExecutor(1 if os.cpu_count() == 1 else 2) as pool:
        rows = [row for row in pool.map(draw, tasks) if row]
    rows.sort(key=lambda row: (order.index(row["class"]) if row["class"] else len(order), row["file"]))
    seen, kept = set(), []
    for row in rows:
        # A variant may share its picture with another code point; one is enough.
        digest = hashlib.sha256((out / row["file"]).read_bytes()).digest()
        if digest in seen:
            (out / row["file"]).unlink()
        else:
            seen.add(digest)
            kept.append(row)
    return kept


def write_sheets(rows, out, sheets):
    """Each class on white, the held-out pictures on grey."""
    sheets.mkdir(parents=True, exist_ok=True)
    groups = defaultdict(list)
    for row in rows:
        groups[row["class"] or "others"].append(row)
    for label, group in groups.items():
        columns = 16
        lines = -(-len(group) // columns)
        sheet = Image.new("RGB", (columns * 72, lines * 72), "white")
        for index, row in enumerate(group):
            picture = Image.open(out / row["file"]).resize((68, 68), Image.LANCZOS)
            tile = Image.new("RGB", (72, 72), "white" if row["split"] == "train" else (200, 200, 200))
            tile.paste(picture, (2, 2), picture)
            sheet.paste(tile, (index % columns * 72, index // columns * 72))
        sheet.save(sheets / f"{label}.png")


def data_card(rows, packages):
    counts = defaultdict(Counter)
    for row in rows:
        counts[row["class"] or "(no class)"][row["vendor"], row["split"]] += 1
    lines = "\n".join(
        f"| {label} | {sum(c.values())} | {c['noto', 'train'] + c['noto', 'test']} "
        f"| {c['twemoji', 'train'] + c['twemoji', 'test']} | {c['noto', 'test'] + c['twemoji', 'test']} |"
        for label, c in counts.items())
    classed = sum(1 for row in rows if row["class"])
    return CARD.format(
        pictures=len(rows), classed=classed, classes=len(CLASSES), lines=lines, flags=FLAG_LIMIT,
        versions="\n".join(f"| {package} | {version} |" for package, version in packages.versions.items()))


CARD = """# Data card: colour emoji of two vendors

{pictures} RGBA pictures of 136 × 136 pixels, {classed} of them in {classes} classes. Made by
`Scripts/emoji/make_dataset.py`; the pictures themselves are not part of the repository.

## Sources and licences

| Debian package | version |
|---|---|
{versions}

- **Noto Color Emoji**, © Google: the bitmaps of `fonts-noto-color-emoji`. The font is under the SIL Open
  Font License 1.1, the artwork under Apache-2.0.
- **Twemoji**, © Twitter, Inc and other contributors, under CC BY 4.0
  (https://creativecommons.org/licenses/by/4.0/): the coloured outlines of Mozilla's font in
  `firefox-esr`, drawn as pictures. What is made from them must name them, as this card does.
- Names and groups: Unicode's `emoji-test.txt`, from `unicode-data`, under the Unicode License.

OpenMoji and EmojiOne, which Debian also carries, are CC BY-SA and are not used.

## How it was made

- Every fully qualified emoji without a skin tone; no families, letters, arrows, signs or clock-like
  symbols in boxes; {flags} flags, evenly through the alphabet.
- Noto: the bitmap as it is, in the middle of the square. Twemoji: the font's layers as SVG, drawn 128
  pixels wide, in the middle of the square. Of several code points with the same picture one is kept.
- Classes follow Unicode's subgroups, cut by what a drawing shows (`classes.py`): the faces of animals
  apart from whole animals, cars apart from trains.
- Held out (split `test`): about 7 % of each class, at least one emoji, by a hash of its name without
  its gender, in both vendors' drawings. The column `split` of `labels.csv` says which.

| class | pictures | Noto | Twemoji | held out |
|---|---|---|---|---|
{lines}

## Limits

Two vendors draw the same things in much the same way, so a picture held out has no drawing of its own
emoji in training, but near relatives: what a model draws can be closer to memory than to invention.
People are drawn in the vendors' yellow only. Flags are those that the vendors chose to draw.
"""


if __name__ == "__main__":
    main()
