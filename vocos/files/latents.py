"""Latents in a file: a safetensors file with one tensor, and where it comes from in the metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vocos._version import __version__
from vocos.errors import CheckpointError, InvalidInput
from vocos.files.places import require_file
from vocos.voco import Voco, checks
from vocos.weights.atomic import replacing
from vocos.weights.tensors import open_tensors

TENSOR = "latents"


@dataclass(frozen=True)
class Origin:
    """Where latents come from.

    Attributes:
        voco: name of the codec.
        source: where its weights come from; None for a codec without weights.
        sampling_rate: sampling rate of the audio, in Hz.
        samples: length of the audio, before any padding.
    """

    voco: str
    source: str | None
    sampling_rate: int
    samples: int


def write(path: Path, voco: Voco[Any], latents: Tensor, samples: int) -> None:
    """Write latents `[1, frames, latent_dim]`; the file appears under its name only when it is complete.

    Raises:
        InvalidInput: if they are not finite.
        OSError: if the file cannot be written.
    """
    checks.finite(latents, f"{path}: not written, latents")
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
        CheckpointError: if the file is damaged, was not written by `write`, or holds numbers that are not finite.
        InvalidInput: if there is no such file.
    """
    require_file(path)
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
    try:
        checks.finite(tensor, f"{path}: latents")
    except InvalidInput as error:
        raise CheckpointError(str(error)) from error
    return tensor, origin
