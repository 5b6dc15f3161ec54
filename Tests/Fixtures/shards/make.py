"""Writes three shards with the same four samples, in the three dialects of tar.

Two names are longer than the 100 bytes that a plain header holds, and one is not ASCII, so that ustar's
prefix, PAX records and GNU's long names are all read. Picture i is 8 × 6 pixels of the colour (40 i, 200 - 40 i, 9 i).
    pip install pillow
"""
import io
import json
import tarfile

from PIL import Image

DEEP = "part/" + "d" * 60 + "/" + "e" * 60 + "/"
KEYS = ["0000", "0001", DEEP + "0002", "0003"]
NOTES = [("cls", b"1"), ("json", json.dumps({"label": 0, "caption": "é"}).encode()), ("txt", b"2\n"), ("cls", b"1")]


def picture(i):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (40 * i, 200 - 40 * i, 9 * i)).save(buffer, "PNG")
    return buffer.getvalue()


for name, dialect in [("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT)]:
    with tarfile.open(f"{name}.tar", "w", format=dialect) as tar:
        for i, (key, (ending, note)) in enumerate(zip(KEYS, NOTES)):
            if i == 3 and name == "pax":
                key = "größe-0003"
            for member, data in [(f"{key}.png", picture(i)), (f"{key}.{ending}", note)]:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
