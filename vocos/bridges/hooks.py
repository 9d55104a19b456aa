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

from vocos.voco import Voco


@contextmanager
def weights_in_place(bridge: nn.Module, voco: Voco[Any]) -> Iterator[None]:
    """All weights of a codec where the hooks of its bridge and of its parts want them, until the block ends.

    A codec that is not loaded stays so: none of its parts can have a hook yet.
    """
    with ExitStack() as after:
        for part in [bridge, *(voco.modules() if voco.is_loaded else ())]:
            hook: Any = getattr(part, "_hf_hook", None)
            if hook is not None:
                hook.pre_forward(part)
                after.callback(hook.post_forward, part, None)
        yield
