"""Compares models.py with the golden data: inputs and outputs of the reference code in float32."""

from __future__ import annotations

import argparse
import json
import struct
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from models import Tokenizer, TokenizerShape, Transformer, TransformerShape, build, float_state, keep_likely

REPOSITORY = Path(__file__).resolve().parents[2]
LOGITS, STATES, PIXELS = 1e-3, 1e-4, 2 / 255
DTYPES = {"I64": torch.int64, "F32": torch.float32, "F16": torch.float16, "U8": torch.uint8}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<Q", data)
    start, tensors = 8 + size, {}
    for name, entry in json.loads(data[8:start]).items():
        begin, end = entry["data_offsets"]
        # A copy, because the file does not align its tensors.
        flat = torch.frombuffer(data[start + begin : start + end], dtype=DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


class Table:
    """Prints one line a comparison, and remembers whether any failed."""

    def __init__(self) -> None:
        self.failures = self.rows = 0

    def row(self, case: str, what: str, found: str, allowed: str, good: bool) -> None:
        self.rows += 1
        self.failures += not good
        print(f"{case:12} {what:34} {found:>22}  {allowed:>10}  {'ok' if good else 'FAILED'}")

    def close(self, case: str, what: str, got: Tensor, want: Tensor, allowed: float) -> None:
        if got.shape != want.shape:
            return self.row(case, what, f"shape {tuple(got.shape)}", f"{tuple(want.shape)}", False)
        error = (got.float() - want.float()).abs().max().item()
        self.row(case, what, f"max error {error:.1e}", f"{allowed:.1e}", error <= allowed)

    def equal(self, case: str, what: str, got: list[Tensor], want: list[Tensor]) -> None:
        total = sum(t.numel() for t in want)
        same = sum((a == b).sum().item() for a, b in zip(got, want, strict=True))
        self.row(case, what, f"{same} of {total} equal", "all", same == total)


def pyramid(io: dict[str, Tensor], prefix: str) -> list[Tensor]:
    return [io[f"{prefix}.{i}"] for i in range(sum(k.startswith(prefix + ".") for k in io))]


def check_tokenizer(table: Table, case: str, tokenizer: Tokenizer, io: dict[str, Tensor]) -> None:
    image = io["image.uint8"].float() / 127.5 - 1
    features = tokenizer.encode(image)
    tokens, f_hats = tokenizer.quantize.quantise(features)
    table.close(case, "tokenizer.features", features, io["tokenizer.features"], LOGITS)
    table.equal(case, "tokenizer.tokens", tokens, pyramid(io, "tokenizer.tokens"))
    table.close(case, "tokenizer.fhat.3", f_hats[3], io["tokenizer.fhat.3"], LOGITS)
    table.close(case, "tokenizer.fhat", f_hats[-1], io["tokenizer.fhat"], LOGITS)
    teacher_input = tokenizer.quantize.teacher_input(tokens)
    table.close(case, "tokenizer.teacher_input", teacher_input, io["tokenizer.teacher_input"], LOGITS)
    reconstruction = (io["tokenizer.reconstruction.float16"].float() + 1) / 2
    table.close(case, "tokenizer.reconstruction", tokenizer.decode(f_hats[-1]), reconstruction, PIXELS)


def check_mamba(table: Table, case: str, model: Transformer, io: dict[str, Tensor]) -> None:
    layer = model.blocks[0].mamba
    for chunk in (256, 64, 7):  # one chunk, the default, and chunks that do not fit evenly
        layer.CHUNK = chunk
        output, state = layer.run(io["mamba.input"])
        table.close(case, f"mamba.output (chunk {chunk})", output, io["mamba.output"], STATES)
        table.close(case, f"mamba.final.ssm (chunk {chunk})", state, io["mamba.final.ssm"], STATES)
    del layer.CHUNK
    state = layer.run(io["mamba.input"][:, :30])[1]
    table.close(case, "mamba.state_after_30.ssm", state, io["mamba.state_after_30.ssm"], STATES)


def check_training(table: Table, case: str, model: Transformer, io: dict[str, Tensor]) -> None:
    logits = model(io["labels"], io["tokenizer.teacher_input"])
    table.close(case, "train.logits", logits[..., ::8], io["train.logits.every8th"], LOGITS)
    loss = F.cross_entropy(logits.flatten(0, 1), torch.cat(pyramid(io, "tokenizer.tokens"), dim=1).flatten())
    table.close(case, "train.loss", loss, io["train.loss"], LOGITS)


def check_sampling(
    table: Table, case: str, model: Transformer, tokenizer: Tokenizer, io: dict[str, Tensor], cfg: float
) -> None:
    trace: list[tuple[Tensor, Tensor]] = []
    f_hat = model.generate(tokenizer.quantize, io["labels"], cfg=cfg, top_k=1, trace=trace)
    tokens, logits = zip(*trace)
    table.equal(case, "sample.tokens", list(tokens), pyramid(io, "sample.tokens"))
    want = io["sample.logits_before_guidance.every8th"]
    table.close(case, "sample.logits_before_guidance", torch.cat(logits, dim=1)[..., ::8], want, LOGITS)
    table.close(case, "sample.image", tokenizer.decode(f_hat), io["sample.image.float16"], PIXELS)


def check_filters(table: Table, case: str, io: dict[str, Tensor]) -> None:
    for name in (k for k in io if k.startswith("filter.probabilities.")):
        k, p = name.removeprefix("filter.probabilities.k").split(".p")
        got = keep_likely(io["filter.logits"], int(k), float(p)).softmax(-1)
        table.close(case, name, got, io[name], 1e-6)


@torch.no_grad()
def check_case(table: Table, golden: Path, folder: Path) -> None:
    case, facts = folder.name, json.loads((folder / "case.json").read_text())
    io = read_safetensors(folder / "io.safetensors")
    state = float_state(str(folder / f"{facts['model']}.pth"))
    model = build(Transformer, TransformerShape.of(state), state)
    state = float_state(str(golden / facts["vae"]))
    # One tokenizer serves all schedules; the usage statistics of its own schedule do not matter.
    state["quantize.ema_vocab_hit_SV"] = torch.zeros(len(facts["patch_nums"]), facts["V"])
    tokenizer = build(Tokenizer, TokenizerShape.of(state, facts["patch_nums"]), state)

    check_tokenizer(table, case, tokenizer, io)
    if facts["model"] == "mvar":
        check_mamba(table, case, model, io)
    check_training(table, case, model, io)
    check_sampling(table, case, model, tokenizer, io, facts["cfg"])
    check_filters(table, case, io)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=Path, default=REPOSITORY / "Tests/Fixtures/golden")
    golden: Path = parser.parse_args().golden
    cases = sorted(path.parent for path in golden.glob("*/case.json"))
    if not cases:
        print(f"no case.json below {golden}", file=sys.stderr)
        return 1
    table = Table()
    for folder in cases:
        check_case(table, golden, folder)
    print(f"{table.rows - table.failures} of {table.rows} comparisons hold, in {len(cases)} cases")
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
