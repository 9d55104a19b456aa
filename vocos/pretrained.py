"""From the place where weights are to a network that holds them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from vocos import checkpoint, hub
from vocos.config import Config
from vocos.errors import CheckpointError, InvalidInput
from vocos.hub import Location, Source
from vocos.lazy import LazyModule

ConfigT = TypeVar("ConfigT", bound=Config)


class PretrainedModule(LazyModule, Generic[ConfigT]):
    """A lazy module whose network is made from a config and filled from a checkpoint.

    The config of the default checkpoint is built in. That of a folder or file is read at once, that of a Hub repository
    when it is first needed.

    Args:
        location: where the weights are; None for the default checkpoint.
        device: where the weights go when they are loaded, None for the CPU.
        dtype: what they become when they are loaded, None for float32.

    Attributes:
        name: for messages.
        config_type: dataclass of the hyperparameters; its defaults describe the default checkpoint.
        default: the default checkpoint; None for a codec that has no weights.
        stem: the weights are in `<stem>.json` and `<stem>.safetensors`, or in what `save` writes.
        formats: of the checkpoints that can be read, besides what `save` writes.
    """

    config_type: ClassVar[type[Config]]
    default: ClassVar[Source | None] = None
    stem: ClassVar[str] = "model"
    formats: ClassVar[tuple[checkpoint.Format[Any], ...]] = ()

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(device, dtype)
        self.name = type(self).__name__.lower()
        self._location = location or Location()
        self._license: str | None = None
        self._config: ConfigT | None = None
        self._config_file: str | None = None
        self._is_built_in = self._settle_location()
        if self._is_built_in:
            self._config = self.config_type()  # type: ignore[assignment]
            self._license = self.default.license if self.default else None
        elif self._location.path is not None:
            self._config = self._read_config()

    # What a subclass gives

    def _build(self, config: ConfigT) -> nn.Module:
        """The network of a config. It is made on the meta device: no value may be computed for its parameters."""
        raise NotImplementedError

    def _fitted(self, config: ConfigT, shapes: dict[str, tuple[int, ...]]) -> ConfigT:
        """The config completed with what only the shapes of the tensors tell, ours or a file's; usually nothing."""
        return config

    # Facts

    @property
    def config(self) -> dict[str, Any]:
        """The hyperparameters in force, as plain data."""
        return self._hyperparameters.as_dict()

    @property
    def source(self) -> str | None:
        """Where the weights come from; None for a codec that has none."""
        return str(self._location) if self.default else None

    @property
    def license(self) -> str | None:
        """Identifier of the licence of the weights, None if none is stated."""
        return self._license

    @property
    def _hyperparameters(self) -> ConfigT:
        if self._config is None:
            with self._lock:
                self._config = self._config or self._read_config()
        return self._config

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json`, which `get_voco(name, weights=folder)` reads back.

        Each file replaces an older one of its name only when it is complete.
        """
        state = self.network.state_dict()
        config = {"voco": self.name, "license": self.license, "source": self.source, **self.config}
        checkpoint.save(Path(folder), state, config)

    # Loading

    def _settle_location(self) -> bool:
        """Fill in where the weights are. Returns whether they are the default ones, whose config is built in."""
        if self.default is None:
            if self._location.weights is not None:
                raise InvalidInput(f"{self.name} has no weights; leave weights={self._location.weights!r} out")
            return True
        if weights := self._location.weights or self.default.replacement():
            self._location = replace(self._location, weights=weights)
            return False
        revision = self._location.revision or self.default.revision
        self._location = replace(self._location, weights=self.default.repository, revision=revision, is_known=True)
        return True

    def _read_config(self) -> ConfigT:
        """The config beside the weights; the defaults if they come without one."""
        path = hub.find_config(self._location, self.stem)
        if path is None:
            hub.find_weights(self._location, self.stem)  # says so if the place holds nothing at all
            return self.config_type()  # type: ignore[return-value]
        self._config_file = path.name
        data = checkpoint.read_config(path)
        if isinstance(data.get("license"), str):
            self._license = data["license"]
        try:
            return self.config_type.parse(data)  # type: ignore[return-value]
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    def _empty_network(self, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
        with torch.device("meta"):
            return self._build(self._fitted(self._hyperparameters, shapes))

    def _loaded_network(self) -> nn.Module:
        device = self._device or torch.device("cpu")
        if self.default is None:
            with torch.device("cpu"):
                return self._build(self._hyperparameters).to(device, self._dtype)
        config = self._read_config() if self._is_built_in else self._hyperparameters
        file = checkpoint.TensorFile(hub.find_weights(self._location, self.stem, self._config_file))
        config = self._fitted(config, file.shapes)
        with torch.device("meta"):
            network = self._build(config)
        known = checkpoint.recognise(file, self.formats, self.name)
        checkpoint.fill(network, file, known, config, {"device": device, "dtype": self._dtype or torch.float32})
        self._adopt(config)
        return network.to(device)  # the constants; the weights are there already

    def _adopt(self, config: ConfigT) -> None:
        """Follow the config that came with the weights, and say so if it is not the one built in."""
        before, self._config = self._config, config
        if self._is_built_in and before != config:
            warnings.warn(
                f"{self.name}: {self.source} holds {config}, not {before} as built in; what was computed from the "
                "facts before loading may not hold",
                stacklevel=2,
            )
