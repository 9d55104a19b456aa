"""What the GPU benchmark compares with: the same chains as plain modules, and as the public recipe for speed.

Both are built from the steps of ours, so that they compute the same thing with the same numbers.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import torch
from einops import reduce, repeat
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vocos.codecs.dacvae import DacVaeConfig, DacVaeDecoder, DacVaeEncoder, DacVaeNetwork
from vocos.codecs.oobleck import OobleckConfig, OobleckNetwork
from vocos.kernels import Average, Convolution, Periodic, Repeat, Residual, Transposed, steps
from vocos.kernels.steps import Step
from vocos.nn.blocks import Stack
from vocos.nn.conv import convolution


class PlainSnake(nn.Module):
    """Snake or Snake-beta as public code has it."""

    def __init__(self, step: Periodic) -> None:
        super().__init__()
        self.alpha = nn.Parameter(step.alpha.detach().clone())
        self.beta = None if step.beta is None else nn.Parameter(step.beta.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha if self.beta is None else self.alpha.exp()
        beta = alpha if self.beta is None else self.beta.exp()
        return x + (beta + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)


class PlainResidual(nn.Module):
    """A branch and its shortcut."""

    def __init__(self, step: Residual) -> None:
        super().__init__()
        self.branch = plain(step.steps)
        self.shortcut = nn.Identity() if step.shortcut is None else PlainShortcut(step.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)


class PlainShortcut(nn.Module):
    """A shortcut around a change of rate."""

    def __init__(self, step: Average | Repeat) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return steps.apply(self.step, x)


def plain(chain: Sequence[Step]) -> nn.Sequential:
    """The chain as modules, with weight norm left in, as public checkpoints ship."""
    return nn.Sequential(*map(_module, chain))


def _module(step: Step) -> nn.Module:
    match step:
        case Periodic():
            return PlainSnake(step)
        case Residual():
            return PlainResidual(step)
        case Average() | Repeat():
            return PlainShortcut(step)
        case Transposed() | Convolution():
            return weight_norm(_convolution(step))


def _convolution(step: Transposed | Convolution) -> nn.Conv1d | nn.ConvTranspose1d:
    conv: nn.Conv1d | nn.ConvTranspose1d
    if isinstance(step, Transposed):
        inputs, outputs, kernel = step.weight.shape
        conv = nn.ConvTranspose1d(inputs, outputs, kernel, step.stride, step.left, bias=step.bias is not None)
    else:
        outputs, inputs, kernel = step.weight.shape
        options = {"dilation": step.dilation, "bias": step.bias is not None}
        conv = nn.Conv1d(inputs, outputs, kernel, step.stride, step.padding, **options)
    with torch.no_grad():
        conv.weight.copy_(step.weight)
        if step.bias is not None:
            conv.bias.copy_(step.bias)
    return conv


class Rows(nn.Module):
    """A convolution of pictures one row high, in channels-last memory, with its weight norm folded."""

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
        super().__init__()
        is_transposed = isinstance(conv, nn.ConvTranspose1d)
        kind = nn.ConvTranspose2d if is_transposed else nn.Conv2d
        sizes = [(1, size[0]) for size in (conv.kernel_size, conv.stride)]
        options = {"dilation": (1, conv.dilation[0]), "bias": conv.bias is not None}
        self.conv = kind(conv.in_channels, conv.out_channels, *sizes, (0, int(conv.padding[0])), **options)
        with torch.no_grad():
            self.conv.weight.copy_(conv.weight[:, :, None])
            if conv.bias is not None:
                self.conv.bias.copy_(conv.bias)
        self.conv.to(conv.weight.device, conv.weight.dtype, memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, :, None])[:, :, 0]


def recipe(module: nn.Module) -> nn.Module:
    """A copy of plain modules with norms folded and convolutions in channels-last, to be compiled and captured."""
    made = copy.deepcopy(module)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.Conv1d, nn.ConvTranspose1d)) and not isinstance(parent, Rows):
                setattr(parent, name, Rows(child))
    return made


class PlainDacVaeDecoder(nn.Module):
    """Around the chain, what is DACVAE's own."""

    def __init__(self, half: DacVaeDecoder) -> None:
        super().__init__()
        self.conv_in, self.tail, self.repeats = plain((convolution(half.conv_in),)), plain(half.tail()), half.repeats

    def forward(self, latents: Tensor) -> Tensor:
        return self.tail(self.conv_in(latents) + repeat(latents, "b d l -> b (d k) l", k=self.repeats))


class PlainDacVaeEncoder(nn.Module):
    """Around the chain, what is DACVAE's own; both heads, as the original."""

    def __init__(self, half: DacVaeEncoder) -> None:
        super().__init__()
        self.trunk, self.conv_out, self.size = (
            plain(half.trunk()),
            plain((convolution(half.conv_out),)),
            half.conv_out.out_channels,
        )
        self.mean, self.scale = copy.deepcopy(half.mean), copy.deepcopy(half.scale)

    def forward(self, audio: Tensor) -> Tensor:
        h = self.trunk(audio)
        features = (self.conv_out(h) + reduce(h, "b (d k) l -> b d l", "mean", d=self.size)).mT
        return torch.cat([self.mean(features).mT, self.scale(features).mT], dim=1)


@functools.cache
def halves(codec: str, small: bool) -> tuple[Stack, nn.Module, Stack, nn.Module, int, int]:
    """Encoder and decoder of a codec, ours and plain, with random weights; samples per frame and per second."""
    if codec == "dacvae":
        sizes = {"encoder_dim": 8, "latent_dim": 64, "decoder_dim": 128, "encoder_rates": (2, 2, 4)}
        config = DacVaeConfig(**sizes, decoder_rates=(4, 2, 2)) if small else DacVaeConfig()
        network = DacVaeNetwork(config)
        fill(network)
        plains = PlainDacVaeEncoder(network.encoder), PlainDacVaeDecoder(network.decoder)
        hop, rate = config.hop_length, config.sample_rate
    else:
        sizes = {"encoder_hidden_size": 16, "decoder_channels": 16, "decoder_input_channels": 8}
        ratios = {"downsampling_ratios": (2, 4), "channel_multiples": (1, 2)}
        oobleck = OobleckConfig(**sizes, **ratios) if small else OobleckConfig()
        network = OobleckNetwork(oobleck)
        fill(network)
        plains = plain(network.encoder.chain()), plain(network.decoder.chain())
        hop, rate = network_hop(oobleck), oobleck.sampling_rate
    return network.encoder, plains[0], network.decoder, plains[1], hop, rate


def network_hop(config: OobleckConfig) -> int:
    """Samples per frame."""
    return int(torch.tensor(config.downsampling_ratios).prod())


@torch.no_grad()
def fill(network: nn.Module) -> None:
    """Random values under which a signal keeps its size through the layers."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith(("alpha", "beta")):
            parameter.copy_(0.3 + 0.1 * noise)
        elif noise.ndim < 2:
            parameter.copy_(0.05 * noise)
        else:
            parameter.copy_((0.3 if ".conv2." in name else 1.0) * noise / noise[0].numel() ** 0.5)
