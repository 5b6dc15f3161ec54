"""Writes checkpoints of the published shape with random weights, so that two programs can run the same ones.

The weights depend on the seed alone. They are scaled so that activations stay near one: a
picture made with them means nothing, but every number on the way is finite in half precision.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from models import PATCH_NUMS, Tokenizer, TokenizerShape, Transformer, TransformerShape

TOKENIZER_FILE = "vae_ch160v4096z32.pth"
SEED = 1

# The spread of what is looked up rather than multiplied with.
EMBEDDINGS = {
    "class_emb.weight": 1.0,
    "lvl_embed.weight": 0.5,
    "pos_start": 0.5,
    "pos_1LC": 0.5,
    "quantize.embedding.weight": 1.0,
}


def model_file(model: str, depth: int) -> str:
    return f"{model}_d{depth}.pth"


def gain(key: str) -> float:
    """How much larger than its input a layer's output is."""
    if "ada_lin" in key:
        return 0.5  # gates, scales and shifts well below one
    if key == "head.weight":
        return 3.0  # logits that favour some tokens, as a trained model's do
    if key == "decoder.conv_out.weight":
        return 0.5  # pixels mostly inside [-1, 1]
    return 1.0


def random_tensor(key: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Mamba's own parameters as training starts them; weights with a spread of gain / √inputs."""
    name, empty = key.rsplit(".", 1)[-1], torch.empty(shape)
    if name == "A_log":
        return empty.uniform_(1, 16, generator=generator).log()
    if name == "dt_bias":  # so that softplus gives steps between 0.001 and 0.1
        step = empty.uniform_(math.log(1e-3), math.log(0.1), generator=generator).exp()
        return step + torch.log(-torch.expm1(-step))
    if name == "D" or (name == "weight" and len(shape) == 1):
        return empty.fill_(1)
    if name == "scale_mul_1H11":
        return empty.fill_(math.log(4))
    if name in ("zero_k_bias", "ema_vocab_hit_SV"):
        return empty.zero_()
    values = empty.normal_(generator=generator)
    if key in EMBEDDINGS:
        return values.mul_(EMBEDDINGS[key])
    if name.endswith("bias"):
        return values.mul_(0.02)
    return values.mul_(gain(key) / math.sqrt(shape[1:].numel()))


def random_state(module: nn.Module, known: dict[str, Tensor], seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, slot in module.state_dict().items():
        fixed = known.get(key, known.get(key.rsplit(".", 1)[-1]))
        state[key] = random_tensor(key, slot.shape, generator).to(dtype) if fixed is None else fixed.clone()
    return state


def random_tokenizer(shape: TokenizerShape, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    with torch.device("meta"):
        module = Tokenizer(shape)
    return random_state(module, {}, seed, dtype)


def random_transformer(shape: TransformerShape, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    with torch.device("meta"):
        module = Transformer(shape)
    level, mask = module.level_and_mask()
    squares = torch.tensor(module.lengths, dtype=torch.int32)
    known = {"lvl_1L": level, "attn_bias_for_masking": mask, "patch_nums": squares}
    return random_state(module, known, seed + 1, dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--model", choices=("mvar", "var"), default="mvar")
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--image-size", type=int, choices=PATCH_NUMS, default=256)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    shape = TransformerShape.published(options.model, options.depth, options.image_size)
    states = {
        TOKENIZER_FILE: random_tokenizer(TokenizerShape(shape.patch_nums), options.seed),
        model_file(options.model, options.depth): random_transformer(shape, options.seed),
    }
    for name, state in states.items():
        torch.save(state, options.out / name)
        values = sum(t.numel() for t in state.values())
        print(f"{options.out / name}: {len(state)} tensors, {values / 1e6:.1f} M values")


if __name__ == "__main__":
    main()
