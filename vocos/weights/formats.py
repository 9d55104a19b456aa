"""What is in a file: reading it as data and never as code, recognising its format, putting it into a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vocos._version import __version__
from vocos.errors import CheckpointError
from vocos.weights.atomic import replacing
from vocos.weights.tensors import Section, TensorFile

SHOWN = 3  # names of each kind in a message

ConfigT = TypeVar("ConfigT")
HALVES = ("encoder", "decoder")

# Under these leaves a public file keeps the magnitude g and direction v of a weight-normalised `weight`.
WEIGHT_NORM = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


@dataclass(frozen=True)
class Format(Generic[ConfigT]):
    """How one kind of public file names its tensors.

    Attributes:
        name: for messages.
        marker: path of a module whose weight tells this format from the others.
        prefixes: what may stand before every name; what is under none of them is left alone.
        modules: path of each module or tensor that has another name there, ours -> theirs, for a config.
        unused: beginnings of the names that such a file may hold and the network does without.
        unused_endings: endings of such names.
        has_flat_snakes: whether the parameters of a snake are `[C]`, not `[1, C, 1]`.
        lacks: beginning of our names of what comes from a companion file; "" if nothing does.
        constants: names of tensors that are computed here; they must have the values computed.
        last_axis_norms: beginnings of our names of weights whose magnitude is along the last axis, not the first.
    """

    name: str
    marker: str
    prefixes: tuple[str, ...] = ("",)
    modules: Callable[[ConfigT], Mapping[str, str]] = lambda config: {}
    unused: tuple[str, ...] = ()
    unused_endings: tuple[str, ...] = ()
    has_flat_snakes: bool = False
    lacks: str = ""
    constants: Callable[[ConfigT], Mapping[str, Tensor]] = lambda config: {}
    last_axis_norms: tuple[str, ...] = ()


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


def public_name(name: str, modules: Mapping[str, str]) -> str:
    """The name that a tensor of ours has under a table of modules and tensors, as of `Format.modules`."""
    module, _, leaf = name.rpartition(".")
    return modules.get(name) or f"{modules.get(module, module)}.{leaf}".lstrip(".")


def locate(
    network: nn.Module,
    file: TensorFile,
    known: Format[ConfigT],
    config: ConfigT,
    only: str = "",
    without: tuple[str, ...] = (),
) -> dict[str, tuple[str, ...]]:
    """Where a file keeps every tensor of a network: one name, or those of a magnitude and a direction.

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
    modules = known.modules(config)
    wanted = [name for name in network.state_dict() if name.startswith(only)]
    if known.lacks:
        wanted = [name for name in wanted if not name.startswith(known.lacks)]
    parts = {name: _stored_as(public_name(name, modules), file) for name in wanted}
    kept = {name: stored for name, stored in parts.items() if not is_under(name, without)}
    if not any(part in file.shapes for name in parts.keys() - kept.keys() for part in parts[name]):
        parts = kept  # the file holds one half only
    _check_names(network, file, known, parts, known.constants(config))
    return kept


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
    """Put the tensors of a file into a network built on the meta device, weight norm folded, one tensor at a time.

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
    for name, stored in parts.items():
        module, _, leaf = name.rpartition(".")
        tensor = _converted(_fold(*(file.read(part) for part in stored)), options, f"{file.path}: {name}")
        shape = network.get_parameter(name).shape
        setattr(network.get_submodule(module), leaf, nn.Parameter(tensor.reshape(shape), requires_grad=False))


def _stored_as(name: str, file: TensorFile) -> tuple[str, ...]:
    """The names under which a file keeps a tensor: its own, or those of its magnitude and direction."""
    module, _, leaf = name.rpartition(".")
    if leaf == "weight" and name not in file.shapes:
        for pair in WEIGHT_NORM:
            names = tuple(f"{module}.{part}" for part in pair)
            if any(part in file.shapes for part in names):
                return names
    return (name,)


def _converted(tensor: Tensor, options: dict[str, Any], name: str) -> Tensor:
    """A tensor in the type wanted, whose range it must be in."""
    dtype = options["dtype"]
    limit = torch.finfo(dtype).max
    if limit < torch.finfo(tensor.dtype).max and (largest := tensor.abs().amax()) > limit and largest.isfinite():
        raise CheckpointError(f"{name} has a number of {float(largest):.3g}, {dtype} ends at {limit:.3g}")
    return tensor.to(**options)


def _fold(first: Tensor, direction: Tensor | None = None) -> Tensor:
    """A stored tensor in float32, or float64 if it is: itself, or magnitude * direction / |direction|.

    The norm is along all axes that the magnitude lacks.

    Source: Salimans and Kingma, "Weight Normalization", arXiv 1602.07868.
    """
    first = first if first.dtype == torch.float64 else first.float()
    if direction is None:
        return first
    direction = direction.to(first.dtype)
    return direction * (first / direction_norm(direction, first.shape))


def direction_norm(direction: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """Norm over the axes that are 1 in a shape, by default over all but the first; all are kept."""
    axes = range(1, direction.ndim) if shape is None else [axis for axis, size in enumerate(shape) if size == 1]
    return torch.linalg.vector_norm(direction, dim=tuple(axes), keepdim=True)


def _check_names(
    network: nn.Module,
    file: TensorFile,
    known: Format[Any],
    parts: Mapping[str, tuple[str, ...]],
    constants: Mapping[str, Tensor],
) -> None:
    missing, misshapen = [], []
    for name in parts:
        shape = tuple(network.get_parameter(name).shape)
        kept = len(shape) - 1 if name.startswith(known.last_axis_norms) else 0
        magnitude = tuple(size if axis == kept else 1 for axis, size in enumerate(shape))
        expected = (shape,) if len(parts[name]) == 1 else (magnitude, shape)
        for part, wanted in zip(parts[name], expected, strict=True):
            if part not in file.shapes:
                missing.append(part)
            elif file.shapes[part] != wanted and not _is_flat(part, file.shapes[part], wanted):
                misshapen.append(f"{part} {list(file.shapes[part])} instead of {list(wanted)}")
    for name, constant in constants.items():
        if name in file.shapes and file.shapes[name] != tuple(constant.shape):
            misshapen.append(f"{name} {list(file.shapes[name])} instead of {list(constant.shape)}")
    accounted = {part for names in parts.values() for part in names} | constants.keys()
    rest = [name for name in file.shapes if name not in accounted]
    unexpected = [name for name in rest if not (name.startswith(known.unused) or name.endswith(known.unused_endings))]
    problems = [
        f"{len(names)} tensors {kind} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if missing and (held := file.metadata.get("part")) in HALVES:
        problems.append(f"it holds only the {held}: get_voco(..., part={held!r}) reads it")
    if problems:
        raise CheckpointError(f"{file.path}: does not fit the config ({known.name} names): {'; '.join(problems)}")


def _is_flat(name: str, stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether these are the parameters of a snake, `[C]` in place of `[1, C, 1]`."""
    return name.endswith((".alpha", ".beta")) and wanted == (1, *stored, 1)


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
