"""Hot operations, shared by the codecs: one definition, several engines.

`steps` says what a stack of layers computes, in plain PyTorch: the engine "reference". "tiled" computes the same faster
on a CPU. Which one runs follows from facts alone (the device, the dtype, whether gradients are wanted), can be forced
with the environment variable `VOCOS_KERNELS`, and is written to the logger `vocos.kernels` at level debug. An engine
that fails raises; none takes the place of another.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.kernels import steps
from vocos.kernels.steps import Average, Chain, Convolution, Periodic, Repeat, Residual, Transposed
from vocos.kernels.tiled import DTYPES, TiledChain

__all__ = ["Average", "Cache", "Chain", "Convolution", "Periodic", "Repeat", "Residual", "Transposed", "engine", "run"]

VARIABLE = "VOCOS_KERNELS"
ENGINES = ("reference", "tiled")

logger = logging.getLogger(__name__)


class Cache:
    """What an engine keeps of a chain between calls. Copies and pickles of it are empty.

    It is made anew when a tensor of the chain has been replaced or changed in place; not when one has been changed
    behind autograd's back, through `.data`.
    """

    def __init__(self) -> None:
        self._kept: tuple[list[Tensor], list[int], TiledChain] | None = None  # replaced whole, for threads

    def tiled(self, chain: Chain, dtype: torch.dtype) -> TiledChain:
        """The chain as the engine "tiled" wants it."""
        tensors = list(_tensors(chain))
        versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
        kept = self._kept
        if kept is None or versions != kept[1] or any(a is not b for a, b in zip(tensors, kept[0], strict=True)):
            with torch.inference_mode(False), torch.no_grad():
                kept = self._kept = tensors, versions, TiledChain(chain, dtype)
        return kept[2]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept = None

    def __reduce__(self) -> Any:
        return Cache, ()


def run(chain: Chain, x: Tensor, cache: Cache) -> Tensor:
    """A chain of steps: `[B, I, N]` -> `[B, O, M]`."""
    wants_gradients = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *_tensors(chain)))
    chosen = engine(x.device, x.dtype, wants_gradients)
    if not torch.compiler.is_compiling():
        logger.debug("%s: %d steps on %s %s", chosen, len(chain), list(x.shape), x.dtype)
    return cache.tiled(chain, x.dtype)(x) if chosen == "tiled" else steps.run(chain, x)


def engine(device: torch.device, dtype: torch.dtype, wants_gradients: bool = False) -> str:
    """Which engine runs chains there, for such numbers.

    Raises:
        InvalidInput: if `VOCOS_KERNELS` names no engine.
        UnsupportedOperation: if it names one that cannot run this.
    """
    obstacle = _obstacle(device, dtype, wants_gradients)
    forced = os.environ.get(VARIABLE)
    if not forced:
        return "reference" if obstacle else "tiled"
    if forced not in ENGINES:
        raise InvalidInput(f"{VARIABLE}={forced}: expected one of {', '.join(ENGINES)}")
    if forced == "tiled" and obstacle:
        raise UnsupportedOperation(f"{VARIABLE}=tiled: {obstacle}; unset it or set it to reference")
    return forced


def _obstacle(device: torch.device, dtype: torch.dtype, wants_gradients: bool) -> str | None:
    """Why the engine "tiled" cannot run this, if so."""
    if device.type != "cpu":
        return f"it is for the CPU, not for {device}"
    if dtype not in DTYPES:
        return f"it computes in {' and '.join(map(str, DTYPES))}, not in {dtype}"
    if wants_gradients:
        return "it gives no gradients"
    if torch.is_autocast_enabled("cpu"):
        return "it does not change its dtype under autocast"
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "a compiler wants the definition"
    return None


def _tensors(chain: Any) -> Iterator[Tensor]:
    for item in chain:
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, tuple):
            yield from _tensors(item)
