"""Neural audio codecs behind one interface: audio to latents or codes, and back.

    from vocos import get_voco

    voco = get_voco("oobleck")
    latents = voco.encode(audio)    # [batch, samples, channel] -> [batch, frames, latent_dim]
    audio = voco.decode(latents)

The wings, each of which imports only from those above it:

    kernels     the hot operations: steps in plain PyTorch, and engines that run them faster on CPUs and GPUs
    nn          layers that two or more codecs share
    weights     from a location to named tensors and back: Hub, files, formats of public checkpoints, export
    voco        what every codec is: when weights are loaded, what an author gives, what a user calls
    codecs      one file or folder per architecture, with its checkpoints
    files       audio, latents and codes in files
    data        whole datasets, on one machine or a Ray cluster, and their items for training
    pypi        the classes of PyPI's `vocos`, for programs that were written for it
    bridges     codecs as the types of transformers and diffusers
    testing     the conformance suite that the author of a codec inherits
    cli         the command `vocos`

Beside them: `errors` (all exceptions), `config` (checked hyperparameters), `registry` (names of codecs), `selftest`
(whether a device computes what it should), and the import paths of PyPI's `vocos`, such as `pretrained`.

Public names are resolved on first use, so that importing the package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocos.data.dataset import open_dataset
    from vocos.errors import (
        CheckpointError,
        InvalidInput,
        PluginError,
        UnknownVoco,
        UnsupportedOperation,
        VocoError,
        WeightsUnavailable,
    )
    from vocos.files.audio import read_audio, write_audio
    from vocos.files.codes import load_codes, save_codes
    from vocos.pypi.pretrained import Vocos
    from vocos.registry import get_voco, list_vocos, register_voco
    from vocos.selftest import check
    from vocos.voco import Voco
    from vocos.voco.arrangements import arrange_codes
    from vocos.voco.codes import ScaledCodes
    from vocos.voco.joining import join_streams

from vocos._version import __version__

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
    "join_streams",
    "list_vocos",
    "load_codes",
    "open_dataset",
    "read_audio",
    "register_voco",
    "save_codes",
    "write_audio",
]

_HOME = {
    "check": "selftest",
    "get_voco": "registry",
    "list_vocos": "registry",
    "register_voco": "registry",
    "Voco": "voco",
    "Vocos": "pypi.pretrained",
    "read_audio": "files.audio",
    "write_audio": "files.audio",
    "load_codes": "files.codes",
    "save_codes": "files.codes",
    "open_dataset": "data.dataset",
    "ScaledCodes": "voco.codes",
    "arrange_codes": "voco.arrangements",
    "join_streams": "voco.joining",
}


_PYPI = (
    "feature_extractors",
    "heads",
    "models",
    "modules",
    "pretrained",
    "spectral_ops",
)  # of PyPI's face


def __getattr__(name: str) -> object:
    if name in _PYPI:
        return importlib.import_module(f"vocos.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'vocos' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"vocos.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
