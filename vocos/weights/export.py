"""The reverse of reading a checkpoint: weights under public names, in public files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from vocos.weights.atomic import replacing
from vocos.weights.formats import WEIGHT_NORM, ConfigT, Format, direction_norm, public_name


@dataclass(frozen=True)
class Target(Generic[ConfigT]):
    """A public layout that weights can be written in.

    Attributes:
        name: what `vocos convert --to` calls it.
        format: how the tensors are named.
        files: of config and weights; without a config file it goes into the weights, a pickle as of its publisher.
        config: what the config file says, for a config.
        weight_norm: which pair of leaves, of `checkpoint.WEIGHT_NORM`, holds a convolution's weight; None for itself.
        has_weight_norm: whether the convolutions of a config have weight norm at all.
        plain: beginnings of our names of convolutions that have no weight norm in spite of that.
        problem: why a config cannot be written so, None if it can.
    """

    name: str
    format: Format[ConfigT]
    files: tuple[str | None, str]
    config: Callable[[ConfigT], Mapping[str, Any]]
    weight_norm: tuple[str, str] | None = None
    has_weight_norm: Callable[[ConfigT], bool] = lambda config: True
    plain: tuple[str, ...] = ()
    problem: Callable[[ConfigT], str | None] = lambda config: None


OLD_STYLE, NEW_STYLE = WEIGHT_NORM


def public_state(state: Mapping[str, Tensor], target: Target[ConfigT], config: ConfigT) -> dict[str, Tensor]:
    """Tensors under the names of a target, from a network's own.

    What the target's format has no place for is left out: the companion's tensors.
    """
    modules, public = target.format.modules(config), dict(target.format.constants(config))
    for name, tensor in state.items():
        if target.format.lacks and name.startswith(target.format.lacks):
            continue
        leaf, theirs = name.rpartition(".")[2], public_name(name, modules)
        is_normed = leaf == "weight" and tensor.ndim == 3 and not name.startswith(target.plain)
        if target.weight_norm and is_normed and target.has_weight_norm(config):
            path = theirs.removesuffix(".weight")
            magnitude, direction = _unfolded(tensor)
            public[f"{path}.{target.weight_norm[0]}"] = magnitude
            public[f"{path}.{target.weight_norm[1]}"] = direction
        else:
            public[theirs] = tensor.flatten() if target.format.has_flat_snakes and leaf in ("alpha", "beta") else tensor
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in public.items()}


def _unfolded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and direction that fold to exactly this weight.

    The direction is the weight itself and the magnitude its norm, so that folding multiplies by one; a row of zeros has
    no direction, so it gets one, and the magnitude zero.
    """
    direction = torch.where(direction_norm(weight) == 0, torch.ones_like(weight), weight)
    return torch.where(direction_norm(weight) == 0, 0.0, direction_norm(direction)), direction


def write(folder: Path, state: Mapping[str, Tensor], target: Target[ConfigT], config: ConfigT) -> list[Path]:
    """Write a checkpoint in the layout of a target; each file appears under its name only when it is complete.

    Returns:
        The files written.
    """
    config_file, weights_file = target.files
    tensors, described = public_state(state, target, config), dict(target.config(config))
    weights = folder / weights_file
    weights.parent.mkdir(parents=True, exist_ok=True)
    with replacing(weights) as path:
        if path.suffix == ".safetensors":
            save_file(tensors, path, metadata={"format": "pt"})
        elif config_file:
            torch.save(tensors, path)
        else:
            torch.save({"state_dict": tensors, "metadata": {"kwargs": described}}, path)
    if config_file is None:
        return [weights]
    with replacing(folder / config_file) as path:
        text = yaml.safe_dump(described) if path.suffix == ".yaml" else json.dumps(described, indent=2)
        path.write_text(f"{text.rstrip()}\n", encoding="utf-8")
    return [folder / config_file, weights]
