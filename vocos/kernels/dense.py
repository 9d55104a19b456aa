"""Matrix products with a weight that stays: linear layers, and convolutions as products of windows, on a CPU.

The product of the CPU's convolution library takes a weight in its own layout and an activation or an addition along.
It is ahead of the BLAS from ten rows on, most with few rows and wherever the BLAS does not know the processor's maker.
PyTorch's own compiler calls it; it has no public name there.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["none", "gelu"]


class Packed:
    """A weight `[O, I]` in the layout of the library, where there is one; a second copy of it."""

    def __init__(self, weight: Tensor) -> None:
        self.has_library = has_library(weight.dtype)
        weight = weight.detach()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.has_library else weight

    def __call__(
        self, x: Tensor, bias: Tensor | None, activation: Activation = "none", onto: Tensor | None = None
    ) -> Tensor:
        """activation(x weight^T + bias), or that sum without activation and `onto`: `[..., I]` -> `[..., O]`."""
        if not self.has_library:
            y = plain(x, self.weight, bias, activation)
            return y if onto is None else y.add_(onto)
        if onto is None:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, bias, activation, [], "none")
        return torch.ops.mkldnn._linear_pointwise.binary(x, onto, self.weight, bias, "add")


def plain(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> Tensor:
    """The definition: `[..., I]`, `[O, I]`, `[O]` -> `[..., O]`."""
    y = F.linear(x, weight, bias)
    return F.gelu(y) if activation == "gelu" else y


@cache
def has_library(dtype: torch.dtype) -> bool:
    """Whether this PyTorch was built with oneDNN, and it multiplies such numbers on this processor."""
    is_built = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not is_built or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32
