"""Times mvar and the PyTorch baseline on one GPU in one run, and writes a table, a record and a plot.

    python3 Benchmarks/gpu/compare.py --mvar .build/release/mvar --out Benchmarks/results

Both use random weights of the published shapes, guidance, top-k 900 and top-p 0.96; the decoder is included. `mvar`
runs in 16 bits; so does the baseline, with autocast, as the reference's own demo does. Needs PyTorch with CUDA; the plot
needs matplotlib.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

CAN_PLOT = importlib.util.find_spec("matplotlib") is not None
NAMES = {"mvar": "M-VAR", "var": "VAR"}
BASELINE = Path(__file__).resolve().parent.parent / "pytorch" / "bench.py"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mvar", default="mvar", help="the tool to measure")
    parser.add_argument("--models", default="mvar,var")
    parser.add_argument("--depths", default="16,24")
    parser.add_argument("--batches", default="1,8,64")
    parser.add_argument("--image-size", default="256")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeat", default="5")
    parser.add_argument("--baseline-repeat", default="3", help="0 leaves the baseline out")
    parser.add_argument("--baseline", metavar="MODEL:DEPTH:BATCH,…", default="",
                        help="rows that the baseline runs as well; all if left out")
    parser.add_argument("--compile", metavar="MODEL:DEPTH:BATCH,…", default="",
                        help="rows for which the baseline is also compiled, which takes minutes each")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one row of one program")
    parser.add_argument("--out", type=Path, default=Path("Benchmarks/results"))
    parser.add_argument("--name", default="gpu", help="of the files that are written")
    return parser.parse_args()


def measured(command: list[str], limit: float) -> dict | None:
    """The record that a benchmark writes with --json; None if it failed or took too long."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        try:
            subprocess.run(command + ["--json", str(record)], check=True, timeout=limit,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        except subprocess.TimeoutExpired:
            print(f"  not within {limit:.0f} s: {' '.join(command)}", file=sys.stderr)
            return None
        except subprocess.CalledProcessError as error:
            print(f"  failed: {' '.join(command)}\n{error.stderr[-800:]}", file=sys.stderr)
            return None
        return json.loads(record.read_text())


def rows(o: argparse.Namespace):
    eager, compiled = (set(filter(None, names.split(","))) for names in (o.baseline, o.compile))
    for depth in o.depths.split(","):
        for model in o.models.split(","):
            for batch in o.batches.split(","):
                shape = ["--model", model, "--depth", depth, "--batch", batch, "--image-size", o.image_size]
                row = {"model": model, "depth": int(depth), "batch": int(batch)}
                ours = [o.mvar, "bench", *shape, "--device", "cuda", "--dtype", o.dtype, "--repeat", o.repeat]
                row["mvar"] = measured(ours, o.limit)
                theirs = [sys.executable, str(BASELINE), *shape, "--device", "cuda", "--dtype", o.dtype, "--autocast",
                          "--cfg", "1.5", "--top-p", "0.96", "--repeat", o.baseline_repeat]
                name = f"{model}:{depth}:{batch}"
                if o.baseline_repeat != "0" and (not eager or name in eager):
                    row["eager"] = measured(theirs, o.limit)
                if name in compiled:
                    row["compiled"] = measured(theirs + ["--compile"], o.limit)
                yield row


def milliseconds(record: dict | None) -> float | None:
    return record and 1000 * record["seconds_per_image"]["total"]


def line(row: dict) -> str:
    ours, eager, compiled = (milliseconds(row.get(k)) for k in ("mvar", "eager", "compiled"))
    record = row["mvar"] or {}
    parts = record.get("seconds_per_image", {})
    floor, memory = record.get("floor_seconds_per_image"), record.get("peak_device_bytes")
    cells = [
        f"{row['model']} d{row['depth']}", str(row["batch"]),
        *(f"{1000 * parts[k]:.2f}" if parts else "–" for k in ("transformer", "decoder", "total")),
        f"{100 * floor / parts['total']:.0f} %" if floor and parts else "–",
        f"{memory / 2**30:.1f}" if memory else "–",
        f"{eager:.1f}" if eager else "–", f"{eager / ours:.1f} ×" if eager and ours else "–",
        f"{compiled:.1f}" if compiled else "–", f"{compiled / ours:.1f} ×" if compiled and ours else "–",
    ]
    return "| " + " | ".join(cells) + " |"


HEADING = """| model | batch | transformer | decoder | total | of the floor | GiB | PyTorch eager | faster | compiled | faster |
|---|---|---|---|---|---|---|---|---|---|---|"""


def plot(results: list[dict], file: Path, title: str) -> None:
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    models = list(dict.fromkeys((r["model"], r["depth"]) for r in results))
    for color, (model, depth) in enumerate(models):
        for key, style, name in (("mvar", "-o", "here"), ("eager", "--s", "PyTorch")):
            points = [(r["batch"], milliseconds(r.get(key))) for r in results
                      if (r["model"], r["depth"]) == (model, depth) and r.get(key)]
            if points:
                label = f"{NAMES[model]} d{depth}, {name}"
                axes.plot(*zip(*points), style, color=f"C{color}", label=label)
    batches = sorted({r["batch"] for r in results})
    axes.set(xscale="log", yscale="log", xlabel="pictures in a batch", ylabel="milliseconds a picture", title=title)
    axes.set_xticks(batches, [str(b) for b in batches])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, bbox_inches="tight")
    pyplot.close(figure)


def write(o: argparse.Namespace, where: dict[str, str], title: str, results: list[dict], lines: list[str]) -> None:
    (o.out / f"{o.name}.json").write_text(json.dumps({**where, "rows": results}, indent=1))
    (o.out / f"{o.name}.md").write_text(f"{title}; milliseconds an image\n\n{HEADING}\n" + "\n".join(lines) + "\n")
    if CAN_PLOT:
        plot(results, o.out / f"{o.name}.svg", title)


def main() -> None:
    o = parse()
    import torch

    device = torch.cuda.get_device_name()
    title = f"{device}, {o.image_size} px, {o.dtype}, libtorch {torch.__version__}"
    print(f"{title}; milliseconds an image\n\n{HEADING}", flush=True)
    o.out.mkdir(parents=True, exist_ok=True)
    results, lines = [], []
    for row in rows(o):
        results.append(row)
        lines.append(line(row))
        print(lines[-1], flush=True)
        # After every row, so that a run that is cut short loses nothing.
        write(o, {"device": device, "torch": torch.__version__}, title, results, lines)
    if not CAN_PLOT:
        print("no plot: matplotlib is missing", file=sys.stderr)


if __name__ == "__main__":
    main()
