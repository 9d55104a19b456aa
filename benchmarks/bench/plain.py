"""DACVAE on plain modules with weight norm left in, the way the original package runs it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vocos.codecs.dacvae import DacVaeConfig


class PlainSnake(nn.Module):
    """x + sin(alpha x)^2 / (alpha + 1e-9)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)


class PlainUnit(nn.Module):
    """A residual unit."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.snake1, self.snake2 = PlainSnake(channels), PlainSnake(channels)
        self.conv1 = nn.Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.snake2(self.conv1(self.snake1(x))))


class PlainBlock(nn.Module):
    """A block of the encoder or of the decoder, with its shortcut; its rate is even."""

    def __init__(self, inputs: int, outputs: int, rate: int, is_encoder: bool) -> None:
        super().__init__()
        self.rate, self.is_encoder = rate, is_encoder
        conv = nn.Conv1d if is_encoder else nn.ConvTranspose1d
        self.units = nn.Sequential(*(PlainUnit(inputs if is_encoder else outputs, d) for d in (1, 3, 9)))
        self.snake = PlainSnake(inputs)
        self.conv = conv(inputs, outputs, 2 * rate, rate, padding=rate // 2)

    def forward(self, x: Tensor) -> Tensor:
        group = self.rate // 2
        if self.is_encoder:
            shortcut = reduce(x, "b c (l half g) -> b (c half) l", "mean", half=2, g=group)
            return shortcut + self.conv(self.snake(self.units(x)))
        return repeat(x, "b (c half) l -> b c (l half g)", half=2, g=group) + self.units(self.conv(self.snake(x)))


class PlainHalf(nn.Module):
    """What encoder and decoder have in common; the modules have our names."""

    def __init__(self, ends: tuple[int, int], widths: list[int], rates: tuple[int, ...], is_encoder: bool) -> None:
        super().__init__()
        self.conv_in = nn.Conv1d(ends[0], widths[0], 7, padding=3)
        sizes = zip(widths[:-1], widths[1:], rates, strict=True)
        self.blocks = nn.Sequential(*(PlainBlock(*size, is_encoder) for size in sizes))
        self.snake = PlainSnake(widths[-1])
        kernel = 3 if is_encoder else 7
        self.conv_out = nn.Conv1d(widths[-1], ends[1], kernel, padding=kernel // 2)
        if is_encoder:
            self.mean, self.scale = nn.Linear(ends[1], ends[1]), nn.Linear(ends[1], ends[1])


class PlainDacVae(nn.Module):
    """Both halves, filled from the tensors of ours."""

    def __init__(self, config: DacVaeConfig, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        size = self.size = config.latent_dim
        self.encoder = PlainHalf((1, size), config.encoder_widths, config.encoder_rates, is_encoder=True)
        self.decoder = PlainHalf((size, 1), config.decoder_widths, config.decoder_rates, is_encoder=False)
        self.hop_length = config.hop_length
        self.load_state_dict(state)
        for module in list(self.modules()):
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
                weight_norm(module)

    def encode(self, audio: Tensor) -> Tensor:
        """Mean `[B, 2 D, L]` of audio `[B, 2, N]`."""
        half = self.encoder
        mono = rearrange(F.pad(audio, (0, -audio.shape[-1] % self.hop_length)), "b c n -> (b c) 1 n")
        h = half.snake(half.blocks(half.conv_in(mono)))
        features = half.conv_out(h) + reduce(h, "b (d k) l -> b d l", "mean", d=self.size)
        mean, _ = half.mean(features.mT), half.scale(features.mT)  # the original computes both
        return rearrange(mean, "(b c) l d -> b (c d) l", c=2)

    def decode(self, latents: Tensor) -> Tensor:
        """Audio `[B, 2, N]` of latents `[B, 2 D, L]`."""
        half, mono = self.decoder, rearrange(latents, "b (c d) l -> (b c) d l", c=2)
        h = half.conv_in(mono)
        h = h + repeat(mono, "b d l -> b (d k) l", k=h.shape[1] // self.size)
        return rearrange(half.conv_out(half.snake(half.blocks(h))), "(b c) 1 n -> b c n", c=2)
