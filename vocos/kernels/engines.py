"""Which engine runs a chain, a linear layer or a function of frames, and running it.

The engines: "reference" is the definition in plain PyTorch, "tiled" computes the same faster on a CPU, "triton" on a
GPU.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.kernels import dense, steps, stream
from vocos.kernels.cache import Cache, is_plain, tensors_of
from vocos.kernels.dense import Activation, Packed
from vocos.kernels.parts import in_parts
from vocos.kernels.steps import Chain, Recurrent
from vocos.kernels.stream import Piece
from vocos.kernels.tiled import DTYPES, TiledChain

ROWS = 1024  # frames of a matrix product, from which on it is no faster with more
FIELDS = 16  # receptive fields of a piece, from which on an engine for whole signals runs it
VARIABLE = "VOCOS_KERNELS"
GPU_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ENGINES = ("reference", "tiled", "triton")

logger = logging.getLogger("vocos.kernels")

Engine = Callable[[Tensor], Tensor]


def run(chain: Chain, x: Tensor, cache: Cache) -> Tensor:
    """A chain of steps: `[B, I, N]` -> `[B, O, M]`."""
    chosen = _chosen(x, chain)
    if not torch.compiler.is_compiling() and logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s: %d steps on %s %s", chosen, len(chain), list(x.shape), x.dtype)
    return steps.run(chain, x) if chosen == "reference" else cache.ready(_maker(chosen), chain, x.dtype)(x)


def advance(chain: Chain, x: Piece, state: Any, is_last: bool, cache: Cache) -> tuple[Piece, Any]:
    """A chain of steps on a piece more of its input: `[B, n, I]` -> `[B, m, O]`, and the state afterwards.

    Args:
        chain: the steps.
        x: the piece; None for none.
        state: so far, () at the start.
        is_last: whether the signal ends here.
        cache: of the engine.
    """
    like = tensors_of(chain)[0] if x is None else x
    chosen = _chosen(like, chain)
    if chosen == "triton" and (isinstance(state, stream.Tail) or (state == () and _is_long(chain, x))):
        field = stream.Field(chain, cache.ready(_maker(chosen), chain, like.dtype))
        return stream.advance(field, x, state or stream.Tail(), is_last)
    state = state or stream.starts(chain)
    if chosen == "tiled":
        return cache.ready(TiledChain, chain, like.dtype).advance(x, state, is_last)
    return stream.along(chain, x, state, is_last, stream.advance)


def _is_long(chain: Chain, x: Piece) -> bool:
    """Whether a piece is so long that the receptive field, computed once more for each, hardly counts."""
    if x is None or any(isinstance(step, Recurrent) for step in chain):
        return False
    inputs, outputs = steps.period(chain)
    low, high = steps.span(chain, 64 * outputs, 65 * outputs)
    return x.shape[1] >= FIELDS * (high - low + inputs)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, cache: Cache, activation: Activation = "none") -> Tensor:
    """A linear layer, and GELU if wanted: `[..., I]`, `[O, I]`, `[O]` -> `[..., O]`."""
    if _chosen(x, (weight, bias)) == "tiled":
        return cache.ready(Packed, weight)(x, bias, activation)
    return dense.plain(x, weight, bias, activation)


def by_rows(function: Callable[[Tensor], Tensor], x: Tensor, weights: Any) -> Tensor:
    """Apply a function that treats every frame alone, in chunks of frames, to bound memory.

    On a CPU the function runs on about 1024 frames at a time, so that what it makes between its layers stays small and
    in cache. Elsewhere it runs once on all of them.

    Args:
        function: `[B, n, I]` -> `[B, n, O]`, frame by frame.
        x: `[B, N, I]`.
        weights: the weights that the function uses, from which the engine follows.

    Returns:
        `[B, N, O]`.
    """
    if _chosen(x, weights) != "tiled":
        return function(x)
    return in_parts(lambda part, rows: function(part[:, slice(*rows)]), x, x.shape[1], ROWS)


def _chosen(x: Tensor, weights: Any) -> str:
    """Which engine runs weights on x: the reference for all that is more than numbers."""
    tensors = tensors_of((x, weights))
    are_plain = torch.compiler.is_compiling() or is_plain(tensors)
    wants_gradients = are_plain and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return engine(x.device, x.dtype, wants_gradients, are_plain)


def engine(device: torch.device, dtype: torch.dtype, wants_gradients: bool = False, is_plain: bool = True) -> str:
    """Which engine runs chains there, for such numbers.

    Args:
        device: of the numbers.
        dtype: of the numbers.
        wants_gradients: whether the result is to be differentiated.
        is_plain: whether numbers and weights are torch's own tensors, outside of transforms, and no layer of the chain
            is to be called as a module.

    Raises:
        InvalidInput: if `VOCOS_KERNELS` names no engine.
        UnsupportedOperation: if it names one that cannot run this.
    """
    forced = os.environ.get(VARIABLE)
    if not forced:
        usual = "triton" if device.type == "cuda" else "tiled"
        return "reference" if _obstacle(usual, device, dtype, wants_gradients, is_plain) else usual
    if forced not in ENGINES:
        raise InvalidInput(f"{VARIABLE}={forced}: expected one of {', '.join(ENGINES)}")
    obstacle = None if forced == "reference" else _obstacle(forced, device, dtype, wants_gradients, is_plain)
    if obstacle:
        raise UnsupportedOperation(f"{VARIABLE}={forced}: {obstacle}; unset it or set it to reference")
    return forced


def _obstacle(name: str, device: torch.device, dtype: torch.dtype, wants_gradients: bool, is_plain: bool) -> str | None:
    """Why the engine of that name cannot run this, if so."""
    if not is_plain:
        return "it knows plain tensors only: no torch.func, no forward-mode derivatives, no hooked or replaced layers"
    if wants_gradients:
        return "it gives no gradients"
    if torch.is_autocast_enabled(device.type if device.type == "cuda" else "cpu"):
        return "it does not change its dtype under autocast"
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "a compiler wants the definition"
    return _triton_obstacle(device, dtype) if name == "triton" else _tiled_obstacle(device, dtype)


def _tiled_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cpu":
        return f"it is for the CPU, not for {device}"
    if dtype not in DTYPES:
        return f"it computes in {' and '.join(map(str, DTYPES))}, not in {dtype}"
    return None


def _triton_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) < (8, 0):
            return f"it is for GPUs from Ampere on, which {torch.cuda.get_device_name(device)} is not"
    elif device.type != "cpu" or os.environ.get("TRITON_INTERPRET") != "1":
        return f"it is for GPUs, not for {device}"
    if dtype not in GPU_DTYPES:
        return f"it computes in {', '.join(map(str, GPU_DTYPES))}, not in {dtype}"
    return None


def _maker(name: str) -> Callable[[Chain, torch.dtype], Engine]:
    if name == "tiled":
        return TiledChain
    from vocos.kernels.triton_chain import TritonChain  # not before it is needed: Triton is not everywhere

    return TritonChain
