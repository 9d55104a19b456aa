"""Codecs whose weights accelerate keeps elsewhere, such as on the CPU or the disk, and brings when a module runs.

Its hooks sit on the `forward` of single layers, most of which a codec reads and never calls. So they are asked for all
the weights of the codec before a call, and to take them away after it.

Nothing of accelerate is imported: a hook is whatever a module has as `_hf_hook`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from vocos.kernels import Engined

NOTHING = nullcontext()


def is_hooked(module: nn.Module) -> bool:
    """Whether accelerate may have the weights of a module."""
    return "_hf_hook" in module.__dict__


def execution_device(module: nn.Module) -> torch.device | None:
    """Where the weights of a hooked module are when it runs."""
    hook: Any = module.__dict__.get("_hf_hook")
    for each in getattr(hook, "hooks", (hook,)):
        if getattr(each, "execution_device", None) is not None:
            return torch.empty(0, device=each.execution_device).device  # which says the index too
    return None


@contextmanager
def brought(module: nn.Module) -> Iterator[None]:
    """Within it, the weights of a module and of those inside are where they run."""
    inside = list(module.modules())
    hooked: list[Any] = [each for each in inside if is_hooked(each)]
    for each in hooked:
        each._hf_hook.pre_forward(each)
    try:
        yield
    finally:
        for each in reversed(hooked):
            each._hf_hook.post_forward(each, None)
        for engined in inside:
            if isinstance(engined, Engined):  # whose copies would keep the memory that was to be given back
                engined.forget()
