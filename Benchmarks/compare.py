"""Prints the results of `make bench` side by side: the first file is what the others are compared with."""

import json
import sys
from pathlib import Path


def name(result: dict) -> str:
    settings = result["settings"]
    return f"{result['program']} {settings['dtype']} {settings['device']}"


def row(result: dict, baseline: float) -> str:
    seconds = result["seconds_per_image"]
    memory = result["peak_rss_bytes"] / 2**30
    ratio = baseline / seconds["total"]
    return (
        f"{name(result):28}{seconds['transformer']:12.3f}{seconds['decoder']:10.3f}"
        f"{seconds['total']:9.3f}{ratio:8.2f} x{memory:9.2f}"
    )


def main() -> None:
    results = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    baseline = results[0]["seconds_per_image"]["total"]
    settings = results[0]["settings"]
    print(f"{settings['model']} d{settings['depth']}, {settings['image_size']} px, batch {settings['batch']}, "
          f"{settings['threads']} threads; seconds an image")
    print(f"{'':28}{'transformer':>12}{'decoder':>10}{'total':>9}{'faster':>10}{'GiB':>9}")
    for result in results:
        print(row(result, baseline))


if __name__ == "__main__":
    main()
