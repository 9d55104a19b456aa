"""SEANet, the encoder and the decoder of EnCodec: convolutions that pad for themselves, and an LSTM.

Source: Defossez et al., "High Fidelity Neural Audio Compression", arXiv 2210.13438.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from vocos import kernels
from vocos.kernels import Called, Chain, Convolution, Elu, Pad, Recurrent, Residual, steps
from vocos.nn.conv import convolution, transposed
from vocos.nn.hooked import chain_of, is_changed

NORM_EPSILON = 1e-5  # of the normalisation after convolutions; not the vocoder's 1e-6


@dataclass(frozen=True)
class SEANetStyle:
    """What the layers of SEANet have in common; the defaults are those of EnCodec at 24 kHz.

    Attributes:
        is_causal: whether convolutions look back only, not to both sides.
        pad_mode: as of `kernels.Pad`.
        has_norm: whether a normalisation over channels and time follows each convolution.
        has_shortcut: whether the residual units have a pointwise convolution beside them, or nothing.
        kernel, last_kernel, residual_kernel: of the first and last convolution of each half, and in the units.
        n_units: residual units of a stage; unit j has dilation `dilation_base` to the power of j.
        dilation_base: see there.
        compress: how many times narrower a unit is inside.
        n_lstm: layers of the LSTM; 0 for none of it.
        trim_right: share of what a causal transposed convolution has too much that is cut on the right.
    """

    is_causal: bool = True
    pad_mode: str = "reflect"
    has_norm: bool = False
    has_shortcut: bool = True
    kernel: int = 7
    last_kernel: int = 7
    residual_kernel: int = 3
    n_units: int = 1
    dilation_base: int = 2
    compress: int = 2
    n_lstm: int = 2
    trim_right: float = 1.0

    def norm(self, channels: int) -> nn.Module:
        """What follows a convolution."""
        return nn.GroupNorm(1, channels, eps=NORM_EPSILON) if self.has_norm else nn.Identity()


class SEANetConv(nn.Module):
    """A convolution that pads its input, so that every window is full.

        causal  [ span - stride | audio | 0 .. stride - 1 ]    span = (kernel - 1) dilation + 1
        else    [ half of it, the larger | audio | the other half + 0 .. stride - 1 ]

    Shape: `[B, inputs, N]` -> `[B, outputs, ceil(N / stride)]`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        style: SEANetStyle = SEANetStyle(),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation, bias=bias)
        self.norm = style.norm(outputs)
        self.stride = stride
        self.pad_mode = style.pad_mode
        around = (kernel - 1) * dilation + 1 - stride
        self.right = 0 if style.is_causal else around // 2
        self.left = around - self.right

    def chain(self) -> Chain:
        """What the module computes, its norm left out."""
        step = convolution(self.conv)
        if self.left == self.right == 0 and self.stride == 1:
            return (step,)
        return Pad(self.left, self.right, self.stride, self.pad_mode), step

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(steps.run(self.chain(), x))


class SEANetTransposed(nn.Module):
    """A transposed convolution of kernel 2s and stride s, cut to s times the length; the norm sees what is cut.

    Shape: `[B, inputs, L]` -> `[B, outputs, s L]`.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, style: SEANetStyle, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride, groups=groups, bias=bias)
        self.norm = style.norm(outputs)
        self.right = math.ceil(stride * style.trim_right) if style.is_causal else stride // 2
        self.left = stride - self.right

    def chain(self) -> Chain:
        """What the module computes, its norm left out."""
        step = transposed(self.conv)
        return (Called(self) if isinstance(step, Called) else step._replace(left=self.left, right=self.right),)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.norm(self.conv(x))
        return whole[..., self.left : whole.shape[-1] - self.right]


class Resampled(kernels.Chained):
    """One of these convolutions by itself, as a chain. It has the tensors of a `SEANetConv` or `SEANetTransposed`."""

    def __init__(self, layer: SEANetConv | SEANetTransposed) -> None:
        super().__init__()
        self.layer = layer

    def chain(self) -> Chain:
        """That of the convolution."""
        return chain_of(self.layer)


class SEANetUnit(nn.Module):
    """shortcut(x) + pointwise(ELU(convolution(ELU(x)))), narrower inside.

    Shape: `[B, C, N]` -> `[B, C, N]`.
    """

    def __init__(self, channels: int, dilation: int, style: SEANetStyle) -> None:
        super().__init__()
        inside = channels // style.compress
        self.block = nn.Sequential(
            nn.ELU(),
            SEANetConv(channels, inside, style.residual_kernel, dilation=dilation, style=style),
            nn.ELU(),
            SEANetConv(inside, channels, 1, style=style),
        )
        self.shortcut = SEANetConv(channels, channels, 1, style=style) if style.has_shortcut else nn.Identity()

    def chain(self) -> Chain:
        """What the module computes, its norms left out."""
        steps = _joined(self.block)
        shortcut = None if isinstance(self.shortcut, nn.Identity) else _pointwise(self.shortcut)
        return (Residual(steps, shortcut),)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


def _joined(layers: Any) -> Chain:
    return tuple(step for layer in layers for step in (_ELU if _is_elu(layer) else chain_of(layer)))


def _pointwise(layer: SEANetConv) -> Convolution | Called:
    """The one step of a convolution that needs no padding."""
    return Called(layer) if is_changed(layer, SEANetConv) else convolution(layer.conv)


_ELU = (Elu(),)


def _is_elu(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ELU) and not is_changed(layer, nn.ELU)


def _units(channels: int, style: SEANetStyle) -> list[nn.Module]:
    return [SEANetUnit(channels, style.dilation_base**j, style) for j in range(style.n_units)]


class ResidualLSTM(nn.Module):
    """LSTM layers over time, from a zero state, plus their input.

    Shape: `[B, C, L]` -> `[B, C, L]`.
    """

    def __init__(self, channels: int, n_layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=n_layers)

    def chain(self) -> Chain:
        """What the module computes."""
        if is_changed(self.lstm, nn.LSTM):
            return (Called(self),)
        return (Recurrent(tuple(weight for layer in self.lstm.all_weights for weight in layer)),)

    def forward(self, x: Tensor) -> Tensor:
        over_time = rearrange(x, "b c l -> l b c")
        return x + rearrange(self.lstm(over_time)[0], "l b c -> b c l").to(x.dtype)


def _lstm(channels: int, style: SEANetStyle) -> list[nn.Module]:
    return [ResidualLSTM(channels, style.n_lstm)] if style.n_lstm else []


class SEANet(kernels.Chained):
    """Layers that run as one chain, unless they have norms over all of time."""

    layers: nn.Sequential

    def __init__(self, style: SEANetStyle) -> None:
        super().__init__()
        self.uses_engine = not style.has_norm

    def chain(self) -> Chain:
        """What the layers compute, their norms left out."""
        return _joined(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.uses_engine else self.layers(x)


class SEANetEncoder(SEANet):
    """Audio to features.

    Args:
        channels: of the audio.
        filters: channels after the first convolution; they double at each stride.
        strides: in the order they are applied.
        outputs: channels of the features.
        style: of the layers.

    Shape: `[B, channels, N]` -> `[B, outputs, ceil(N / product(strides))]`.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        strides: Sequence[int],
        outputs: int,
        style: SEANetStyle = SEANetStyle(),
    ) -> None:
        super().__init__(style)
        layers: list[nn.Module] = [SEANetConv(channels, filters, style.kernel, style=style)]
        width = filters
        for stride in strides:
            down = SEANetConv(width, 2 * width, 2 * stride, stride, style=style)
            layers += [*_units(width, style), nn.ELU(), down]
            width *= 2
        last = SEANetConv(width, outputs, style.last_kernel, style=style)
        layers += [*_lstm(width, style), nn.ELU(), last]
        self.layers = nn.Sequential(*layers)  # numbered as in the public checkpoints


class SEANetDecoder(SEANet):
    """Features to audio.

    Args:
        inputs: channels of the features.
        filters: channels before the last convolution; they halve at each stride.
        strides: in the order they are applied.
        channels: of the audio.
        style: of the layers.

    Shape: `[B, inputs, L]` -> `[B, channels, L product(strides)]`.
    """

    def __init__(self, inputs: int, filters: int, strides: Sequence[int], channels: int, style: SEANetStyle) -> None:
        super().__init__(style)
        width = filters * 2 ** len(strides)
        first = SEANetConv(inputs, width, style.kernel, style=style)
        layers: list[nn.Module] = [first, *_lstm(width, style)]
        for stride in strides:
            up = SEANetTransposed(width, width // 2, stride, style)
            layers += [nn.ELU(), up, *_units(width // 2, style)]
            width //= 2
        layers += [nn.ELU(), SEANetConv(width, channels, style.last_kernel, style=style)]
        self.layers = nn.Sequential(*layers)  # numbered as in the public checkpoints
