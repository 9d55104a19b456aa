"""Neural audio codecs behind one interface: sound to latents and back.

    from vocos import get_voco

    voco = get_voco("oobleck")
    latents = voco.encode(audio)    # [batch, samples, channel] -> [batch, frames, latent_dim]
    audio = voco.decode(latents)

Names are resolved on first use, so that importing the package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocos.codes import ScaledCodes, arrange_codes
    from vocos.diagnosis import check
    from vocos.errors import (
        CheckpointError,
        InvalidInput,
        PluginError,
        UnknownVoco,
        UnsupportedOperation,
        VocoError,
        WeightsUnavailable,
    )
    from vocos.pretrained import Vocos
    from vocos.registry import get_voco, list_vocos, register_voco
    from vocos.tokens import load_codes, save_codes
    from vocos.voco import Voco

__version__ = "1.0.0.dev0"

__all__ = [
    "CheckpointError",
    "InvalidInput",
    "PluginError",
    "ScaledCodes",
    "UnknownVoco",
    "UnsupportedOperation",
    "Voco",
    "VocoError",
    "Vocos",
    "WeightsUnavailable",
    "__version__",
    "arrange_codes",
    "check",
    "get_voco",
    "list_vocos",
    "load_codes",
    "register_voco",
    "save_codes",
]

_HOME = {
    "check": "diagnosis",
    "get_voco": "registry",
    "list_vocos": "registry",
    "register_voco": "registry",
    "Voco": "voco",
    "Vocos": "pretrained",
    "load_codes": "tokens",
    "save_codes": "tokens",
    "ScaledCodes": "codes",
    "arrange_codes": "codes",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'vocos' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"vocos.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
