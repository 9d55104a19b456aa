"""A transformer over time that is causal and sees a bounded window, or sees everything.

With a window of W, step t attends to the steps t - W + 1 to t, itself among them. So neither memory nor the state of a
stream grows with the length: attention works on blocks of queries, each with the W - 1 keys before it,

    keys      |- W - 1 of the past -|---- block ----|
    queries                         |---- block ----|

and what is kept from one piece of a signal to the next are the keys and values of the last W - 1 steps. Before the
start of the signal these are zeros that nobody sees.

Positions are rotations of queries and keys (RoPE, Su et al., "RoFormer", arXiv 2104.09864), whose angles are computed
in float64: in float32 they would be wrong by 1e-3 after half an hour at 25 steps a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vocos.kernels import Called, Piece
from vocos.kernels.cache import is_plain
from vocos.nn.dense import Dense

QUERIES = 256  # of a block, or as many as the window has


@dataclass(frozen=True)
class TransformerStyle:
    """What the layers of a transformer have in common; the defaults are Mimi's.

    Attributes:
        width: channels of the features.
        n_heads, head_dim: of the attention; their product may differ from the width.
        intermediate: channels inside of the feed-forward layers.
        n_layers: of them.
        window: steps that a step sees, itself and those before it; None for all, also those after it.
        theta: base of the wavelengths of the rotations.
        epsilon: of the norms.
        has_rms_norm: whether the norms divide by the root mean square alone (RMSNorm), or are LayerNorms.
        activation: "gelu", "gelu_tanh" (its approximation by a tanh) or "swiglu" (a gate, Shazeer, arXiv 2002.05202).
    """

    width: int = 512
    n_heads: int = 8
    head_dim: int = 64
    intermediate: int = 2048
    n_layers: int = 8
    window: int | None = 250
    theta: float = 10000.0
    epsilon: float = 1e-5
    has_rms_norm: bool = False
    activation: str = "gelu"

    def norm(self) -> nn.Module:
        """A norm over the channels."""
        return (RMSNorm if self.has_rms_norm else nn.LayerNorm)(self.width, eps=self.epsilon)


class RMSNorm(nn.RMSNorm):
    """PyTorch's, in the dtype of its weight, as LayerNorm is under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Past(NamedTuple):
    """What a transformer keeps from one piece to the next.

    Attributes:
        position: steps so far in each row, `[B]`; on the CPU.
        keys, values: of each layer, the last W - 1 of each head, `[B, heads, W - 1, head_dim]`.
    """

    position: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class Sight(NamedTuple):
    """Where the steps of a piece are, and what they see.

    Attributes:
        cos, sin: of the rotations, `[1 or B, 1, T, head_dim / 2]`.
        masks: for each block of queries its range of steps, and which keys it sees; none where all is seen.
    """

    cos: Tensor
    sin: Tensor
    masks: list[tuple[int, int, Tensor]]


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs (i, i + half) of the last axis turned by their angles, in float32. Shape: `[B, heads, T, 2 half]`."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(queries keys^T / sqrt(D)) values, of the keys that the mask says are seen: `[B, heads, T, D]` each."""
    if torch.compiler.is_compiling() or is_plain((queries, keys, values)):
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # PyTorch's has no forward-mode derivatives, and no rule for vmap.
    scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
    scores = scores if mask is None else scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ values


class Attention(nn.Module):
    """Attention of several heads over time, with rotary positions and without biases.

    Shape: `[B, T, C]` -> `[B, T, C]`.
    """

    def __init__(self, style: TransformerStyle) -> None:
        super().__init__()
        self.n_heads = style.n_heads
        inside = style.n_heads * style.head_dim
        self.q_proj, self.k_proj, self.v_proj = (Dense(style.width, inside, bias=False) for _ in range(3))
        self.o_proj = Dense(inside, style.width, bias=False)

    def forward(self, x: Tensor, sight: Sight, keys: Piece, values: Piece) -> tuple[Tensor, Tensor, Tensor]:
        """The output, and all keys and values: those given, and those of x."""
        projected = (layer(x) for layer in (self.q_proj, self.k_proj, self.v_proj))
        queries, new_keys, new_values = (rearrange(y, "b t (h d) -> b h t d", h=self.n_heads) for y in projected)
        queries, new_keys = (rotated(y, sight.cos, sight.sin) for y in (queries, new_keys))
        keys = new_keys if keys is None else torch.cat([keys, new_keys], dim=2)
        values = new_values if values is None else torch.cat([values, new_values], dim=2)
        y = self._seen(queries, keys, values, sight.masks)
        found: Tensor = self.o_proj(rearrange(y, "b h t d -> b t (h d)"))
        return found, keys, values

    def _seen(self, queries: Tensor, keys: Tensor, values: Tensor, masks: Sequence[tuple[int, int, Tensor]]) -> Tensor:
        if not masks:
            return attended(queries, keys, values)
        parts = []
        for start, stop, mask in masks:
            seen = slice(start, start + mask.shape[-1])
            parts.append(attended(queries[:, :, start:stop], keys[:, :, seen], values[:, :, seen], mask))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


class FeedForward(nn.Module):
    """Two linear layers around an activation, without biases. Shape: `[B, T, C]` -> `[B, T, C]`."""

    def __init__(self, style: TransformerStyle) -> None:
        super().__init__()
        self.approximate = "tanh" if style.activation == "gelu_tanh" else "none"
        self.fc1 = Dense(style.width, style.intermediate, bias=False)
        self.fc2 = Dense(style.intermediate, style.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))
        return y


class GatedFeedForward(nn.Module):
    """down(silu(gate(x)) * up(x)), without biases. Shape: `[B, T, C]` -> `[B, T, C]`."""

    def __init__(self, style: TransformerStyle) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (Dense(style.width, style.intermediate, bias=False) for _ in range(2))
        self.down_proj = Dense(style.intermediate, style.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class LayerScale(nn.Module):
    """One factor for each channel (Touvron et al., arXiv 2103.17239). Shape: `[..., C]` -> `[..., C]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class TransformerLayer(nn.Module):
    """x + scale * attention(norm(x)), and then x + scale * feed-forward(norm(x)).

    Its parts are called, so that a hook on one or another in its place does its work. Shape: `[B, T, C]` -> the same.
    """

    def __init__(self, style: TransformerStyle) -> None:
        super().__init__()
        self.input_layernorm = style.norm()
        self.self_attn = Attention(style)
        self.self_attn_layer_scale = LayerScale(style.width)
        self.post_attention_layernorm = style.norm()
        self.mlp = (GatedFeedForward if style.activation == "swiglu" else FeedForward)(style)
        self.mlp_layer_scale = LayerScale(style.width)

    def forward(self, x: Tensor, sight: Sight, keys: Piece, values: Piece) -> tuple[Tensor, Tensor, Tensor]:
        """The output, and all keys and values, as of `Attention`."""
        y, keys, values = self.self_attn(self.input_layernorm(x), sight, keys, values)
        x = x + self.self_attn_layer_scale(y)
        return x + self.mlp_layer_scale(self.mlp(self.post_attention_layernorm(x))), keys, values


class Transformer(nn.Module):
    """Layers of a transformer over time. It has no norm at its end.

    Shape: `[B, C, T]` -> `[B, C, T]`.
    """

    def __init__(self, style: TransformerStyle) -> None:
        super().__init__()
        self.style = style
        self.layers = nn.ModuleList(TransformerLayer(style) for _ in range(style.n_layers))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.advance(x.mT, None, is_last=True)
        return y.mT

    def step(self) -> Attending | Called:
        """The module as a step of a longer chain; one that sees everything can only be called on the whole."""
        return Called(self) if self.style.window is None else Attending(self)

    def advance(self, x: Tensor, past: Past | None, is_last: bool) -> tuple[Tensor, Past | None]:
        """The layers on a piece more, `[B, T, C]`, and what is kept for the next; nothing is at the end."""
        sight = self._sight(x, None if past is None else past.position)
        kept_keys, kept_values = [], []
        for i, layer in enumerate(self.layers):
            keys, values = (None, None) if past is None else (past.keys[i], past.values[i])
            if past is None and self.style.window is not None:
                keys = values = self._nothing(x)
            x, keys, values = layer(x, sight, keys, values)
            if not is_last:
                kept_keys.append(_kept(keys, x.shape[1]))
                kept_values.append(_kept(values, x.shape[1]))
        if is_last:
            return x, None
        position = torch.zeros(x.shape[0], dtype=torch.int64, device="cpu") if past is None else past.position
        return x, Past(position + x.shape[1], tuple(kept_keys), tuple(kept_values))

    def _nothing(self, x: Tensor) -> Tensor:
        """Keys or values before the start."""
        assert self.style.window is not None  # noqa: S101 - for the type checker
        return x.new_zeros(x.shape[0], self.style.n_heads, self.style.window - 1, self.style.head_dim)

    def _sight(self, x: Tensor, position: Tensor | None) -> Sight:
        """Where the steps of a piece are in each row, from a position on, and what they see."""
        style, n = self.style, x.shape[1]
        position = torch.zeros(1, dtype=torch.int64, device="cpu") if position is None else position
        steps = position[:, None, None, None] + torch.arange(n, device="cpu")[:, None]
        pairs = torch.arange(0, style.head_dim, 2, dtype=torch.float64, device="cpu") / style.head_dim
        angles = steps * style.theta**-pairs
        cos, sin = (turn.float().to(x.device) for turn in (angles.cos(), angles.sin()))
        return Sight(cos, sin, [] if style.window is None else self._masks(n, style.window, position, x.device))

    def _masks(self, n: int, window: int, position: Tensor, device: torch.device) -> list[tuple[int, int, Tensor]]:
        past = window - 1
        # A compiler gets one block for all, so that one graph is for many lengths.
        size = n if torch.compiler.is_compiling() else min(n, max(QUERIES, window))
        query, key = torch.arange(size, device="cpu")[:, None], torch.arange(size + past, device="cpu")
        band = (query <= key) & (key <= query + past)
        exists = torch.arange(n + past, device="cpu") >= past - position[:, None, None, None]  # [1 or B, 1, 1, keys]
        if torch.compiler.is_compiling():
            return [(0, n, (band & exists).to(device))]
        masks = []
        general = band.to(device)
        for start in range(0, n, size):
            stop = min(n, start + size)
            keys = stop - start + past
            if start < past:
                mask = (band[: stop - start, :keys] & exists[..., start : start + keys]).to(device)
            else:
                mask = general[: stop - start, :keys]
            masks.append((start, stop, mask))
        return masks


def _kept(x: Tensor, steps: int) -> Tensor:
    """What is behind the first steps; a copy where those are so many that a view would hold on to much."""
    kept = x[:, :, steps:].detach()
    return kept.clone() if 2 * steps > kept.shape[2] else kept


class Attending(NamedTuple):
    """A transformer with a window as a step: `[B, C, T]` -> `[B, C, T]`."""

    transformer: Transformer

    @property
    def period(self) -> tuple[int, int]:
        """A sample."""
        return 1, 1

    def __call__(self, x: Tensor) -> Tensor:
        """The layers on a whole signal."""
        y: Tensor = self.transformer(x)
        return y

    def start(self) -> Any:
        """Nothing is kept yet."""
        return ()

    def advance(self, x: Piece, state: Any, is_last: bool) -> tuple[Piece, Any]:
        """The layers on a piece more, `[B, n, C]`."""
        if x is None:
            return None, state
        y, past = self.transformer.advance(x, state or None, is_last)
        return y, past or ()

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """All: it looks back only."""
        return n
