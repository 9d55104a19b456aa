"""Matrix products with a weight that stays: linear layers, and convolutions as products of windows, on a CPU.

The product of the CPU's convolution library takes a weight in its own layout and an activation or an addition along.
It is ahead of the BLAS from ten rows on, most with few rows and wherever the BLAS does not know the processor's maker.
PyTorch's own compiler calls it; it has no public name there. Smaller products, as of streams that are pushed a frame at
a time, are the BLAS's.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["none", "gelu"]


# Multiplications up to which the library's product takes longer than the BLAS's: 50 to 100 us more for its call and its
# threads, as measured on a Xeon with 32 x 64 to 1536 x 7168 weights and 1 to 64 rows; and rows up to which it does
# whatever the weight, for reading that is what takes the time.
SMALL_PRODUCT = 1 << 22
FEWEST_ROWS = 2


class Packed:
    """A weight `[O, I]` in the layout of the library, where there is one; a second copy of it, and one for few rows."""

    def __init__(self, weight: Tensor) -> None:
        self.has_library = has_library(weight.dtype)
        weight = weight.detach()
        self.size = weight.numel()
        self.inputs = weight.shape[1]
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.has_library else weight
        self.plain = None if self.has_library else weight  # made when it is first needed

    def __call__(
        self, x: Tensor, bias: Tensor | None, activation: Activation = "none", onto: Tensor | None = None
    ) -> Tensor:
        """activation(x weight^T + bias), or that sum without activation and `onto`: `[..., I]` -> `[..., O]`."""
        rows = x.numel() // self.inputs
        if not self.has_library or rows <= FEWEST_ROWS or rows * self.size <= SMALL_PRODUCT:
            if self.plain is None:
                self.plain = self.weight.to_dense() if self.weight.is_mkldnn else self.weight
            y = plain(x, self.plain, bias, activation)
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
