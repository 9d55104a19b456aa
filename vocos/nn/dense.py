"""Linear layers on the engine that is fastest for them."""

from __future__ import annotations

from torch import Tensor, nn

from vocos import kernels


class Dense(nn.Linear, kernels.Engined):
    """A linear layer, and an activation if wanted, on the engine that `kernels.linear` chooses.

    Shape: `[..., inputs]` -> `[..., outputs]`.
    """

    def forward(self, x: Tensor, activation: kernels.Activation = "none") -> Tensor:
        return kernels.linear(x, self.weight, self.bias, self.caches[0], activation)
