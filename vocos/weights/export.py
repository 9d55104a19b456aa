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
from vocos.weights.formats import ConfigT, Format
from vocos.weights.rules import rule_of, written


@dataclass(frozen=True)
class Target(Generic[ConfigT]):
    """A public layout that weights can be written in.

    Attributes:
        name: what `vocos convert --to` calls it.
        format: whose rules, backwards, make the tensors.
        files: of config and weights; without a config file it goes into the weights, a pickle as of its publisher.
        config: what the config file says, for a config.
        problem: why a config cannot be written so, None if it can.
    """

    name: str
    format: Format[ConfigT]
    files: tuple[str | None, str]
    config: Callable[[ConfigT], Mapping[str, Any]]
    problem: Callable[[ConfigT], str | None] = lambda config: None


def public_state(state: Mapping[str, Tensor], target: Target[ConfigT], config: ConfigT) -> dict[str, Tensor]:
    """Tensors under the names of a target, from a network's own.

    What the target's format has no place for is left out: the companion's tensors.

    Raises:
        InvalidInput: if several of ours make one of theirs, and not all are there.
    """
    known, rules = target.format, target.format.rules(config)
    ours = [name for name in state if not (known.lacks and name.startswith(known.lacks))]
    # Norms are computed where they are folded again, so that each weight comes back to the bit.
    theirs = written((rule_of(name, rules), state[name].detach().to("cpu", copy=True)) for name in ours)
    constants = {name: tensor.clone() for name, tensor in known.constants(config).items()}
    return {name: tensor.contiguous() for name, tensor in {**constants, **theirs}.items()}


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
