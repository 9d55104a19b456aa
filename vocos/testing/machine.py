"""What a machine cannot be trusted with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F


@contextmanager
def bfloat16_trusted(dtype: torch.dtype) -> Iterator[None]:
    """Within it, what fails in bfloat16 fails, unless the machine itself convolves wrongly: then it is skipped."""
    try:
        yield
    except AssertionError:
        if dtype != torch.bfloat16 or convolves_bfloat16():
            raise
        pytest.skip("oneDNN convolves 16 channels with a stride in bfloat16 wrongly on this processor")


def convolves_bfloat16() -> bool:
    """Whether convolutions of few channels with a stride are right in bfloat16.

    Those of oneDNN in PyTorch 2.13 are not on processors with AMX and AVX10: with 8 or 16 channels and a kernel of two
    strides their results were seen to be off by as much as they are large.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 54, generator=generator).bfloat16()
    weight = torch.randn(32, 16, 12, generator=generator).bfloat16() / 14
    exact = F.conv1d(x.double(), weight.double(), stride=6)
    return bool((F.conv1d(x, weight, stride=6).double() - exact).abs().max() < 0.05 * exact.abs().max())
