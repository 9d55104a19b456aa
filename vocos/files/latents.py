"""Latents in a file: a safetensors file with one tensor, and where it comes from in the metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vocos._version import __version__
from vocos.errors import CheckpointError
from vocos.voco import Voco
from vocos.weights.atomic import replacing
from vocos.weights.tensors import open_tensors

TENSOR = "latents"


@dataclass(frozen=True)
class Origin:
    """Where latents come from.

    Attributes:
        voco: name of the codec.
        source: of its weights; None for a codec without.
        sampling_rate: of the sound, in Hz.
        samples: of the sound, before any padding.
    """

    voco: str
    source: str | None
    sampling_rate: int
    samples: int


def write(path: Path, voco: Voco[Any], latents: Tensor, samples: int) -> None:
    """Write latents `[1, frames, latent_dim]`; the file appears under its name only when it is complete."""
    metadata = {
        "voco": voco.name,
        "source": voco.source or "",
        "sampling_rate": str(voco.sampling_rate),
        "samples": str(samples),
        "vocos_version": __version__,
    }
    with replacing(path) as temporary:
        save_file({TENSOR: latents.detach().cpu().contiguous()}, temporary, metadata=metadata)


def read(path: Path) -> tuple[Tensor, Origin]:
    """Latents `[1, frames, latent_dim]`, and where they come from.

    Raises:
        CheckpointError: if the file is damaged, or was not written by `write`.
    """
    file = open_tensors(path)
    try:
        origin = Origin(
            voco=file.metadata["voco"],
            source=file.metadata["source"] or None,
            sampling_rate=int(file.metadata["sampling_rate"]),
            samples=int(file.metadata["samples"]),
        )
        tensor = file.read(TENSOR)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not latents written by vocos encode: {error} is missing or wrong") from error
    if tensor.ndim != 3:
        raise CheckpointError(f"{path}: expected latents [1, frames, latent_dim], got {list(tensor.shape)}")
    return tensor, origin
