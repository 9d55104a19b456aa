"""Layers that other libraries have changed: hooks on their calls, wrappers in their place.

The codecs read the weights of most layers and never call them, so that whole stacks can run at once. A layer that
somebody listens to, wraps (LoRA) or prepares before each call (casts, group offloading) has to be called.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from vocos.errors import UnsupportedOperation
from vocos.kernels import Called, Chain


def is_changed(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module that should be of this kind does more, or else, when it is called than its weights say.

    Hooks of accelerate do not count: `vocos.voco.offload` sees to them, for the whole codec at once.
    """
    own = getattr(type(module), "forward", None)  # a scripted module's class has none
    if own is None or own is not kind.forward or module._forward_hooks or module._forward_pre_hooks:
        return True
    if module._backward_hooks or module._backward_pre_hooks:
        return True
    return "forward" in module.__dict__ and "_hf_hook" not in module.__dict__


def chain_of(layer: Any) -> Chain:
    """The steps of a layer, or its call."""
    return (Called(layer),) if is_changed(layer, type(layer)) else layer.chain()


def step_of(layer: Any) -> Any:
    """A module that has a `step`, such as a `Chained`, as one step of a longer chain, or its call."""
    return Called(layer) if is_changed(layer, type(layer)) else layer.step()


def refuse_changed(module: nn.Module, kind: type[nn.Module]) -> None:
    """Raise UnsupportedOperation for a changed layer that can only be read."""
    if is_changed(module, kind):
        raise UnsupportedOperation(
            f"this {kind.__name__} is read and not called, so that a hook on it or a {type(module).__name__} in its "
            "place would do nothing; remove it"
        )
