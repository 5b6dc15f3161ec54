"""M-VAR, VAR and their tokenizer in plain PyTorch: the baseline that swift-mvar is compared with.

Everything is done the way the published code does it: at every scale each Mamba-2 layer runs
again over all earlier tokens, the modulations are computed again, guidance doubles the batch,
and convolutions are channels first. Parameter names equal those of the published checkpoints.

Shapes: B batch, L tokens, C width, H heads, P head dimension, N state size, K scales,
V vocabulary, E latent channels, Q chunk length, h and w rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = Mapping[str, Tensor]

PATCH_NUMS: dict[int, tuple[int, ...]] = {
    256: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    512: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}


# ---------------------------------------------------------------- tokenizer


@dataclass(frozen=True)
class TokenizerShape:
    patch_nums: tuple[int, ...]
    channels: int = 160
    vocabulary: int = 4096
    latent: int = 32
    phis: int = 4

    @staticmethod
    def of(state: State, patch_nums: Sequence[int]) -> TokenizerShape:
        vocabulary, latent = state["quantize.embedding.weight"].shape
        phis = sum(k.startswith("quantize.quant_resi.qresi_ls.") and k.endswith(".weight") for k in state)
        return TokenizerShape(tuple(patch_nums), state["encoder.conv_in.weight"].shape[0], vocabulary, latent, phis)


CHANNEL_MULTIPLIERS = (1, 1, 2, 2, 4)
BLOCKS_PER_LEVEL = 2


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def conv3(inputs: int, outputs: int, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=padding)


class ResnetBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(inputs), conv3(inputs, outputs)
        self.norm2, self.conv2 = group_norm(outputs), conv3(outputs, outputs)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return self.nin_shortcut(x) + h


class PixelAttention(nn.Module):
    """One head over all positions of the coarsest feature map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)  # each [B, C, hw]
        weights = (torch.bmm(q.transpose(1, 2), k) * channels**-0.5).softmax(dim=2)
        return x + self.proj_out(torch.bmm(v, weights.transpose(1, 2)).view_as(x))


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = PixelAttention(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3(channels, channels, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and bottom only


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention if this is the coarsest."""

    def __init__(self, inputs: int, outputs: int, blocks: int, attention: bool) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * blocks
        self.block = nn.ModuleList(ResnetBlock(a, b) for a, b in zip(widths, widths[1:]))
        self.attn = nn.ModuleList(PixelAttention(outputs) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn) > 0:
                x = self.attn[i](x)
        return x


class Encoder(nn.Module):
    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        widths = [channels * m for m in (1, *CHANNEL_MULTIPLIERS)]
        coarsest = len(CHANNEL_MULTIPLIERS) - 1
        self.conv_in = conv3(3, channels)
        self.down = nn.ModuleList()
        for i in range(coarsest + 1):
            level = Level(widths[i], widths[i + 1], BLOCKS_PER_LEVEL, attention=i == coarsest)
            if i < coarsest:
                level.downsample = Downsample(widths[i + 1])
            self.down.append(level)
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = group_norm(widths[-1]), conv3(widths[-1], latent)

    def forward(self, image: Tensor) -> Tensor:
        h = self.conv_in(image)
        for level in self.down:
            h = level(h)
            if hasattr(level, "downsample"):
                h = level.downsample(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h)), inplace=True))


class Decoder(nn.Module):
    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        widths = [channels * m for m in CHANNEL_MULTIPLIERS]
        coarsest = len(widths) - 1
        self.conv_in = conv3(latent, widths[-1])
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList()  # finest first, as in the checkpoints; run from the last to the first
        for i, width in enumerate(widths):
            level = Level(widths[min(i + 1, coarsest)], width, BLOCKS_PER_LEVEL + 1, attention=i == coarsest)
            if i > 0:
                level.upsample = Upsample(width)
            self.up.append(level)
        self.norm_out, self.conv_out = group_norm(widths[0]), conv3(widths[0], 3)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        return self.conv_out(F.silu(self.norm_out(h), inplace=True))


class Phi(nn.Conv2d):
    def __init__(self, latent: int) -> None:
        super().__init__(latent, latent, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return 0.5 * h + 0.5 * super().forward(h)


class PartiallySharedPhi(nn.Module):
    """A few convolutions shared by all scales: each scale takes the one whose tick is nearest."""

    def __init__(self, latent: int, count: int) -> None:
        super().__init__()
        self.qresi_ls = nn.ModuleList(Phi(latent) for _ in range(count))
        margin = (1 / 3 if count == 4 else 1 / 2) / count
        # NumPy's float64 rounding, because scale 2 of 10 lies exactly between two ticks.
        self.ticks = np.linspace(margin, 1 - margin, count)

    def at(self, scale: int, scales: int) -> Phi:
        return self.qresi_ls[int(np.argmin(np.abs(self.ticks - scale / (scales - 1))))]


class Quantizer(nn.Module):
    """Residual quantisation, coarse to fine. f̂ is the sum of all scales so far, at the finest size."""

    def __init__(self, shape: TokenizerShape) -> None:
        super().__init__()
        self.patch_nums = shape.patch_nums
        self.quant_resi = PartiallySharedPhi(shape.latent, shape.phis)
        self.register_buffer("ema_vocab_hit_SV", torch.zeros(len(shape.patch_nums), shape.vocabulary))
        self.embedding = nn.Embedding(shape.vocabulary, shape.latent)

    def contribution(self, scale: int, tokens: Tensor) -> Tensor:
        """What the tokens [B, n] of one scale add to f̂ [B, E, h, w]."""
        side, last = self.patch_nums[scale], len(self.patch_nums) - 1
        h = self.embedding(tokens).transpose(1, 2).unflatten(2, (side, side))
        if scale < last:
            h = F.interpolate(h, size=(self.patch_nums[-1],) * 2, mode="bicubic")
        return self.quant_resi.at(scale, last + 1)(h.contiguous())

    def next_map(self, scale: int, f_hat: Tensor) -> Tensor:
        """The transformer's input [B, n, E] for the scale after `scale`."""
        return F.interpolate(f_hat, size=(self.patch_nums[scale + 1],) * 2, mode="area").flatten(2).transpose(1, 2)

    def nearest(self, vectors: Tensor) -> Tensor:
        codebook = self.embedding.weight
        distance = vectors.square().sum(1, keepdim=True) + codebook.square().sum(1)
        return torch.addmm(distance, vectors, codebook.T, alpha=-2).argmin(1)

    def quantise(self, features: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens and f̂ after each scale, of features [B, E, h, w]."""
        rest, f_hat = features.clone(), torch.zeros_like(features)
        tokens, f_hats = [], []
        for scale, side in enumerate(self.patch_nums):
            small = rest if side == self.patch_nums[-1] else F.interpolate(rest, size=(side, side), mode="area")
            found = self.nearest(small.permute(0, 2, 3, 1).flatten(0, 2)).view(len(features), -1)
            h = self.contribution(scale, found)
            f_hat, rest = f_hat + h, rest - h
            tokens.append(found)
            f_hats.append(f_hat)
        return tokens, f_hats

    def teacher_input(self, tokens: Sequence[Tensor]) -> Tensor:
        """The inputs of all scales but the first, [B, L - first, E]."""
        maps, f_hat = [], 0
        for scale in range(len(self.patch_nums) - 1):
            f_hat = f_hat + self.contribution(scale, tokens[scale])
            maps.append(self.next_map(scale, f_hat))
        return torch.cat(maps, dim=1)


class Tokenizer(nn.Module):
    def __init__(self, shape: TokenizerShape) -> None:
        super().__init__()
        self.encoder = Encoder(shape.channels, shape.latent)
        self.decoder = Decoder(shape.channels, shape.latent)
        self.quantize = Quantizer(shape)
        self.quant_conv = conv3(shape.latent, shape.latent)
        self.post_quant_conv = conv3(shape.latent, shape.latent)

    def encode(self, image: Tensor) -> Tensor:
        """Features [B, E, h, w] of an image [B, 3, 16h, 16w] in [-1, 1]."""
        return self.quant_conv(self.encoder(image))

    def decode(self, f_hat: Tensor) -> Tensor:
        """An image in [0, 1]."""
        z = f_hat.to(self.post_quant_conv.weight.dtype)
        return (self.decoder(self.post_quant_conv(z)).clamp(-1, 1) + 1) * 0.5


# ---------------------------------------------------------------- transformer


@dataclass(frozen=True)
class TransformerShape:
    patch_nums: tuple[int, ...]
    depth: int
    mamba: bool  # M-VAR; without it, VAR
    width: int = 0
    heads: int = 0
    classes: int = 1000
    vocabulary: int = 4096
    latent: int = 32
    l2_norm: bool = True
    shared_ada: bool = False

    @staticmethod
    def published(model: str, depth: int, image_size: int) -> TransformerShape:
        return TransformerShape(PATCH_NUMS[image_size], depth, model == "mvar", width=64 * depth, heads=depth)

    @staticmethod
    def of(state: State) -> TransformerShape:
        """Reads every hyperparameter off the tensors."""
        width, latent = state["word_embed.weight"].shape
        sides = torch.bincount(state["lvl_1L"].flatten()).sqrt().round().int().tolist()
        return TransformerShape(
            patch_nums=tuple(sides),
            depth=sum(k.endswith(".ffn.fc1.weight") for k in state),
            mamba="blocks.0.mamba.A_log" in state,
            width=width,
            heads=width // 64,
            classes=state["class_emb.weight"].shape[0] - 1,
            vocabulary=state["head.weight"].shape[0],
            latent=latent,
            l2_norm="blocks.0.attn.scale_mul_1H11" in state,
            shared_ada="blocks.0.ada_gss" in state,
        )

    @property
    def sub_layers(self) -> int:
        return 3 if self.mamba else 2


class Attention(nn.Module):
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        if shape.l2_norm:
            self.scale = 1.0
            self.scale_mul_1H11 = nn.Parameter(torch.full((1, shape.heads, 1, 1), math.log(4.0)))
        else:
            self.scale = 0.25 / math.sqrt(width // shape.heads)
            self.scale_mul_1H11 = None
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        if shape.mamba:  # only stored; the published M-VAR files have it
            self.register_buffer("patch_nums", torch.tensor([p * p for p in shape.patch_nums], dtype=torch.int32))
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        bias = torch.cat((self.q_bias, self.zero_k_bias, self.v_bias))
        qkv = F.linear(x, self.mat_qkv.weight, bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, L, P]
        if self.scale_mul_1H11 is not None:
            q = (F.normalize(q, dim=-1) * self.scale_mul_1H11.clamp_max(math.log(100)).exp()).to(v.dtype)
            k = F.normalize(k, dim=-1).to(v.dtype)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        return self.proj(y.transpose(1, 2).flatten(2)), (k, v)


def scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """h ← h·exp(dt·a) + dt·b⊗x, y = c·h, from h = 0, over the whole sequence, chunk by chunk.

    x [B, L, H, P], dt [B, L, H] and a [H] in float32, b and c [B, L, N] → y like x, h [B, H, P, N].
    Inside a chunk this is a masked matrix product; decays and states are float32, products in x's dtype.
    """
    length, dtype = x.shape[1], x.dtype
    size = min(chunk, length)
    padding = -length % size  # dt = 0 there: no decay and no input
    x = (x * dt.unsqueeze(-1)).to(dtype)
    if padding:
        x, dt, b, c = (F.pad(t, (0, 0) * (t.ndim - 2) + (0, padding)) for t in (x, dt, b, c))
    x, b, c, log_decay = (t.unflatten(1, (-1, size)) for t in (x, b, c, dt * a))
    log_decay = log_decay.transpose(2, 3).cumsum(-1)  # [B, n, H, Q]

    between = log_decay.unsqueeze(-1) - log_decay.unsqueeze(-2)
    future = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
    decay = between.masked_fill(future, -math.inf).exp().to(dtype)  # [B, n, H, Q, Q]
    products = torch.einsum("bnqs,bnks->bnqk", c, b)  # the same for all heads
    y = torch.einsum("bnhqk,bnkhp->bnqhp", products.unsqueeze(2) * decay, x)

    to_end = (log_decay[..., -1:] - log_decay).exp().transpose(2, 3).unsqueeze(-1).to(dtype)
    added = torch.einsum("bnqhp,bnqs->bnhps", x * to_end, b).float()
    whole = log_decay[..., -1].exp()[..., None, None]
    state, incoming = torch.zeros_like(added[:, 0]), []
    for i in range(added.shape[1]):
        incoming.append(state)
        state = state * whole[:, i] + added[:, i]
    if len(incoming) > 1:
        from_start = log_decay.exp().transpose(2, 3).unsqueeze(-1).to(dtype)
        carried = torch.einsum("bnqs,bnhps->bnqhp", c, torch.stack(incoming, 1).to(dtype))
        y = y + carried * from_start
    return y.flatten(1, 2)[:, :length], state


class GatedNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        gated = y.float() * F.silu(z.float())
        return (gated * (gated.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * self.weight.float()).to(y.dtype)


class Mamba2(nn.Module):
    STATE, HEAD, CONVOLUTION, EXPAND = 64, 64, 4, 2
    CHUNK = 64

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = self.EXPAND * width
        self.heads = self.inner // self.HEAD
        mixed = self.inner + 2 * self.STATE
        self.dt_bias = nn.Parameter(torch.zeros(self.heads))
        self.A_log = nn.Parameter(torch.zeros(self.heads))
        self.D = nn.Parameter(torch.ones(self.heads))
        self.in_proj = nn.Linear(width, self.inner + mixed + self.heads, bias=False)
        self.conv1d = nn.Conv1d(mixed, mixed, self.CONVOLUTION, groups=mixed, padding=self.CONVOLUTION - 1)
        self.norm = GatedNorm(self.inner)
        self.out_proj = nn.Linear(self.inner, width, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        return self.run(u)[0]

    def run(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The output [B, L, C] and the state after the last token [B, H, P, N]."""
        mixed = self.inner + 2 * self.STATE
        z, xbc, dt = self.in_proj(u).split([self.inner, mixed, self.heads], dim=-1)
        convolved = self.conv1d(xbc.transpose(1, 2))[..., : u.shape[1]]  # the cut makes it causal
        xbc = F.silu(convolved).transpose(1, 2)
        x, b, c = xbc.split([self.inner, self.STATE, self.STATE], dim=-1)
        x = x.unflatten(-1, (self.heads, self.HEAD))
        dt = F.softplus(dt.float() + self.dt_bias.float())
        y, state = scan(x, dt, -self.A_log.float().exp(), b, c, self.CHUNK)
        y = y + self.D.to(x.dtype).unsqueeze(-1) * x
        return self.out_proj(self.norm(y.flatten(2), z)), state


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


# What a block keeps between scales: M-VAR the activations before Mamba, VAR keys and values.
Past = Tensor | tuple[Tensor, Tensor] | None


class Block(nn.Module):
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.attn = Attention(shape)
        self.mamba = Mamba2(shape.width) if shape.mamba else None
        self.ffn = FeedForward(shape.width)
        self.chunks = 3 * shape.sub_layers
        if shape.shared_ada:
            self.ada_gss = nn.Parameter(torch.zeros(1, 1, self.chunks, shape.width))
        else:
            self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(shape.width, self.chunks * shape.width))

    def modulations(self, condition: Tensor) -> Sequence[Tensor]:
        """γ of each sub-layer, then the scales, then the shifts; each [B, 1, C]."""
        if hasattr(self, "ada_gss"):
            return (self.ada_gss + condition).unbind(2)
        return self.ada_lin(condition).unflatten(-1, (1, self.chunks, -1)).unbind(2)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None, past: Past) -> tuple[Tensor, Past]:
        if self.mamba is None:
            g1, g2, s1, s2, b1, b2 = self.modulations(condition)
            y, past = self.attn(modulated(x, s1, b1), mask, past)
            x = x + y * g1
            return x + self.ffn(modulated(x, s2, b2)) * g2, past

        g1, g2, g3, s1, s2, s3, b1, b2, b3 = self.modulations(condition)
        x = x + self.attn(modulated(x, s1, b1), mask, None)[0] * g1
        # Mamba sees every scale so far, from the first token on; only this scale's outputs are used.
        past = x if past is None else torch.cat((past, x), dim=1)
        y = self.mamba(modulated(past, s2, b2)) * g2
        x = x + y[:, -x.shape[1] :]
        return x + self.ffn(modulated(x, s3, b3)) * g3, past


class HeadNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.ada_lin(condition).unflatten(-1, (1, 2, -1)).unbind(2)
        return modulated(x, scale, shift)


class SharedModulation(nn.Linear):
    """Modulations that all blocks share; each block adds its own ada_gss."""

    def __init__(self, width: int, chunks: int) -> None:
        super().__init__(width, chunks * width)
        self.chunks = chunks

    def forward(self, condition: Tensor) -> Tensor:
        return super().forward(condition).unflatten(-1, (1, self.chunks, -1))  # [B, 1, chunks, C]


class Transformer(nn.Module):
    """M-VAR, or VAR where the shape says so."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        self.lengths = [p * p for p in shape.patch_nums]
        self.pos_start = nn.Parameter(torch.zeros(1, self.lengths[0], width))
        self.pos_1LC = nn.Parameter(torch.zeros(1, sum(self.lengths), width))
        level, mask = self.level_and_mask()
        self.register_buffer("lvl_1L", level)
        self.register_buffer("attn_bias_for_masking", mask)
        self.word_embed = nn.Linear(shape.latent, width)
        self.class_emb = nn.Embedding(shape.classes + 1, width)  # the last row means "no class"
        self.lvl_embed = nn.Embedding(len(shape.patch_nums), width)
        shared = SharedModulation(width, 3 * shape.sub_layers)
        self.shared_ada_lin = nn.Sequential(nn.SiLU(), shared) if shape.shared_ada else nn.Identity()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.head_nm = HeadNorm(width)
        self.head = nn.Linear(width, shape.vocabulary)

    def level_and_mask(self) -> tuple[Tensor, Tensor]:
        """The scale of each token, and who may attend to whom in training."""
        level = torch.cat([torch.full((n,), i) for i, n in enumerate(self.lengths)])
        rows, columns = level[:, None], level[None, :]
        allowed = rows == columns if self.shape.mamba else rows >= columns
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, -math.inf)
        return level[None], mask[None, None]

    def positions(self) -> Tensor:
        return self.lvl_embed(self.lvl_1L) + self.pos_1LC

    def logits(
        self, x: Tensor, condition: Tensor, mask: Tensor | None, pasts: Sequence[Past]
    ) -> tuple[Tensor, list[Past]]:
        shared, kept = self.shared_ada_lin(condition), []
        for block, past in zip(self.blocks, pasts):
            x, past = block(x, shared, mask, past)
            kept.append(past)
        return self.head(self.head_nm(x, condition)).float(), kept

    def forward(self, labels: Tensor, teacher_input: Tensor) -> Tensor:
        """Logits [B, L, V] of all scales at once, from the true inputs of each scale."""
        condition = self.class_emb(labels)
        start = condition.unsqueeze(1) + self.pos_start
        x = torch.cat((start, self.word_embed(teacher_input)), dim=1) + self.positions()
        return self.logits(x, condition, self.attn_bias_for_masking, [None] * len(self.blocks))[0]

    @torch.no_grad()
    def generate(
        self,
        quantizer: Quantizer,
        labels: Tensor,
        cfg: float = 4.0,
        top_k: int = 0,
        top_p: float = 0.0,
        generator: torch.Generator | None = None,
        trace: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """f̂ [B, E, h, w] of new images. `trace` collects (tokens, logits before guidance) of each scale."""
        batch, scales, finest = len(labels), len(self.lengths), self.shape.patch_nums[-1]
        nobody = torch.full_like(labels, self.shape.classes)
        condition = self.class_emb(torch.cat((labels, nobody)))
        positions = self.positions().split(self.lengths, dim=1)
        x = condition.unsqueeze(1) + self.pos_start + positions[0]
        f_hat = torch.zeros(batch, self.shape.latent, finest, finest, device=labels.device)
        pasts: Sequence[Past] = [None] * len(self.blocks)
        for scale in range(scales):
            raw, pasts = self.logits(x, condition, None, pasts)
            strength = cfg * scale / (scales - 1)
            guided = (1 + strength) * raw[:batch] - strength * raw[batch:]
            tokens = draw(keep_likely(guided, top_k, top_p), generator)
            if trace is not None:
                trace.append((tokens, raw))
            f_hat = f_hat + quantizer.contribution(scale, tokens)
            if scale + 1 < scales:
                token_map = quantizer.next_map(scale, f_hat).to(self.word_embed.weight.dtype)
                x = (self.word_embed(token_map) + positions[scale + 1]).repeat(2, 1, 1)
        return f_hat


def keep_likely(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Sets the logits outside top-k, then those outside top-p, to -inf."""
    if top_k > 0:
        smallest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -math.inf)
    if top_p > 0:
        ascending, order = logits.sort(dim=-1)
        remove = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
        remove[..., -1] = False
        logits = logits.masked_fill(remove.scatter(-1, order, remove), -math.inf)
    return logits


def draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    probabilities = logits.softmax(-1).flatten(0, 1)
    return torch.multinomial(probabilities, 1, generator=generator).view(logits.shape[:2])


# ---------------------------------------------------------------- building


def build(kind: type[nn.Module], shape: object, state: State) -> nn.Module:
    """A module of the given shape holding these tensors; keys and shapes must match exactly."""
    with torch.device("meta"):  # nothing is initialised that is about to be replaced
        module = kind(shape)
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval()


def float_state(path: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A checkpoint's tensors, floating ones as `dtype`."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
