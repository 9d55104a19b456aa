"""The weights of one codec: from a location to a network that holds them, and back to files."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from vocos.config import Config
from vocos.errors import CheckpointError, InvalidInput, UnsupportedOperation
from vocos.weights import export, hub
from vocos.weights.configs import read_config
from vocos.weights.empty import empty
from vocos.weights.formats import HALVES, Format, fill, is_under, recognise, save
from vocos.weights.location import Location
from vocos.weights.source import DEFAULT_REPOSITORY, Checkpoint, Source
from vocos.weights.tensors import TensorFile, open_tensors

ConfigT = TypeVar("ConfigT", bound=Config)
OWN_LAYOUT = ("config.json", "model.safetensors")  # what `save` writes


class Architecture(Protocol[ConfigT]):
    """The attributes and hooks of a codec that its weights need; `vocos.voco.codec.Codec` explains each."""

    config_type: ClassVar[type[Config]]
    checkpoints: ClassVar[Mapping[str, Checkpoint[Any]]]
    known: ClassVar[tuple[Source, ...]]
    layouts: ClassVar[hub.Layouts]
    formats: ClassVar[tuple[Format[Any], ...]]
    targets: ClassVar[tuple[export.Target[Any], ...]]
    halves: ClassVar[Mapping[str, tuple[str, ...]] | None]
    weightless: ClassVar[tuple[str, ...]]

    def parse(self, data: Mapping[str, Any]) -> ConfigT: ...
    def complete(self, config: ConfigT, shapes: Mapping[str, tuple[int, ...]]) -> ConfigT: ...
    def build(self, config: ConfigT) -> nn.Module: ...
    def companion(self) -> tuple[Format[ConfigT], TensorFile]: ...


class Weights(Generic[ConfigT]):
    """Where the weights of a codec are, what is known of them, and how a network gets them.

    The config of a registered checkpoint is built in. That of a folder or file is read at once, that of a Hub
    repository when it is first needed.

    Args:
        codec: the codec that has these weights.
        location: where they are; None for the default checkpoint.

    Attributes:
        name: registered name of the codec.
        location: where the weights are.
        part: the half that is read and held, "encoder" or "decoder"; None for both.
        license: identifier of the licence of the weights, None if none is stated.
        restrictions: sentences about gates and licences that a user of the weights must know.

    Raises:
        InvalidInput: if a codec without weights is given a place for them.
        WeightsUnavailable, CheckpointError: if the place is on this machine and holds none.
    """

    def __init__(self, codec: Architecture[ConfigT], location: Location | None = None) -> None:
        self._codec = codec
        rows = codec.checkpoints or {type(codec).__name__.lower(): Checkpoint(codec.config_type())}
        self.location = location or Location()
        self.name = self.location.name or next(iter(rows))
        self.row: Checkpoint[Any] = rows.get(self.name) or next(iter(rows.values()))
        self.part: str | None = None
        self.license: str | None = None
        self.restrictions: list[str] = []
        self._commit: str | None = None
        self._config: ConfigT | None = None
        self._config_file: Path | None = None
        self._lock = threading.RLock()
        self._is_built_in = self._settle()
        if self._is_built_in:
            self._config = self.row.config
        elif self.location.path is not None:
            self._config = self._read_config()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    # Config and facts of the checkpoint

    @property
    def config(self) -> ConfigT:
        """The hyperparameters in force. Those of a Hub repository are downloaded and read at the first use."""
        if self._config is None:
            with self._lock:
                self._config = self._config or self._read_config()
        return self._config

    @property
    def known_config(self) -> ConfigT | None:
        """The hyperparameters in force, or None if they have not been read yet."""
        return self._config

    @property
    def source(self) -> str | None:
        """Where the weights come from; None for a codec that has none."""
        return str(self.location) if self.row.source else None

    @property
    def revision(self) -> str | None:
        """Commit of the weights on the Hub once they are loaded, before that the revision asked for; None elsewhere."""
        return self._commit or self.location.revision

    @property
    def alternatives(self) -> list[str]:
        """Calls of `get_voco` for public weights of this codec, with their licences; empty if its own are public."""
        if self.row.source is None or self.row.source.repository != DEFAULT_REPOSITORY:
            return []
        return [
            f"get_voco({self.name!r}, {source.keywords()}) ({source.terms()})"
            for source in self._public_sources()
            if source.repository not in (DEFAULT_REPOSITORY, self.location.weights)
        ]

    # Halves

    def keep_only(self, part: str) -> None:
        """Restrict the codec to its encoder or decoder, before loading.

        Raises:
            InvalidInput: if there is no such half.
            UnsupportedOperation: if the codec does not say which weights each half needs.
        """
        if part not in HALVES:
            raise InvalidInput(f"get_voco: expected part as 'encoder' or 'decoder', got {part!r}")
        if self._codec.halves is None:
            raise UnsupportedOperation(
                f"get_voco: {self.name} does not say which weights each half of it needs; leave part={part!r} out"
            )
        self.part = part

    def require(self, half: str, call: str) -> None:
        """Raise UnsupportedOperation if a call needs the half that is left out."""
        if self.part not in (None, half):
            raise UnsupportedOperation(
                f"{call}: this needs the {half}, and {self.name} was asked for with part={self.part!r}; "
                f"get_voco({self.name!r}) has both halves"
            )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Attributes of the network that the kept half does without."""
        paths = (self._codec.halves or {}).items()
        return tuple(path for half, its in paths if self.part not in (None, half) for path in its)

    def _halved(self, network: nn.Module) -> nn.Module:
        """The network without the modules of the half that is left out."""
        for path in self.left_out:
            if hasattr(network, path):
                setattr(network, path, None)
        return network

    # Loading into a network

    def network(self, device: torch.device | None, dtype: torch.dtype | None) -> nn.Module:
        """A network that holds the weights.

        Args:
            device: device of its tensors, None for the CPU.
            dtype: floating-point type of its tensors, None for float32.

        Raises:
            WeightsUnavailable: if they cannot be reached.
            CheckpointError: if what is found is damaged or does not fit.
        """
        place = device or torch.device("cpu")
        if self.row.source is None:
            with torch.device("cpu"):
                return self._halved(self._codec.build(self.config)).to(place, dtype)
        if self.part in self._codec.weightless:
            return self.empty_network({})
        config = self._read_config() if self._is_built_in else self.config
        path = hub.find_weights(self.location, self._layouts, self._config_file)
        self._commit = hub.commit_of(self.location, path)
        known, file = recognise(open_tensors(path), self._codec.formats, self.name)
        companion = self._codec.companion() if self._needs_companion(known) else None
        config = self._codec.complete(config, {**file.shapes, **(companion[1].shapes if companion else {})})
        network = self._empty(config, path)
        options = {"device": place, "dtype": dtype or torch.float32}
        fill(network, file, known, config, options, without=self.left_out)
        if companion:
            fill(network, companion[1], companion[0], config, options, only=known.lacks)
        self._adopt(config)
        return self._halved(network)

    def empty_network(self, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """A network on the meta device; names and shapes of tensors complete the config, where a codec needs them."""
        return self._halved(self._empty(self._codec.complete(self.config, shapes), self.source))

    def _empty(self, config: ConfigT, source: object) -> nn.Module:
        try:
            return empty(lambda: self._codec.build(config))
        except (RuntimeError, OverflowError, TypeError) as error:  # sizes whose product no tensor can have
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{source}: no network can have this config: {error}") from error

    def _adopt(self, config: ConfigT) -> None:
        """Take over the config that came with the weights, and warn if it differs from the one built in."""
        before, self._config = self._config, config
        if self._is_built_in and before != config:
            warnings.warn(
                f"{self.name}: {self.source} holds {config}, not {before} as built in; what was computed from the "
                "facts before loading may not hold",
                stacklevel=2,
            )

    # Files

    def fetch(self) -> list[Path]:
        """Download the files of the weights, without loading them.

        Returns:
            Paths of the config, if it has a file, of the weights, and of a second file that completes them.
        """
        if self.row.source is None or self.part in self._codec.weightless:
            return []
        config = self._config_file or hub.find_config(self.location, self._layouts)
        weights = hub.find_weights(self.location, self._layouts, config)
        known, _ = recognise(open_tensors(weights), self._codec.formats, self.name)
        companions = [self._codec.companion()[1].path] if self._needs_companion(known) else []
        return list(dict.fromkeys([*([config] if config else []), weights, *companions]))

    def export(self, folder: Path, target: str, state: Callable[[], Mapping[str, torch.Tensor]]) -> list[Path]:
        """Write weights in a public layout, or "vocos" for our own.

        Args:
            folder: made if need be.
            target: name of the layout.
            state: returns the tensors by our names; called once it is known that the layout can hold them.

        Returns:
            The files written.

        Raises:
            InvalidInput: if the codec has no such layout, or it cannot hold these weights.
            UnsupportedOperation: if the codec has no weights, or only half of them for a layout that is not ours.
        """
        if self.row.source is None:
            raise UnsupportedOperation(f"{self.name} has no weights to write")
        layouts = {known.name: known for known in self._codec.targets}
        if target != "vocos" and target not in layouts:
            raise InvalidInput(f"{self.name}: no layout {target!r}; there are {', '.join(['vocos', *layouts])}")
        if target != "vocos" and self.part:
            raise UnsupportedOperation(
                f"{self.name}: only the {self.part} is there, and {target!r} holds both halves; leave part= out of "
                'get_voco, or write "vocos"'
            )
        tensors = state()  # loads the weights, and with them the config that came with them
        if target == "vocos":
            known = {"voco": self.name, "license": self.license, "source": self.source, "part": self.part}
            return save(folder, tensors, self.config.as_dict(), {k: v for k, v in known.items() if v})
        if problem := layouts[target].problem(self.config):
            raise InvalidInput(f"{self.name}: {target!r} cannot hold these weights: {problem}")
        return export.write(folder, tensors, layouts[target], self.config)

    # Location

    def _settle(self) -> bool:
        """Fill in the location. Returns whether it is the default checkpoint, whose config is built in."""
        default = self.row.source
        if default is None:
            if self.location.weights is not None:
                raise InvalidInput(f"{self.name} has no weights; leave weights={self.location.weights!r} out")
            return True
        if weights := self.location.weights or default.replacement():
            self.location = replace(self.location, weights=weights)
            self._describe(next((source for source in self._public_sources() if source.repository == weights), None))
            return False
        self._describe(default)
        self.location = replace(
            self.location,
            weights=default.repository,
            subfolder=self.location.subfolder or default.subfolder,
            revision=self.location.revision or default.revision,
            is_known=True,
            sha256=default.sha256,
        )
        if self.alternatives:
            instead = f". Public checkpoints of the same codec: {', '.join(self.alternatives)}"
            self.location = replace(self.location, instead=instead)
        return True

    def _public_sources(self) -> Sequence[Source]:
        """The known public checkpoints of this architecture."""
        return [*(row.source for row in self._codec.checkpoints.values() if row.source), *self._codec.known]

    def _describe(self, source: Source | None) -> None:
        """Take over the licence and the restrictions of a known checkpoint."""
        if source is not None:
            self.license, self.restrictions = source.license, source.restrictions()
            self.location = replace(self.location, notice="; ".join(self.restrictions))

    def _read_config(self) -> ConfigT:
        """The config beside the weights, or inside their file; the built-in one if they come without a config."""
        path = self._config_file = hub.find_config(self.location, self._layouts)
        data: Mapping[str, Any] | None
        if path is not None:
            data = read_config(path)
        else:
            path = self._config_file = hub.find_weights(self.location, self._layouts)
            data = open_tensors(path).config
            if data is None:
                return self.row.config
        if isinstance(data.get("license"), str):
            self.license = data["license"]
        try:
            return self._codec.parse(data)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    @property
    def _layouts(self) -> hub.Layouts:
        return (*self._codec.layouts, OWN_LAYOUT)

    def _needs_companion(self, known: Format[Any]) -> bool:
        return bool(known.lacks) and not is_under(known.lacks, self.left_out)
