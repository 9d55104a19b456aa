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
def weights_in_place(module: nn.Module) -> Iterator[None]:
    """All weights of a module where the hooks of its parts want them for computing, until the block ends."""
    with ExitStack() as after:
        for part in list(module.modules()):
            hook: Any = getattr(part, "_hf_hook", None)
            if hook is not None:
                hook.pre_forward(part)
                after.callback(hook.post_forward, part, None)
        yield
