"""What is in a file: reading it as data and never as code, recognising its format, putting it into a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vocos._version import __version__
from vocos.errors import CheckpointError
from vocos.weights.atomic import replacing
from vocos.weights.rules import WEIGHT_NORM, Rules, Shape, rule_of
from vocos.weights.tensors import Section, TensorFile

SHOWN = 3  # names of each kind in a message

ConfigT = TypeVar("ConfigT")
HALVES = ("encoder", "decoder")


@dataclass(frozen=True)
class Format(Generic[ConfigT]):
    """How one kind of public file names its tensors.

    Attributes:
        name: for messages.
        marker: path of a module whose weight tells this format from the others.
        prefixes: what may stand before every name; what is under none of them is left alone.
        rules: how the modules and tensors are stored that are not the same under the same name, for a config.
        unused: names that such a file may hold and the network does without, `*` for any characters.
        lacks: beginning of our names of what comes from a companion file; "" if nothing does.
        constants: names of tensors that are computed here; they must have the values computed.
    """

    name: str
    marker: str
    prefixes: tuple[str, ...] = ("",)
    rules: Callable[[ConfigT], Rules] = lambda config: {}
    unused: tuple[str, ...] = ()
    lacks: str = ""
    constants: Callable[[ConfigT], Mapping[str, Tensor]] = lambda config: {}


_WEIGHT_LEAVES = ("weight", *(direction for _, direction in WEIGHT_NORM))

OWN_FORMAT: Format[Any] = Format("vocos", marker="")
OWN_MARK = "vocos"  # key in the metadata of the files that `Voco.save` writes


def recognise(file: TensorFile, formats: tuple[Format[ConfigT], ...], codec: str) -> tuple[Format[ConfigT], TensorFile]:
    """The format of a file, and the part of the file that is in it.

    Raises:
        CheckpointError: if it is none of these.
    """
    if OWN_MARK in file.metadata:
        return OWN_FORMAT, file
    for known in formats:
        for prefix in known.prefixes:
            if any(f"{prefix}{known.marker}.{leaf}" in file.shapes for leaf in _WEIGHT_LEAVES):
                return known, Section(file, prefix) if prefix else file
    wanted = " or ".join(dict.fromkeys(f"{known.marker}.weight ({known.name})" for known in formats))
    some = ", ".join(list(file.shapes)[:SHOWN])
    raise CheckpointError(
        f"{file.path}: not a checkpoint of {codec}: none of its {len(file.shapes)} tensors ({some}, ...) is {wanted}"
    )


def locate(
    network: nn.Module,
    file: TensorFile,
    known: Format[ConfigT],
    config: ConfigT,
    only: str = "",
    without: tuple[str, ...] = (),
) -> dict[str, tuple[str, ...]]:
    """The names of the tensors in a file of which its format's rules make each tensor of a network.

    A whole file is checked as a whole, also for a half. What is `without` may be missing only as a whole.

    Args:
        network: on any device; only its names and shapes matter.
        file: of which only the names and shapes are looked at.
        known: the format of the file.
        config: of the network.
        only: beginning of our names of the tensors wanted; what the format lacks is left out in any case.
        without: our paths of modules and tensors that nobody wants.

    Raises:
        CheckpointError: if a tensor is missing, unexpected or of another shape.
    """
    rules = known.rules(config)
    wanted = [name for name in network.state_dict() if name.startswith(only)]
    if known.lacks:
        wanted = [name for name in wanted if not name.startswith(known.lacks)]
    needs = {name: rule_of(name, rules).needs(_shape(network, name), file.shapes) for name in wanted}
    kept = {name: stored for name, stored in needs.items() if not is_under(name, without)}
    if not any(part in file.shapes for name in needs.keys() - kept.keys() for part in needs[name]):
        needs = kept  # the file holds one half only
    constants = {name: tuple(tensor.shape) for name, tensor in known.constants(config).items()}
    expected = {part: shape for stored in needs.values() for part, shape in stored.items()}
    _check_names(file, known, expected, constants)
    return {name: tuple(stored) for name, stored in kept.items()}


def is_under(name: str, paths: tuple[str, ...]) -> bool:
    """Whether a tensor is one of these, or in one of these modules."""
    return name in paths or name.startswith(tuple(f"{path}." for path in paths))


def fill(
    network: nn.Module,
    file: TensorFile,
    known: Format[ConfigT],
    config: ConfigT,
    options: dict[str, Any],
    only: str = "",
    without: tuple[str, ...] = (),
) -> None:
    """Put the tensors of a file into a network built on the meta device, one at a time, each by its rule.

    Args:
        network: gets the tensors in place of its own.
        file, known, config, only, without: as of `locate`.
        options: keywords of `Tensor.to`, applied to each tensor.

    Raises:
        CheckpointError: as `locate`, before any tensor is read; or if one is damaged.
    """
    parts = locate(network, file, known, config, only, without)
    for name, expected in known.constants(config).items():
        if name in file.shapes and not torch.allclose(file.read(name).float(), expected, atol=1e-5):
            raise CheckpointError(f"{file.path}: {name} is not the constant that this codec computes")
    rules = known.rules(config)
    read = lru_cache(maxsize=1)(lambda part: _exact(file.read(part)))  # several in a row may be made of the same
    for name, stored in parts.items():
        tensor = rule_of(name, rules).read(_shape(network, name), *map(read, stored))
        module, _, leaf = name.rpartition(".")
        tensor = _converted(tensor, options, f"{file.path}: {name}")
        setattr(network.get_submodule(module), leaf, nn.Parameter(tensor, requires_grad=False))


def _shape(network: nn.Module, name: str) -> Shape:
    return tuple(network.get_parameter(name).shape)


def _exact(tensor: Tensor) -> Tensor:
    """A stored tensor in float32, or float64 if it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _converted(tensor: Tensor, options: dict[str, Any], name: str) -> Tensor:
    """A tensor in the type wanted, whose range it must be in."""
    dtype = options["dtype"]
    limit = torch.finfo(dtype).max
    if limit < torch.finfo(tensor.dtype).max and (largest := tensor.abs().amax()) > limit and largest.isfinite():
        raise CheckpointError(f"{name} has a number of {float(largest):.3g}, {dtype} ends at {limit:.3g}")
    return tensor.to(**options)


def _check_names(
    file: TensorFile, known: Format[Any], expected: Mapping[str, Shape], constants: Mapping[str, Shape]
) -> None:
    missing = [name for name in expected if name not in file.shapes]
    misshapen = [
        f"{name} {list(file.shapes[name])} instead of {list(shape)}"
        for name, shape in {**expected, **constants}.items()
        if file.shapes.get(name, shape) != shape
    ]
    unexpected = [
        name
        for name in file.shapes
        if name not in expected and name not in constants and not any(fnmatchcase(name, it) for it in known.unused)
    ]
    problems = [
        f"{len(names)} tensors {kind} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if missing and (held := file.metadata.get("part")) in HALVES:
        problems.append(f"it holds only the {held}: get_voco(..., part={held!r}) reads it")
    if problems:
        raise CheckpointError(f"{file.path}: does not fit the config ({known.name} names): {'; '.join(problems)}")


def save(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], origin: Mapping[str, str]) -> list[Path]:
    """Write `model.safetensors` and `config.json`; each appears under its name only when it is complete.

    Args:
        folder: made if need be.
        state: tensors, under our names.
        config: hyperparameters.
        origin: what is known of the weights; goes into the metadata of the one and the head of the other.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(folder / "model.safetensors") as path:
        save_file(tensors, path, metadata={"format": "pt", OWN_MARK: __version__, **origin})
    with replacing(folder / "config.json") as path:
        path.write_text(json.dumps({**origin, **config}, indent=2) + "\n", encoding="utf-8")
    return [folder / "config.json", folder / "model.safetensors"]
