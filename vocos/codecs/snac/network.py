"""The network of SNAC: blocks like DAC's with depthwise units, local attention, and a decoder that draws noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from vocos.codecs.snac.config import SnacConfig
from vocos.kernels import Called, Chain, Grouped, Piece, Window
from vocos.nn.blocks import DILATIONS, DepthwiseUnit, EncoderBlock, Layers, ResidualUnit, Snake, Stack
from vocos.nn.conv import convolution, same_conv, transposed, transposed_conv
from vocos.nn.dense import Dense
from vocos.nn.gaussian import noise as drawn
from vocos.nn.hooked import chain_of, is_changed, step_of
from vocos.nn.quantize import FactorizedCodebook
from vocos.nn.transformer import attended, rotated
from vocos.voco import Steps

HEAD = 64  # numbers of a head of the attention
CHUNK = 4096  # samples of a stage, whose noise a stream draws at once


class DepthwiseEncoderBlock(EncoderBlock):
    """An encoder block of depthwise units."""

    unit = DepthwiseUnit


class Run(Stack):
    """Layers in a row, as one chain."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def chain(self) -> Chain:
        return tuple(step for layer in self.layers for step in _chain(layer))


def _chain(layer: Any) -> Chain:
    if isinstance(layer, nn.Conv1d):
        return (convolution(layer),)
    if isinstance(layer, nn.ConvTranspose1d):
        return (transposed(layer),)
    return chain_of(layer) if isinstance(layer, Layers) else (Called(layer),)


class LocalAttention(nn.Module):
    """x + attention within windows of some frames, from the first on; the last window may be shorter.

    Shape: `[B, C, L]` -> `[B, C, L]`.
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = Dense(channels, 3 * channels, bias=False)
        self.to_out = Dense(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        whole = x.shape[-1] // self.window * self.window
        windows = rearrange(x[..., :whole], "b c (w m) -> (b w) m c", m=self.window)
        parts = [rearrange(self._attend(windows), "(b w) m c -> b c (w m)", b=len(x))] if whole else []
        if whole < x.shape[-1]:
            parts.append(self._attend(x[..., whole:].mT).mT)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _attend(self, x: Tensor) -> Tensor:
        """The block on windows `[w, m, C]`."""
        qkv = self.to_qkv(self.norm(x))
        queries, keys, values = rearrange(qkv, "w m (three h d) -> three w h m d", three=3, d=HEAD)
        pairs = torch.arange(0, HEAD, 2, dtype=torch.float64, device="cpu") / HEAD
        angles = torch.arange(x.shape[1], device="cpu")[:, None] * 10000.0**-pairs
        turn = [part.float().to(x.device) for part in (angles.cos(), angles.sin())]
        y = attended(rotated(queries, *turn), rotated(keys, *turn), values)
        found: Tensor = x + self.to_out(rearrange(y, "w h m d -> w m (h d)"))
        return found

    def step(self) -> Grouped:
        """The block as a step."""
        return Grouped(self, self.window, self.window, is_open=True)


class NoiseBlock(nn.Module):
    """x + w h(x), of noise w, one number for each sample and the same for all channels.

    Shape: `[B, N, C]` and `[B, N, 1]` -> `[B, N, C]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        if is_changed(self.linear, nn.Conv1d):
            y: Tensor = self.linear(x.mT).mT
        else:
            y = F.linear(x, self.linear.weight[..., 0])
        return torch.addcmul(x, noise.to(x.dtype), y)


class Noises(NamedTuple):
    """The noise of the blocks of a decoder.

    Attributes:
        whole: of a whole signal, `[B, 1, N]` for each block; None to draw it as the samples come.
        generator: of the seeds of what is drawn so; None for PyTorch's global one.
    """

    whole: Sequence[Tensor] | None = None
    generator: torch.Generator | None = None


class Noisy(NamedTuple):
    """A noise block as a step: `[B, C, N]` -> `[B, C, N]`.

    Noise that was not drawn before comes in chunks of samples, each from a seed of its own, so that it does not depend
    on how the signal is cut into pieces.
    """

    block: NoiseBlock
    place: int  # among the blocks of the decoder
    noises: Noises

    @property
    def period(self) -> tuple[int, int]:
        """A sample."""
        return 1, 1

    def __call__(self, x: Tensor) -> Tensor:
        """The block on a whole signal."""
        y, _ = self.advance(x.mT, (), True)
        assert y is not None  # noqa: S101 - for the type checker
        return y.mT

    def start(self) -> Any:
        """No seed, and no samples so far."""
        return ()

    def most(self, state: Any) -> int:
        """A seed and a place."""
        return 0

    def advance(self, x: Piece, state: Any, is_last: bool) -> tuple[Piece, Any]:
        """The block on a piece more, `[B, n, C]`."""
        if x is None:
            return None, state
        n = x.shape[1]
        if self.noises.whole is not None:
            start = state or 0
            y: Tensor = self.block(x, self.noises.whole[self.place][..., start : start + n].mT)
            return y, start + n
        state = state if isinstance(state, Tensor) else self._begun(x)
        y = self.block(x, self._drawn(x, state).mT)
        return y, state + torch.tensor([0, n], device="cpu")

    def _begun(self, x: Tensor) -> Tensor:
        """A seed and the samples so far of every row, `[B, 2]`, on the CPU."""
        if x.is_meta:
            return torch.zeros(len(x), 2, dtype=torch.int64, device="cpu")
        generator = self.noises.generator
        place = "cpu" if generator is None else generator.device
        seeds = torch.randint(1 << 48, (len(x), 1), generator=generator, device=place).cpu()
        return torch.cat([seeds, torch.zeros_like(seeds)], dim=1)

    def _drawn(self, x: Tensor, state: Tensor) -> Tensor:
        """The noise of some samples more, `[B, 1, n]`."""
        if x.is_meta:
            return x.new_empty(len(x), 1, x.shape[1])
        generator = torch.Generator("cpu")
        rows = []
        for seed, start in state.tolist():
            first, stop = start // CHUNK, start + x.shape[1]
            chunks = []
            for chunk in range(first, -(-stop // CHUNK)):
                generator.manual_seed(seed + chunk)
                chunks.append(torch.randn(CHUNK, generator=generator, dtype=torch.float32, device="cpu"))
            rows.append(torch.cat(chunks)[start - first * CHUNK : stop - first * CHUNK])
        return torch.stack(rows)[:, None].to(x.device)

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """All."""
        return n


class SnacEncoder(nn.Module):
    """Audio to features: `[B, 1, N]`, N a multiple of what the config pads to, -> `[B, D, N / hop]`."""

    def __init__(self, config: SnacConfig) -> None:
        super().__init__()
        block = DepthwiseEncoderBlock if config.depthwise else EncoderBlock
        widths, window = config.encoder_widths, config.attn_window_size
        blocks = [block(*sizes, Snake) for sizes in zip(widths, widths[1:], config.encoder_rates, strict=False)]
        self.body = Run(same_conv(1, widths[0], 7), *blocks)
        self.attention = None if window is None else LocalAttention(widths[-1], window)
        width = widths[-1]
        self.last = Run(same_conv(width, width, 7, groups=width if config.depthwise else 1))

    def steps(self) -> Steps:
        """What the module computes, step by step."""
        middle = () if self.attention is None else (step_of(self.attention),)
        return step_of(self.body), *middle, step_of(self.last)


class SnacDecoder(nn.Module):
    """Features to audio: `[B, D, L]` -> `[B, 1, hop L]`, in [-1, 1]."""

    def __init__(self, config: SnacConfig) -> None:
        super().__init__()
        inputs, width, window = config.encoder_widths[-1], config.decoder_dim, config.attn_window_size
        unit = DepthwiseUnit if config.depthwise else ResidualUnit
        first = [same_conv(inputs, inputs, 7, groups=inputs), same_conv(inputs, width, 1)]
        self.first = Run(*(first if config.depthwise else [same_conv(inputs, width, 7)]))
        self.attention = None if window is None else LocalAttention(width, window)
        ups, noises, units = [], [], []
        for rate in config.decoder_rates:
            ups.append(Run(Snake(width), transposed_conv(width, width // 2, rate, output_padding=rate % 2)))
            width //= 2
            noises += [NoiseBlock(width)] if config.noise else []
            units.append(Run(*(unit(width, dilation, Snake) for dilation in DILATIONS)))
        self.ups: Sequence[Run] = nn.ModuleList(ups)  # type: ignore[assignment]
        self.noises: Sequence[NoiseBlock] = nn.ModuleList(noises)  # type: ignore[assignment]
        self.units: Sequence[Run] = nn.ModuleList(units)  # type: ignore[assignment]
        self.last = Run(Snake(width), same_conv(width, 1, 7))

    def steps(self, noises: Noises | None) -> Steps:
        """What the module computes, step by step; without noise for None."""
        found: list[Any] = [step_of(self.first)]
        if self.attention is not None:
            found.append(step_of(self.attention))
        for i, (up, units) in enumerate(zip(self.ups, self.units, strict=True)):
            found.append(step_of(up))
            if noises is not None and len(self.noises):
                found.append(Noisy(self.noises[i], i, noises))
            found.append(step_of(units))
        return *found, step_of(self.last), Window(torch.tanh)

    def draw(self, batch: int, frames: int, rates: Sequence[int], device: torch.device, generator: Any) -> Noises:
        """Noise of a whole signal, block by block, as the original draws it: `[B, 1, N]` in float32 each."""
        whole = []
        for rate in rates:
            frames *= rate
            whole.append(drawn((batch, 1, frames), device, generator))
        return Noises(whole)


class MultiScaleRVQ(nn.Module):
    """A residual quantiser whose codebooks code means of several frames, and repeat what they found.

    Source: Siuzdak et al., "SNAC: Multi-Scale Neural Audio Codec", arXiv 2410.14411.

    Args:
        config: of the codebooks.
    """

    def __init__(self, config: SnacConfig) -> None:
        super().__init__()
        self.strides = config.vq_strides
        sizes = config.encoder_widths[-1], config.codebook_size, config.codebook_dim
        books = (FactorizedCodebook(*sizes) for _ in self.strides)
        self.quantizers: Sequence[FactorizedCodebook] = nn.ModuleList(books)  # type: ignore[assignment]

    def encode(self, features: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, columns, L / strides[0]]` of features `[B, D, L]`."""
        residual, found = features.float(), []
        with torch.autocast(features.device.type, enabled=False):
            for book, stride in zip(self.quantizers[:n_codebooks], self.strides, strict=False):
                means = reduce(residual, "b d (l s) -> b d l", "mean", s=stride)
                codes, values = book.encode(means)
                residual = residual - repeat(values, "b d l -> b d (l s)", s=stride)
                found.append(rearrange(codes, "b (c r) -> b r c", r=self.strides[0] // stride))
        return torch.cat(found, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, D, L]`, float32, of codes `[B, columns, L / strides[0]]` of the first codebooks."""
        total: Tensor | None = None
        start = 0
        with torch.autocast(codes.device.type, enabled=False):
            for book, stride in zip(self.quantizers, self.strides, strict=True):
                if start == codes.shape[1]:
                    break
                count = self.strides[0] // stride
                own = rearrange(codes[:, start : start + count], "b r c -> b (c r)")
                values = repeat(book.decode(own), "b d l -> b d (l s)", s=stride)
                total = values if total is None else total + values
                start += count
        assert total is not None  # noqa: S101 - for the type checker
        return total


class SnacNetwork(nn.Module):
    """Encoder, quantiser and decoder."""

    def __init__(self, config: SnacConfig) -> None:
        super().__init__()
        self.encoder = SnacEncoder(config)
        self.quantizer = MultiScaleRVQ(config)
        self.decoder = SnacDecoder(config)
