"""The hook of accelerate that a bridge itself has, run around each call.

It sits on the `forward` of the bridge, which `encode` and `decode` do not go through. The hooks below the bridge are
the codec's own concern: `vocos.voco.offload`, which also says what is known of hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def weights_in_place(bridge: nn.Module) -> Iterator[None]:
    """What the hook of a bridge does before a call and after it; nothing is loaded."""
    hook: Any = bridge.__dict__.get("_hf_hook")
    if hook is not None:
        hook.pre_forward(bridge)
    try:
        yield
    finally:
        if hook is not None:
            hook.post_forward(bridge, None)
