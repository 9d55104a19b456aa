"""From the place where weights are to a network that holds them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from vocos.config import Config
from vocos.errors import CheckpointError, InvalidInput, UnsupportedOperation
from vocos.voco.halves import HalvableModule
from vocos.weights import export, hub
from vocos.weights.configs import read_config
from vocos.weights.formats import Format, fill, is_under, recognise, save
from vocos.weights.hub import Location
from vocos.weights.source import DEFAULT_REPOSITORY, Checkpoint, Source
from vocos.weights.tensors import TensorFile, open_tensors

ConfigT = TypeVar("ConfigT", bound=Config)
OWN_LAYOUT = ("config.json", "model.safetensors")  # what `save` writes


class PretrainedModule(HalvableModule, Generic[ConfigT]):
    """A lazy module whose network is made from a config and filled from a checkpoint.

    The config of the default checkpoint is built in. That of a folder or file is read at once, that of a Hub repository
    when it is first needed.

    Args:
        location: where the weights are; None for the default checkpoint.
        device: where the weights go when they are loaded, None for the CPU.
        dtype: what they become when they are loaded, None for float32.

    Attributes:
        config_type: dataclass of the hyperparameters.
        checkpoints: what each registered name of this architecture stands for, the default first; none for a codec
            without weights whose config has defaults for all.
        layouts: names of the files of config and weights, besides what `save` writes.
        formats: of the checkpoints that can be read, besides what `save` writes.
        targets: layouts that `export` writes, besides our own.
        known: other public checkpoints that can be read.
        halves, weightless: see `HalvableModule`.
    """

    config_type: ClassVar[type[Config]]
    checkpoints: ClassVar[Mapping[str, Checkpoint[Any]]] = {}
    layouts: ClassVar[hub.Layouts] = ()
    formats: ClassVar[tuple[Format[Any], ...]] = ()
    targets: ClassVar[tuple[export.Target[Any], ...]] = ()
    known: ClassVar[tuple[Source, ...]] = ()

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(device, dtype)
        self._location = location or Location()
        rows = self.checkpoints or {type(self).__name__.lower(): Checkpoint(self.config_type())}
        self.name = self._location.name or next(iter(rows))
        self._row: Checkpoint[Any] = rows.get(self.name) or next(iter(rows.values()))
        self._commit: str | None = None
        self._license: str | None = None
        self._restrictions: list[str] = []
        self._config: ConfigT | None = None
        self._config_file: Path | None = None
        self._is_built_in = self._settle_location()
        if self._is_built_in:
            self._config = self._row.config
        elif self._location.path is not None:
            self._config = self._read_config()

    # What a subclass gives

    def _build(self, config: ConfigT) -> nn.Module:
        """The network of a config. It is made on the meta device: no value may be computed for its parameters."""
        raise NotImplementedError

    def _parse(self, data: Mapping[str, Any]) -> ConfigT:
        """The config of a checkpoint's file."""
        return self.config_type.parse(data)  # type: ignore[return-value]

    def _fitted(self, config: ConfigT, shapes: Mapping[str, tuple[int, ...]]) -> ConfigT:
        """The config completed with what only the shapes of the tensors tell, ours or a file's; usually nothing."""
        return config

    def _companion(self) -> tuple[Format[ConfigT], TensorFile]:
        """The file of what the checkpoint's format lacks, and its format, for a codec with such a format."""
        raise NotImplementedError

    # Facts

    @property
    def config(self) -> dict[str, Any]:
        """The hyperparameters in force, as plain data."""
        return self._hyperparameters.as_dict()

    @property
    def source(self) -> str | None:
        """Where the weights come from; None for a codec that has none."""
        return str(self._location) if self._row.source else None

    @property
    def revision(self) -> str | None:
        """Commit of the weights on the Hub once they are loaded, before that the revision asked for; None elsewhere."""
        return self._commit or self._location.revision

    @property
    def license(self) -> str | None:
        """Identifier of the licence of the weights, None if none is stated."""
        return self._license

    @property
    def restrictions(self) -> list[str]:
        """What a user of the weights must know, in words: whether they are gated, or not for commercial use."""
        return self._restrictions

    @property
    def alternatives(self) -> list[str]:
        """Calls that give the same codec with weights that are public, each with its licence; none if its own are."""
        if self._row.source is None or self._row.source.repository != DEFAULT_REPOSITORY:
            return []
        return [
            f"get_voco({self.name!r}, {source.keywords()}) ({source.terms()})"
            for source in self._public_sources()
            if source.repository not in (DEFAULT_REPOSITORY, self._location.weights)
        ]

    @property
    def _hyperparameters(self) -> ConfigT:
        if self._config is None:
            with self._lock:
                self._config = self._config or self._read_config()
        return self._config

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json`, which `get_voco(name, weights=folder)` reads back.

        Those of a half hold that half, and are read back with the same `part=`. Each file replaces an older one of its
        name only when it is complete.
        """
        self.export(folder, "vocos")

    def export(self, folder: str | Path, target: str) -> list[Path]:
        """Write the weights in a public layout, or "vocos" for our own.

        Returns:
            The files written.

        Raises:
            InvalidInput: if the codec has no such layout, or it cannot hold these weights.
            UnsupportedOperation: if the codec has no weights, or only half of them for a layout that is not ours.
        """
        if self._row.source is None:
            raise UnsupportedOperation(f"{self.name} has no weights to write")
        layouts = {known.name: known for known in self.targets}
        if target != "vocos" and target not in layouts:
            raise InvalidInput(f"{self.name}: no layout {target!r}; there are {', '.join(['vocos', *layouts])}")
        if target != "vocos" and self.part:
            raise UnsupportedOperation(
                f"{self.name}: only the {self.part} is there, and {target!r} holds both halves; leave part= out of "
                'get_voco, or write "vocos"'
            )
        state, config = self.network.state_dict(), self._hyperparameters
        if target == "vocos":
            known = {"voco": self.name, "license": self.license, "source": self.source, "part": self.part}
            return save(Path(folder), state, self.config, {k: v for k, v in known.items() if v})
        if problem := layouts[target].problem(config):
            raise InvalidInput(f"{self.name}: {target!r} cannot hold these weights: {problem}")
        return export.write(Path(folder), state, layouts[target], config)

    def fetch(self) -> list[Path]:
        """Bring the files of the weights to this machine without loading them.

        Returns:
            Their paths: of the config, if it has a file, of the weights, and of what completes them.
        """
        if self._row.source is None or self._part in self.weightless:
            return []
        config = self._config_file or hub.find_config(self._location, self._all_layouts)
        weights = hub.find_weights(self._location, self._all_layouts, config)
        known, _ = recognise(open_tensors(weights), self.formats, self.name)
        companions = [self._companion()[1].path] if self._needs_companion(known) else []
        return list(dict.fromkeys([*([config] if config else []), weights, *companions]))

    # Loading

    def _settle_location(self) -> bool:
        """Fill in where the weights are. Returns whether they are the default ones, whose config is built in."""
        default = self._row.source
        if default is None:
            if self._location.weights is not None:
                raise InvalidInput(f"{self.name} has no weights; leave weights={self._location.weights!r} out")
            return True
        if weights := self._location.weights or default.replacement():
            self._location = replace(self._location, weights=weights)
            self._describe(next((source for source in self._public_sources() if source.repository == weights), None))
            return False
        self._describe(default)
        self._location = replace(
            self._location,
            weights=default.repository,
            subfolder=self._location.subfolder or default.subfolder,
            revision=self._location.revision or default.revision,
            is_known=True,
            sha256=default.sha256,
        )
        if self.alternatives:
            instead = f". Public checkpoints of the same codec: {', '.join(self.alternatives)}"
            self._location = replace(self._location, instead=instead)
        return True

    @classmethod
    def _public_sources(cls) -> list[Source]:
        """Of all public checkpoints of this architecture that are known."""
        return [row.source for row in cls.checkpoints.values() if row.source] + list(cls.known)

    def _describe(self, source: Source | None) -> None:
        """Take over what is known of a checkpoint."""
        if source is not None:
            self._license, self._restrictions = source.license, source.restrictions()
            self._location = replace(self._location, notice="; ".join(self._restrictions))

    def _read_config(self) -> ConfigT:
        """The config beside the weights, or the one in their file; the defaults if they come without."""
        path = self._config_file = hub.find_config(self._location, self._all_layouts)
        data: Mapping[str, Any] | None
        if path is not None:
            data = read_config(path)
        else:
            path = self._config_file = hub.find_weights(self._location, self._all_layouts)
            data = open_tensors(path).config
            if data is None:
                return self._row.config
        if isinstance(data.get("license"), str):
            self._license = data["license"]
        try:
            return self._parse(data)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    @property
    def _all_layouts(self) -> hub.Layouts:
        return (*self.layouts, OWN_LAYOUT)

    def _needs_companion(self, known: Format[Any]) -> bool:
        return bool(known.lacks) and not is_under(known.lacks, self._left_out)

    def _empty_network(self, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
        return self._halved(self._empty(self._fitted(self._hyperparameters, shapes), self.source))

    def _empty(self, config: ConfigT, source: object) -> nn.Module:
        try:
            with torch.device("meta"):
                return self._build(config)
        except (RuntimeError, OverflowError, TypeError) as error:  # sizes whose product no tensor can have
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{source}: no network can have this config: {error}") from error

    def _loaded_network(self) -> nn.Module:
        device = self._device or torch.device("cpu")
        if self._row.source is None:
            with torch.device("cpu"):
                return self._halved(self._build(self._hyperparameters)).to(device, self._dtype)
        if self._part in self.weightless:
            return self._empty_network({})
        config = self._read_config() if self._is_built_in else self._hyperparameters
        path = hub.find_weights(self._location, self._all_layouts, self._config_file)
        self._commit = hub.commit_of(self._location, path)
        known, file = recognise(open_tensors(path), self.formats, self.name)
        companion = self._companion() if self._needs_companion(known) else None
        config = self._fitted(config, {**file.shapes, **(companion[1].shapes if companion else {})})
        network = self._empty(config, path)
        options = {"device": device, "dtype": self._dtype or torch.float32}
        fill(network, file, known, config, options, without=self._left_out)
        if companion:
            fill(network, companion[1], companion[0], config, options, only=known.lacks)
        self._adopt(config)
        return self._halved(network)

    def _adopt(self, config: ConfigT) -> None:
        """Follow the config that came with the weights, and say so if it is not the one built in."""
        before, self._config = self._config, config
        if self._is_built_in and before != config:
            warnings.warn(
                f"{self.name}: {self.source} holds {config}, not {before} as built in; what was computed from the "
                "facts before loading may not hold",
                stacklevel=2,
            )
