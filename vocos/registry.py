"""Registered names of codecs, and the classes that they stand for, which are imported on first use."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from vocos.errors import InvalidInput, PluginError, UnknownVoco
from vocos.weights.location import Location

if TYPE_CHECKING:
    import torch

    from vocos.voco import Voco

    VocoType = TypeVar("VocoType", bound=type[Voco[Any]])

GROUP = "vocos.codecs"  # the group of entry points by which other distributions register codecs


@dataclass(frozen=True)
class BuiltIn:
    """The facts that `vocos list` shows of a registered name without importing torch.

    Read from `codecs/table.json`, which `make table` writes from the rows of the codecs; a test holds the two together.
    """

    target: str
    about: str
    sampling_rate: int
    channel: int
    latent_dim: int
    hop_length: int
    n_codebooks: int | None
    codebook_size: int | None
    bits_per_second: float | None
    source: str | None
    license: str | None
    license_url: str | None
    paper: str | None
    size_mb: float | None
    restrictions: list[str]


TABLE = Path(__file__).parent / "codecs" / "table.json"
BUILT_IN = {name: BuiltIn(**row) for name, row in json.loads(TABLE.read_text(encoding="utf-8")).items()}

_registered: dict[str, type[Voco[Any]]] = {}


def list_vocos(pattern: str | None = None) -> list[str]:
    """Names of the codecs that can be had: built-in ones, registered ones, those of installed plugins.

    Args:
        pattern: shell-style, such as "dac*"; None for all.

    Returns:
        The names, sorted. No codec is imported.
    """
    names = sorted({*BUILT_IN, *_registered, *_plugins()})
    return names if pattern is None else fnmatch.filter(names, pattern)


def get_voco(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    subfolder: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    part: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Voco[Any]:
    """A codec, frozen and in eval mode, independent of every other one. Its weights arrive when first needed.

    Args:
        name: one of `list_vocos()`.
        weights: a Hub repository "org/name", a folder or a file; None for the default checkpoint.
        subfolder: where in the repository or folder.
        revision: branch, tag or commit of the repository.
        token: of the Hub; None for the one logged in, False for none.
        cache_dir: of the Hub's client; None for the usual one.
        local_files_only: make no request.
        part: "encoder" or "decoder" to read and hold only that half, which refuses the other direction; None for both.
        device: where the weights go when they are loaded; None for the CPU.
        dtype: floating-point type that they get; None for float32.
        **options: options of the codec, such as `sample=False` of oobleck or `bandwidth=3.0` of encodec.

    Raises:
        UnknownVoco: if there is no such name.
        PluginError: if the name belongs to a plugin that cannot be used.
        TypeError: if the codec has no such option.
        InvalidInput: if an argument has a value that it cannot have.
        UnsupportedOperation: if `part` is asked of a codec that cannot be halved.
        WeightsUnavailable, CheckpointError: if `weights` names a place on this machine that holds none.
    """
    import torch

    cls = _find(name)
    known = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(options.keys() - set(known)):
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise TypeError(f"get_voco: {name} has no option {', '.join(map(repr, unknown))}; {has}")
    if weights is not None and not str(weights):
        raise InvalidInput("get_voco: weights is empty; leave it out for the default checkpoint")
    location = Location(
        name=name,
        weights=None if weights is None else os.fspath(weights),
        subfolder=subfolder,
        revision=revision,
        token=token,
        cache_dir=None if cache_dir is None else os.fspath(cache_dir),
        local_files_only=local_files_only,
    )
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InvalidInput(f"get_voco: expected dtype as a floating-point torch.dtype, got {dtype!r}")
    try:
        place = None if device is None else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidInput(f"get_voco: expected device as 'cpu', 'cuda', 'cuda:1'..., got {device!r}") from error
    voco = cls(location, place, dtype, **options)
    if part is not None:
        voco.weights.keep_only(part)
    return voco


@overload
def register_voco(name: str, cls: VocoType, replace: bool = False) -> VocoType: ...
@overload
def register_voco(name: str, cls: None = None, replace: bool = False) -> Callable[[VocoType], VocoType]: ...
def register_voco(
    name: str, cls: VocoType | None = None, replace: bool = False
) -> VocoType | Callable[[VocoType], VocoType]:
    """Give a codec a name in this process; also a decorator: `@register_voco("mine")`.

    An installed package registers one for good with an entry point in the group `vocos.codecs`.

    Args:
        name: what `get_voco` will find it under.
        cls: a subclass of `Voco`.
        replace: whether the name may be taken already.

    Raises:
        InvalidInput: if the name is taken, or the class is no Voco.
    """

    def register(cls: VocoType) -> VocoType:
        _check_class(cls, f"register_voco: {name!r}")
        if not replace and name in {*BUILT_IN, *_registered}:
            raise InvalidInput(f"register_voco: {name!r} is taken; pass replace=True to replace it in this process")
        _registered[name] = cls
        return cls

    return register if cls is None else register(cls)


def _check_class(cls: object, what: str) -> None:
    from vocos.voco import Voco

    if not (isinstance(cls, type) and issubclass(cls, Voco)):
        raise InvalidInput(f"{what} must be a subclass of vocos.Voco, got {cls!r}")


def _find(name: str) -> type[Voco[Any]]:
    """The class of a name: registered in this process, built in, or of a plugin, in this order."""
    if not isinstance(name, str):
        raise UnknownVoco(f"get_voco: expected a name, one of {', '.join(list_vocos())}; got {name!r}")
    if name in _registered:
        return _registered[name]
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].target.partition(":")
        cls: type[Voco[Any]] = getattr(importlib.import_module(f"vocos.codecs.{module}"), attribute)
        return cls
    if found := _plugins().get(name):
        return _plugin_class(name, found)
    close = difflib.get_close_matches(name.lower(), list_vocos(), n=1)
    suggestion = f"did you mean {close[0]!r}? " if close else ""
    raise UnknownVoco(f"get_voco: there is no {name!r}; {suggestion}The names are {', '.join(list_vocos())}")


def _plugins() -> dict[str, list[EntryPoint]]:
    """Entry points by name; a built-in name is looked up before, so nothing installed can take one."""
    plugins: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point not in plugins.setdefault(point.name, []):
            plugins[point.name].append(point)
    return plugins


def _plugin_class(name: str, points: list[EntryPoint]) -> type[Voco[Any]]:
    owners = [point.dist.name if point.dist else point.value for point in points]
    if len(points) > 1:
        raise PluginError(f"get_voco: {name!r} is registered by {' and by '.join(owners)}; uninstall all but one")
    try:
        cls: type[Voco[Any]] = points[0].load()
        _check_class(cls, f"{points[0].value}")
    except Exception as error:
        raise PluginError(
            f"get_voco: {name!r} comes from the distribution {owners[0]}, which cannot be used: "
            f"{type(error).__name__}: {error}"
        ) from error
    return cls
