"""Weights that accelerate keeps elsewhere, brought in place for one call.

A module that is offloaded has a hook that brings its weights when its `forward` is called, and perhaps takes them away
after it. A bridge is called by `encode` and `decode`, and a codec computes with the weights of its modules without
calling each of them. So the call of the bridge is the one hook point: there its hook and those of all its parts run.

The protocol is that of `accelerate.hooks.ModelHook`, found as the attribute `_hf_hook` of a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn


@contextmanager
def weights_in_place(bridge: nn.Module) -> Iterator[None]:
    """All weights below a bridge where the hooks want them for computing, until the block ends; none are loaded."""
    with ExitStack() as after:
        for part in _parts(bridge):
            hook: Any = part.__dict__.get("_hf_hook")
            if hook is not None:
                hook.pre_forward(part)
                after.callback(hook.post_forward, part, None)
        yield


def _parts(module: nn.Module) -> list[nn.Module]:
    """A module and all below it. `modules()` would load a codec, and takes longer."""
    parts = [module]
    for part in parts:
        parts.extend(child for child in part._modules.values() if child is not None)
    return parts
