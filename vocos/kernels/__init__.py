"""Hot operations, shared by the codecs: one definition, several engines.

`steps` says what a stack of layers computes, in plain PyTorch: the engine "reference". "tiled" computes the same faster
on a CPU, "triton" on a GPU. Which one runs follows from facts alone (the device, the dtype, whether gradients are
wanted), can be forced with the environment variable `VOCOS_KERNELS`, and is written to the logger `vocos.kernels` at
level debug. An engine that fails raises; none takes the place of another.
"""

from __future__ import annotations

from vocos.kernels.cache import Cache, Constant, Engined, apart
from vocos.kernels.chained import Chained, OnEngine
from vocos.kernels.dense import Activation
from vocos.kernels.engines import VARIABLE, advance, by_rows, engine, linear, run
from vocos.kernels.pieces import whole
from vocos.kernels.steps import (
    Average,
    Called,
    Chain,
    Convolution,
    Elu,
    Grouped,
    Pad,
    Periodic,
    Recurrent,
    Repeat,
    Residual,
    Transposed,
    Window,
)
from vocos.kernels.stream import Piece

__all__ = [
    "VARIABLE",
    "Activation",
    "Average",
    "Cache",
    "Called",
    "Chain",
    "Chained",
    "Constant",
    "Convolution",
    "Elu",
    "Engined",
    "Grouped",
    "OnEngine",
    "Pad",
    "Periodic",
    "Piece",
    "Recurrent",
    "Repeat",
    "Residual",
    "Transposed",
    "Window",
    "advance",
    "apart",
    "by_rows",
    "engine",
    "linear",
    "run",
    "whole",
]
