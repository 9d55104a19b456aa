"""Files as `save_pretrained` of transformers and diffusers names them: variants, pickles, and shards with an index.

model.safetensors              model.safetensors.index.json     {"weight_map": {tensor: file beside the index}}
model.fp16.safetensors         model.safetensors.index.fp16.json
pytorch_model.bin              ... and for diffusers all of them with diffusion_pytorch_model
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from vocos.config import brief
from vocos.errors import CheckpointError
from vocos.weights.configs import read_config

VARIANTS = ("fp16", "bf16")
PICKLES = {"model": "pytorch_model", "diffusion_pytorch_model": "diffusion_pytorch_model"}  # by the other name's stem
MAX_LISTED = 20


def other_names(names: Iterable[str]) -> list[str]:
    """The names that the same weights may have been saved under, the likelier first."""
    found = []
    for name in names:
        path = PurePosixPath(name)
        if path.suffix == ".safetensors" and path.stem in PICKLES:
            pickle = path.with_name(f"{PICKLES[path.stem]}.bin")
            found += [str(other) for whole in (path, pickle) for other in (whole, *_variants(whole))]
    return found


def _variants(path: PurePosixPath) -> list[PurePosixPath]:
    index = f"{path.name}.index"
    names = [f"{path.stem}.{variant}{path.suffix}" for variant in VARIANTS]
    return [path.with_name(name) for name in [*names, f"{index}.json", *(f"{index}.{v}.json" for v in VARIANTS)]]


def weight_map(index: Path) -> dict[str, str]:
    """The name of the shard that holds each tensor, by the name of the tensor.

    Raises:
        CheckpointError: if the file is no such index, or names files in other folders.
    """
    found = read_config(index).get("weight_map")
    if not (isinstance(found, dict) and found):
        raise CheckpointError(f"{index}: no weight_map, which says the file of every tensor")
    for file in found.values():
        if not isinstance(file, str) or file in ("", "..") or {"/", "\\"} & set(file):
            raise CheckpointError(f"{index}: {brief(file)} is not the name of a file beside it")
        if file.endswith(".json"):
            raise CheckpointError(f"{index}: {brief(file)} is not a file of tensors")
    return found


def parts_of(path: Path) -> list[str]:
    """Names of the shards that an index lists, which have to lie beside it; none for a file that is no index."""
    return sorted(set(weight_map(path).values())) if path.suffix == ".json" else []


def listing(folder: Path | None) -> str:
    """The content of a folder, as the end of an error message; empty for a path that is no folder."""
    if folder is None or not folder.is_dir():
        return ""
    names = sorted(brief(path.name)[1:-1] + ("/" if path.is_dir() else "") for path in folder.iterdir())
    shown = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
    return f"; it holds {shown}" if names else "; it is empty"
