"""Small chains of steps with random weights, of every kind that the codecs have."""

from __future__ import annotations

import torch
from torch import Tensor

from vocos.kernels import (
    Average,
    Chain,
    Convolution,
    Elu,
    Pad,
    Periodic,
    Repeat,
    Residual,
    Transposed,
)
from vocos.kernels.steps import Step


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)  # whose rounding no error of arithmetic can hide behind


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> Convolution:
    weight = random(outputs, inputs, kernel) / (inputs * kernel) ** 0.5
    return Convolution(weight, random(outputs), stride, dilation, padding)


def periodic(channels: int, has_beta: bool = False) -> Periodic:
    alpha = random(1, channels, 1).abs() + 0.3  # far from 0, where a snake enlarges rounding
    return Periodic(alpha, random(1, channels, 1) / 2) if has_beta else Periodic(-alpha)


def unit(channels: int, dilation: int) -> Residual:
    inner = periodic(channels), conv(channels, channels, 7, 1, dilation, 3 * dilation), periodic(channels, True)
    return Residual((*inner, conv(channels, channels, 1)))


def down(channels: int, stride: int) -> Chain:
    return periodic(channels), conv(channels, 2 * channels, 2 * stride, stride, 1, -(-stride // 2))


def up(channels: int, stride: int, extra: int = 0) -> Chain:
    weight = random(channels, channels // 2, 2 * stride) / (2 * channels) ** 0.5
    return periodic(channels), Transposed(
        weight, random(channels // 2), stride, -(-stride // 2), -(-stride // 2) - extra
    )


def encoder(*strides: int) -> Chain:
    found: list[Step] = [conv(2, 4, 7, padding=3)]
    for i, stride in enumerate(strides):
        found += [unit(4 * 2**i, 1), unit(4 * 2**i, 3), *down(4 * 2**i, stride)]
    return (*found, periodic(4 * 2 ** len(strides)), conv(4 * 2 ** len(strides), 3, 3, padding=1))


def decoder(*strides: int, is_full: bool = False) -> Chain:
    found: list[Step] = [conv(3, 16, 7, padding=3)]
    for i, stride in enumerate(strides):
        found += [*up(16 // 2**i, stride, stride % 2 if is_full else 0), unit(8 // 2**i, 1), unit(8 // 2**i, 9)]
    return (
        *found,
        periodic(16 // 2 ** len(strides)),
        Convolution(random(2, 16 // 2 ** len(strides), 7), None, padding=3),
    )


def shortcuts() -> Chain:
    inner = Residual((unit(4, 3), *down(4, 4)), Average(4))
    return conv(2, 4, 7, padding=3), inner, Residual((*up(8, 2), unit(4, 9)), Repeat(2))


def seanet(mode: str) -> Chain:
    unit_steps = Elu(), Pad(3, 1, 1, mode), conv(4, 2, 3, dilation=2), Elu(), conv(2, 4, 1)
    down = Pad(5, 3, 4, mode), conv(4, 8, 8, 4)
    weight = random(8, 4, 6) / 4
    up = (Transposed(weight, random(4), 3, 1, 2),)
    start = Pad(6, 0, 1, mode), conv(2, 4, 7)
    return (*start, Residual(unit_steps, conv(4, 4, 1)), Elu(), *down, Elu(), *up, Residual(unit_steps))


def in_groups() -> Chain:
    """Every channel alone, and two groups, as DAC's units, as changes of rate to both sides, and as upsampling."""
    depthwise = Convolution(random(8, 1, 7) / 2, random(8), dilation=3, padding=9, groups=8)
    wide = Residual((periodic(8), depthwise, periodic(8), conv(8, 8, 1)))
    down = Convolution(random(12, 4, 4) / 4, None, stride=2, padding=1, groups=2)
    halves = Transposed(random(12, 4, 6) / 4, random(8), 3, 2, 1, groups=2)
    alone = Transposed(random(8, 1, 4), None, 2, 0, 2, groups=8)
    return conv(2, 8, 3, padding=1), wide, down, halves, Convolution(depthwise.weight, None, groups=8), alone


CHAINS = {
    "seanet": lambda: seanet("reflect"),
    "seanet with zeros": lambda: seanet("constant"),
    "seanet with its ends again": lambda: seanet("replicate"),
    "encoder": lambda: encoder(2, 4),
    "encoder with odd strides": lambda: encoder(3, 5),
    "decoder": lambda: decoder(4, 2),
    "decoder with odd strides": lambda: decoder(5, 3),
    "decoder with odd strides and all samples": lambda: decoder(5, 3, is_full=True),
    "shortcuts": shortcuts,
    "in groups": in_groups,
    "to few channels": lambda: (conv(2, 28, 7, padding=3), conv(28, 2, 7, dilation=3, padding=9)),
    "one step": lambda: (periodic(2),),
    "three units": lambda: (unit(2, 1), unit(2, 3), unit(2, 9)),
}


def inputs(chain: Chain) -> int:
    first = chain[0]
    return first.weight.shape[1] if isinstance(first, Convolution) else 2
