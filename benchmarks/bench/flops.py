"""How much arithmetic a direction of a codec is, whatever engine does it."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import Ours
from vocos.selftest import plain_kernels
from vocos.voco import Voco


def gflop(voco: Voco[Any], work: str, shape: tuple[int, ...]) -> float:
    """10^9 multiplications and additions of the convolutions and matrix products; Fourier transforms left out.

    Args:
        voco: loaded or not; not changed.
        work: "encode" or "decode".
        shape: of the input, channel-first.
    """
    # Tensors without values, which say that they are on the CPU: autocast knows no meta device.
    without_values = FakeTensorMode(allow_non_fake_inputs=True)
    with plain_kernels(), FlopCounterMode(display=False) as counter, without_values:
        ours = Ours(voco, work)
        ours.prepare(torch.empty(shape))
        ours.run()
    return counter.get_total_flops() / 1e9
