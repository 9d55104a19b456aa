"""The Vocos generator: features to Fourier coefficients at the frame rate, to audio by one inverse STFT.

Source: Siuzdak, "Vocos", arXiv 2306.00814; ConvNeXt: Liu et al., arXiv 2201.03545.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos import kernels
from vocos.config import expect
from vocos.kernels import Called, Chain, Window, steps
from vocos.nn.conv import same_conv
from vocos.nn.dense import Dense
from vocos.nn.hooked import is_changed
from vocos.nn.spectral import Framing, InverseSTFT, Overlapped, in_float32

NORM_EPSILON = 1e-6  # of every LayerNorm here; not PyTorch's 1e-5
REACH = 3  # frames to each side that a convolution of kernel 7 reads
MAGNITUDE_CAP = 100.0  # of the spectrum, after the exponential


class AdaLayerNorm(nn.Module):
    """LayerNorm whose scale and shift are picked from a table by a condition, one for the whole batch.

    Shape: `[B, L, C]` -> `[B, L, C]`.
    """

    eps = NORM_EPSILON

    def __init__(self, conditions: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Embedding(conditions, channels)
        self.shift = nn.Embedding(conditions, channels)

    def forward(self, x: Tensor, condition: int) -> Tensor:
        scale, shift = (_row(table, condition) for table in (self.scale, self.shift))
        return F.layer_norm(x, x.shape[-1:], scale, shift, self.eps)


def _row(table: nn.Embedding, row: int) -> Tensor:
    if is_changed(table, nn.Embedding):
        picked: Tensor = table(torch.tensor(row, device=table.weight.device))
        return picked
    return table.weight[row]


def _norm(conditions: int, channels: int) -> nn.Module:
    return AdaLayerNorm(conditions, channels) if conditions else nn.LayerNorm(channels, eps=NORM_EPSILON)


def normalised(norm: nn.Module, x: Tensor, condition: int) -> Tensor:
    """A norm of x `[B, L, C]`, of a condition if it is an `AdaLayerNorm`."""
    return norm(x, condition) if isinstance(norm, AdaLayerNorm) else norm(x)


def channel_last(conv: nn.Conv1d, x: Tensor, left: int, right: int, own: int = REACH) -> Tensor:
    """A convolution of channel-last data, as one in two dimensions: libraries then need not transpose it.

    Args:
        conv: of kernel k; called, with its own padding, if it was changed.
        x: `[B, L, inputs]`.
        left, right: zeros at the ends.
        own: padding of the convolution's own.

    Returns:
        `[B, left + L + right - k + 1, outputs]`.
    """
    if is_changed(conv, nn.Conv1d):
        called: Tensor = conv(F.pad(x.mT, (left - own, right - own))).mT
        return called
    if left != right:
        x, left = F.pad(x, (0, 0, left, right)), 0
    weight = conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
    y = F.conv2d(x.mT[:, :, None], weight, conv.bias, padding=(0, left), groups=conv.groups)
    return y[:, :, 0].mT


class ConvNeXtBlock(nn.Module):
    """x + gamma * pointwise(GELU(pointwise(norm(depthwise convolution(x))))).

    Shape: `[B, L, C]` -> `[B, L, C]`.

    Args:
        channels, intermediate: outside and inside of the block.
        conditions: rows of the AdaLayerNorm tables; 0 for plain LayerNorm.
        is_causal: whether the convolution looks back only.
    """

    def __init__(self, channels: int, intermediate: int, conditions: int = 0, is_causal: bool = False) -> None:
        super().__init__()
        self.before, self.after = (2 * REACH, 0) if is_causal else (REACH, REACH)
        self.dwconv = nn.Conv1d(channels, channels, 7, padding=0 if is_causal else REACH, groups=channels)
        self.norm = _norm(conditions, channels)
        self.pwconv1 = Dense(channels, intermediate)
        self.pwconv2 = Dense(intermediate, channels)
        self.gamma = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor, condition: int = 0) -> Tensor:
        return self.window(x, condition, self.before, self.after)

    def window(self, x: Tensor, condition: int, left: int, right: int) -> Tensor:
        """The block with so many zeros at the ends, for the frames that have all of their window.

        Shape: `[B, L, C]` -> `[B, left + L + right - 6, C]`.
        """
        y = channel_last(self.dwconv, x, left, right, self.after)
        y = normalised(self.norm, y, condition)
        x = x[:, self.before - left : x.shape[1] - self.after + right]
        wide, narrow = self.pwconv1, self.pwconv2
        if is_changed(wide, Dense) or is_changed(narrow, Dense):
            y = narrow(F.gelu(wide(y)))  # a wrapper adds to the product, before the activation
        else:
            weights = wide.weight, narrow.weight, self.gamma
            y = kernels.by_rows(lambda rows: narrow(wide(rows, "gelu")), y, weights)
        return torch.addcmul(x, self.gamma, y)


class Backbone(nn.Module):
    """ConvNeXt blocks at one frame rate. Each output frame sees 3 + 3 n_layers frames to each side.

    Args:
        inputs: channels of the features.
        channels: of the blocks.
        intermediate: channels inside a block.
        n_layers: number of blocks.
        conditions: rows of the AdaLayerNorm tables; 0 for plain LayerNorm.

    Shape: `[B, inputs, L]` -> `[B, L, channels]`.
    """

    def __init__(self, inputs: int, channels: int, intermediate: int, n_layers: int, conditions: int = 0) -> None:
        super().__init__()
        self.embed = same_conv(inputs, channels, 7)
        self.norm = _norm(conditions, channels)
        self.convnext = nn.ModuleList(ConvNeXtBlock(channels, intermediate, conditions) for _ in range(n_layers))
        self.final_layer_norm = nn.LayerNorm(channels, eps=NORM_EPSILON)

    def forward(self, features: Tensor, condition: int = 0) -> Tensor:
        return steps.run(self.chain(condition), features).mT

    def chain(self, condition: int = 0) -> Chain:
        """What the module computes, `[B, inputs, L]` -> `[B, channels, L]`; any layer that was changed is called."""

        def first(x: Tensor, left: int = REACH, right: int = REACH) -> Tensor:
            return normalised(self.norm, channel_last(self.embed, x.mT, left, right), condition).mT

        def last(x: Tensor) -> Tensor:
            y: Tensor = self.final_layer_norm(x.mT)
            return y.mT

        is_called = is_changed(self.embed, nn.Conv1d)
        found = [Called(first) if is_called else Window(first, REACH, REACH)]
        for block in self.convnext:
            found.append(block_step(block, condition))
        return (*found, Window(last))


def block_step(block: Any, condition: int = 0) -> Called | Window:
    """A `ConvNeXtBlock` as a step; called on the whole signal if it, or its convolution, was changed."""
    if is_changed(block, ConvNeXtBlock) or is_changed(block.dwconv, nn.Conv1d):
        return Called(lambda x: block(x.mT, condition).mT)
    return Window(lambda x, left, right: block.window(x.mT, condition, left, right).mT, block.before, block.after)


class FourierHead(nn.Module):
    """Log-magnitude and phase by one linear layer, then the inverse STFT in float32.

    Shape: `[B, L, channels]` -> `[B, 1, samples(L)]`; see `InverseSTFT` for `length`.
    """

    def __init__(self, channels: int, framing: Framing) -> None:
        super().__init__()
        self.out = Dense(channels, framing.n_fft + 2)
        self.istft = InverseSTFT(framing)

    def forward(self, x: Tensor, length: int | None = None) -> Tensor:
        is_called = is_changed(self.out, Dense)
        frames = self._frames(x) if is_called else kernels.by_rows(self._frames, x, self.out.weight)
        with in_float32(x.device):
            return self.istft.joined(frames, length)[:, None]

    def steps(self) -> tuple[Window, Overlapped]:
        """The same as steps, `[B, channels, L]` -> `[B, 1, samples(L) + tail]`."""
        is_called = is_changed(self.out, Dense)

        def frames(x: Tensor) -> Tensor:
            return (self._frames(x.mT) if is_called else kernels.by_rows(self._frames, x.mT, self.out.weight)).mT

        return Window(frames), self.istft.step()

    def spectrum(self, x: Tensor) -> Tensor:
        """Fourier coefficients: `[B, L, channels]` -> `[B, L, n_fft/2 + 1]`, complex64."""
        coefficients = self.out(x)
        with in_float32(x.device):
            log_magnitude, phase = coefficients.float().chunk(2, dim=-1)
            return torch.polar(log_magnitude.exp().clamp(max=MAGNITUDE_CAP), phase)

    def _frames(self, x: Tensor) -> Tensor:
        return self.istft.frames(self.spectrum(x))


def vocoder_steps(network: Any, condition: int = 0) -> tuple[Any, ...]:
    """The backbone and the head of a network as steps, or calls: `[B, inputs, L]` -> `[B, 1, samples(L) + tail]`."""
    backbone, head = network.backbone, network.head
    first: tuple[Any, ...] = (Called(lambda x: backbone(x, condition).mT),)
    last: tuple[Any, ...] = (Called(lambda x: head(x.mT)),)
    return (
        *(first if is_changed(backbone, Backbone) else backbone.chain(condition)),
        *(last if is_changed(head, FourierHead) else head.steps()),
    )


# What the transformers port calls the hyperparameters, and the values of those it has in a config without a choice.
_TRANSFORMERS_KEYS = {
    "hidden_size": "dim",
    "intermediate_size": "intermediate_dim",
    "istft_padding": "head_padding",
    "codebook_dim": "input_channels",
}
_TRANSFORMERS_FIXED = {"kernel_size": 7, "padding": 3, "layer_norm_eps": NORM_EPSILON, "hidden_act": "gelu"}


def from_transformers(data: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a transformers config, under our names.

    Raises:
        CheckpointError: if an option has a value that this generator does not know.
    """
    for name, value in _TRANSFORMERS_FIXED.items():
        expect(data, name, value, default=value)
    renamed = {_TRANSFORMERS_KEYS.get(k, k): v for k, v in data.items() if k not in _TRANSFORMERS_FIXED}
    # The spectrogram is made by a feature extractor with a file of its own, which pads as the generator does.
    return {**renamed, "padding": renamed.get("head_padding", "center")}


def to_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse: what a transformers config says of our hyperparameters."""
    theirs = {ours: name for name, ours in _TRANSFORMERS_KEYS.items()}
    return {**{theirs.get(k, k): v for k, v in config.items() if k != "padding"}, **_TRANSFORMERS_FIXED}


def transformers_names(n_layers: int, has_conditions: bool = False) -> dict[str, str]:
    """Paths of modules and tensors, ours -> those of the transformers port."""
    names = {f"backbone.{part}": part for part in ("embed", "norm", "final_layer_norm")} | {"head.out": "decoder.out"}
    norms = {"backbone.norm": "norm"}
    for i in range(n_layers):
        ours, theirs = f"backbone.convnext.{i}", f"layers.{i}"
        names |= {f"{ours}.{part}": f"{theirs}.{part}" for part in ("dwconv", "norm", "pwconv1", "pwconv2")}
        names[f"{ours}.gamma"] = f"{theirs}.layer_scale_parameter"
        norms[f"{ours}.norm"] = f"{theirs}.norm"
    if has_conditions:
        for ours, theirs in norms.items():
            names |= {f"{ours}.scale.weight": f"{theirs}.weight", f"{ours}.shift.weight": f"{theirs}.bias"}
    return names
