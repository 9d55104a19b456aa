"""Networks without values, to be filled from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What layers of PyTorch initialise themselves with. On the meta device some of these import PyTorch's compiler, 890
# modules in more than a second, to do nothing.
INITIALISERS = {
    nn.init.constant_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
    nn.init.normal_,
    nn.init.ones_,
    nn.init.trunc_normal_,
    nn.init.uniform_,
    nn.init.xavier_normal_,
    nn.init.xavier_uniform_,
    nn.init.zeros_,
    Tensor.fill_,
    Tensor.normal_,
    Tensor.uniform_,
    Tensor.zero_,
}


class _Uninitialised(TorchFunctionMode):
    """Within it, initialisers leave their tensor as it is."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in INITIALISERS:
            return args[0] if args else options["tensor"]
        return func(*args, **options)


def empty(make: Callable[[], nn.Module]) -> nn.Module:
    """The module that a function makes, on the meta device and with no parameter initialised."""
    with torch.device("meta"), _Uninitialised():
        return make()
