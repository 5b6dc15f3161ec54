"""Makes the checkpoints in this folder: tiny models with the published names, saved in many ways.

Run in this folder with: pip install torch numpy
Made with PyTorch 2.11.0.
"""

import os, zipfile
from collections import OrderedDict
import torch

C, HIDDEN, V, CVAE, CLASSES, SIDES = 64, 64, 32, 4, 3, [1, 2]
L = sum(side * side for side in SIDES)
random = torch.Generator().manual_seed(5)


def normal(*shape, scale=None):
    inputs = max(1, torch.Size(shape[1:]).numel())
    return torch.randn(shape, generator=random) * (scale or inputs ** -0.5)


def linear(state, name, outputs, inputs, bias=True):
    state[name + ".weight"] = normal(outputs, inputs)
    if bias:
        state[name + ".bias"] = normal(outputs, scale=0.1)


def transformer(mamba):
    state = OrderedDict(pos_start=normal(1, 1, C), pos_1LC=normal(1, L, C))
    state["lvl_1L"] = torch.tensor([[k for k, side in enumerate(SIDES) for _ in range(side**2)]])
    state["attn_bias_for_masking"] = torch.zeros(1, 1, L, L)
    linear(state, "word_embed", C, CVAE)
    state["class_emb.weight"] = normal(CLASSES + 1, C)
    state["lvl_embed.weight"] = normal(len(SIDES), C)
    state["blocks.0.attn.scale_mul_1H11"] = torch.full((1, C // 64, 1, 1), 1.4)
    state["blocks.0.attn.q_bias"] = normal(C, scale=0.1)
    state["blocks.0.attn.v_bias"] = normal(C, scale=0.1)
    state["blocks.0.attn.zero_k_bias"] = torch.zeros(C)
    linear(state, "blocks.0.attn.mat_qkv", 3 * C, C, bias=False)
    linear(state, "blocks.0.attn.proj", C, C)
    if mamba:
        inner, heads, channels = 2 * C, 2 * C // 64, 2 * C + 128
        state["blocks.0.mamba.dt_bias"] = normal(heads, scale=0.1)
        state["blocks.0.mamba.A_log"] = normal(heads, scale=0.1)
        state["blocks.0.mamba.D"] = torch.ones(heads)
        linear(state, "blocks.0.mamba.in_proj", inner + channels + heads, C, bias=False)
        state["blocks.0.mamba.conv1d.weight"] = normal(channels, 1, 4)
        state["blocks.0.mamba.conv1d.bias"] = normal(channels, scale=0.1)
        state["blocks.0.mamba.norm.weight"] = torch.ones(inner)
        linear(state, "blocks.0.mamba.out_proj", C, inner, bias=False)
    linear(state, "blocks.0.ffn.fc1", HIDDEN, C)
    linear(state, "blocks.0.ffn.fc2", C, HIDDEN)
    linear(state, "blocks.0.ada_lin.1", (9 if mamba else 6) * C, C)
    linear(state, "head_nm.ada_lin.1", 2 * C, C)
    linear(state, "head", V, C)
    return state


def tokenizer(width=32):
    state = OrderedDict()

    def conv(name, inputs, outputs, kernel=3):
        state[name + ".weight"] = normal(outputs, inputs, kernel, kernel)
        state[name + ".bias"] = normal(outputs, scale=0.1)

    def norm(name):
        state[name + ".weight"], state[name + ".bias"] = torch.ones(width), torch.zeros(width)

    def block(name):
        for part in "12":
            norm(f"{name}.norm{part}")
            conv(f"{name}.conv{part}", width, width)

    def attention(name):
        norm(name + ".norm")
        conv(name + ".qkv", width, 3 * width, 1)
        conv(name + ".proj_out", width, width, 1)

    for half, level, count in [("encoder", "down", 1), ("decoder", "up", 2)]:
        conv(half + ".conv_in", 3 if half == "encoder" else CVAE, width)
        for index in range(count):
            block(f"{half}.{level}.0.block.{index}")
            attention(f"{half}.{level}.0.attn.{index}")
        block(half + ".mid.block_1")
        attention(half + ".mid.attn_1")
        block(half + ".mid.block_2")
        norm(half + ".norm_out")
        conv(half + ".conv_out", width, CVAE if half == "encoder" else 3)
    conv("quant_conv", CVAE, CVAE)
    conv("post_quant_conv", CVAE, CVAE)
    state["quantize.ema_vocab_hit_SV"] = torch.zeros(len(SIDES), V)
    state["quantize.embedding.weight"] = normal(V, CVAE, scale=1)
    for index in range(2):
        conv(f"quantize.quant_resi.qresi_ls.{index}", CVAE, CVAE)
    return state


# As the published trainers save their state, the models deep inside.
model, vae = transformer(mamba=True), tokenizer()
moments = {"step": torch.tensor(100.0), "exp_avg": torch.zeros(4), "exp_avg_sq": torch.zeros(4)}
group = {"lr": 1e-4, "betas": (0.9, 0.95), "foreach": None, "params": [0]}
optimizer = {"optimizer": {"state": {0: moments}, "param_groups": [group]}, "scaler": None}
trainer = {"config": {"patch_nums": tuple(SIDES), "label_smooth": 0.0},
           "mvar_wo_ddp": model, "vae_local": vae, "mvar_opt": optimizer}
torch.save({"epoch": 3, "iter": 100, "trainer": trainer, "args": "{'depth': 1}"}, "training.pth")

# Distributed training's prefix; half of the weights lie transposed in memory.
distributed = OrderedDict()
for index, (name, value) in enumerate(transformer(mamba=False).items()):
    if value.dim() == 2 and index % 2 == 0:
        value = value.t().contiguous().t()
    distributed["module." + name] = value
torch.save(distributed, "distributed.pth")

# The numbers 0 … 5 as [2, 3] in every type and layout.
numbers = torch.arange(6.0).reshape(2, 3)
types = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]
tensors = {name: numbers.to(getattr(torch, name)) for name in types}
tensors["transposed"] = numbers.t().contiguous().t()
wide = torch.full((2, 6), 9.0)
wide[:, ::2] = numbers
tensors["columns"] = wide[:, ::2]
tensors["shared"] = torch.cat([torch.full((1, 3), 9.0), numbers])[1:]
tensors["parameter"] = torch.nn.Parameter(numbers)
assert all((tensor == numbers.to(tensor.dtype)).all() for tensor in tensors.values())
tensors["bool"] = numbers > 2
torch.save(tensors, "layouts.pth")

# The same with every record compressed, as a zip program may repack it.
with zipfile.ZipFile("layouts.pth") as plain, \
        zipfile.ZipFile("compressed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
    for name in plain.namelist():
        packed.writestr(zipfile.ZipInfo(name), plain.read(name), zipfile.ZIP_DEFLATED)


class Malice:
    def __reduce__(self):
        return os.system, ("touch /tmp/mvar-tests-pickle-was-run",)


torch.save({"word_embed.weight": Malice()}, "malicious.pth")
