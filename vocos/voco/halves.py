"""A codec that is read and held by half: the encoder or the decoder alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.voco.lazy import LazyModule
from vocos.weights.formats import HALVES


class HalvableModule(LazyModule):
    """A lazy module whose network may go without the modules of one direction.

    Attributes:
        name: for messages.
        halves: which attributes of the network only the "encoder" needs, which only the "decoder"; the rest is both's.
            The networks of some configs may lack some. None if the codec does not say: then it cannot be halved.
        weightless: those of the two that have no weights, and so need no file.
    """

    halves: ClassVar[Mapping[str, tuple[str, ...]] | None] = None
    weightless: ClassVar[tuple[str, ...]] = ()
    name: str
    _part: str | None = None

    @property
    def part(self) -> str | None:
        """The half that is read and held, "encoder" or "decoder"; None for both."""
        return self._part

    @property
    def _left_out(self) -> tuple[str, ...]:
        """Attributes of the network that this half does without."""
        paths = (self.halves or {}).items()
        return tuple(path for half, its in paths if self._part not in (None, half) for path in its)

    def _keep_only(self, part: str) -> None:
        """Be one half from now on; for a module that is not loaded yet."""
        if part not in HALVES:
            raise InvalidInput(f"get_voco: expected part as 'encoder' or 'decoder', got {part!r}")
        if self.halves is None:
            raise UnsupportedOperation(
                f"get_voco: {self.name} does not say which weights each half of it needs; leave part={part!r} out"
            )
        self._part = part

    def _require(self, half: str, call: str) -> None:
        """Raise UnsupportedOperation if a call needs a half that is not there."""
        if self._part not in (None, half):
            raise UnsupportedOperation(
                f"{call}: this needs the {half}, and {self.name} was asked for with part={self._part!r}; "
                f"get_voco({self.name!r}) has both halves"
            )

    def _halved(self, network: nn.Module) -> nn.Module:
        """The network without what is left out."""
        for path in self._left_out:
            if hasattr(network, path):
                setattr(network, path, None)
        return network
