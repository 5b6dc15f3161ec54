"""Times the baseline: seconds an image, split into transformer and decoder, and peak memory."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from make_random_checkpoint import SEED, TOKENIZER_FILE, model_file, random_tokenizer, random_transformer
from models import PATCH_NUMS, Mamba2, Tokenizer, TokenizerShape, Transformer, TransformerShape, build, float_state

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("mvar", "var"), default="mvar")
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--image-size", type=int, choices=PATCH_NUMS, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--autocast", action="store_true",
                        help="keep float32 weights and cast at each operation, as the reference's demo does")
    parser.add_argument("--tf32", action="store_true", help="let a GPU use TF32 for float32 products")
    parser.add_argument("--compile", action="store_true", help="torch.compile each block and the decoder")
    parser.add_argument("--part", choices=("all", "transformer", "decoder"), default="all")
    parser.add_argument("--repeat", type=int, default=3, help="measured runs; the median is reported")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="what make_random_checkpoint.py wrote")
    parser.add_argument("--seed", type=int, default=SEED, help="of the weights if they are made here, and of sampling")
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--top-k", type=int, default=900)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--chunk", type=int, default=Mamba2.CHUNK, help="chunk length of the Mamba-2 scan")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    return parser.parse_args()


def load(o: argparse.Namespace) -> tuple[Transformer, Tokenizer]:
    dtype = torch.float32 if o.autocast else DTYPES[o.dtype]
    shape = TransformerShape.published(o.model, o.depth, o.image_size)
    if o.weights:
        state = float_state(str(o.weights / model_file(o.model, o.depth)), dtype)
        shape = TransformerShape.of(state)
        tokenizer_state = float_state(str(o.weights / TOKENIZER_FILE), dtype)
    else:
        state = random_transformer(shape, o.seed, dtype)
        tokenizer_state = random_tokenizer(TokenizerShape(shape.patch_nums), o.seed, dtype)
    if shape.patch_nums != PATCH_NUMS[o.image_size]:
        raise SystemExit(f"{o.weights} holds a model for another image size: {shape.patch_nums}")
    model = build(Transformer, shape, state).to(o.device)
    tokenizer = build(Tokenizer, TokenizerShape.of(tokenizer_state, shape.patch_nums), tokenizer_state).to(o.device)
    tokenizer.quantize.float()  # f̂ is summed over all scales in float32, whatever the layers compute in
    return model, tokenizer


def compile_parts(model: Transformer, tokenizer: Tokenizer) -> None:
    # One compilation a scale: every length is known, and fixed shapes give the faster code.
    torch._dynamo.config.recompile_limit = 64
    for block in model.blocks:
        block.compile(dynamic=False)
    tokenizer.decoder.compile(dynamic=False)


class Bench:
    def __init__(self, o: argparse.Namespace) -> None:
        self.o = o
        self.model, self.tokenizer = load(o)
        self.labels = (torch.arange(o.batch) * 37 % self.model.shape.classes).to(o.device)
        side, latent = self.model.shape.patch_nums[-1], self.model.shape.latent
        noise = torch.Generator().manual_seed(o.seed)
        # For the decoder alone: about as large as the f̂ that the transformer makes.
        self.f_hat = torch.randn(o.batch, latent, side, side, generator=noise).to(o.device)
        if o.compile:
            compile_parts(self.model, self.tokenizer)

    def precision(self) -> contextlib.AbstractContextManager:
        if self.o.autocast:
            return torch.autocast(self.o.device, DTYPES[self.o.dtype])
        return contextlib.nullcontext()

    def timed(self, work: Callable[[], Tensor]) -> tuple[Tensor, float]:
        self.synchronise()
        start = time.perf_counter()
        result = work()
        self.synchronise()
        return result, time.perf_counter() - start

    def synchronise(self) -> None:
        if self.o.device == "cuda":
            torch.cuda.synchronize()

    def transform(self) -> Tensor:
        generator = torch.Generator(self.o.device).manual_seed(self.o.seed)
        return self.model.generate(
            self.tokenizer.quantize, self.labels, self.o.cfg, self.o.top_k, self.o.top_p, generator
        )

    @torch.no_grad()
    def once(self) -> tuple[dict[str, float], Tensor]:
        """Seconds an image of each part, and what the last part made."""
        seconds, result = {}, self.f_hat
        with self.precision():
            if self.o.part != "decoder":
                result, seconds["transformer"] = self.timed(self.transform)
            if self.o.part != "transformer":
                f_hat = result
                result, seconds["decoder"] = self.timed(lambda: self.tokenizer.decode(f_hat))
        seconds["total"] = sum(seconds.values())
        return {part: value / self.o.batch for part, value in seconds.items()}, result

    def runs(self) -> Iterator[tuple[dict[str, float], Tensor]]:
        self.once()  # warm-up: allocations, kernel choices, compilation
        for _ in range(self.o.repeat):
            yield self.once()


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def peak_memory(device: str) -> dict[str, int]:
    unit = 1 if platform.system() == "Darwin" else 1024
    peaks = {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device == "cuda":
        peaks["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    return peaks


def report(o: argparse.Namespace, runs: list[dict[str, float]], result: Tensor) -> dict[str, object]:
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(o).items() if k != "json"}
    return {
        "program": "pytorch",
        "torch": torch.__version__,
        "device_name": device_name(o.device),
        "settings": settings,
        "seconds_per_image": {part: statistics.median(r[part] for r in runs) for part in runs[0]},
        "runs": runs,
        "mean_of_result": result.float().mean().item(),
        **peak_memory(o.device),
    }


def main() -> None:
    o = parse()
    Mamba2.CHUNK = o.chunk
    torch.set_num_threads(o.threads)
    torch.set_float32_matmul_precision("high" if o.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = o.tf32
    measured = list(Bench(o).runs())
    result = measured[-1][1]
    if not result.isfinite().all():
        raise SystemExit("the result holds numbers that are not finite")
    facts = report(o, [seconds for seconds, _ in measured], result)

    how = " ".join(filter(None, (o.dtype, o.autocast and "autocast", o.tf32 and "tf32", o.compile and "compiled")))
    where = f"{facts['device_name']}, {o.threads} threads" if o.device == "cpu" else facts["device_name"]
    print(f"{o.model} d{o.depth}, {o.image_size} px, batch {o.batch}, {how}; torch {torch.__version__}; {where}")
    for part, seconds in facts["seconds_per_image"].items():
        print(f"{part:12} {seconds:9.4f} s an image (median of {o.repeat})")
    for name in ("peak_rss_bytes", "peak_device_bytes"):
        if name in facts:
            print(f"{name:18} {facts[name] / 2**30:.2f} GiB")
    if o.json:
        o.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
