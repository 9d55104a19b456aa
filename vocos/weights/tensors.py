"""Files of tensors, read as data and never as code: safetensors, and the pickles of older public checkpoints."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from vocos.errors import CheckpointError


class TensorFile:
    """Named tensors in a file.

    Attributes:
        path: of the file.
        shapes: of every tensor, by name.
        metadata: strings that the writer attached.
        config: hyperparameters that the writer attached, None if there are none.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] | None = None

    def read(self, name: str) -> Tensor:
        """One floating-point tensor, a view of the mapped file where the format allows.

        Raises:
            CheckpointError: if it is not one, or cannot be read.
        """
        tensor = self._read(name)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{self.path}: {name} holds {tensor.dtype}, expected floating-point numbers")
        return tensor

    def _read(self, name: str) -> Tensor:
        raise NotImplementedError


def open_tensors(path: Path) -> TensorFile:
    """Open a file of tensors, whatever its name.

    Raises:
        CheckpointError: if it is damaged, or neither safetensors nor a pickle of tensors.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    is_pickle = start[8:9] != b"{" and (start.startswith((b"PK\x03\x04", b"\x80")))
    return _PickleFile(path) if is_pickle else _SafetensorsFile(path)


class _SafetensorsFile(TensorFile):
    """Mapped into memory anew for each tensor, so that the pages of those already copied or folded are given back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self.metadata = file.metadata() or {}
            names: list[str] = file.keys()
            self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with safetensors.safe_open(str(self.path), framework="pt", device="cpu") as file:
                yield file
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{self.path}: not a complete safetensors file ({str(error)[:200]}); download or copy it again"
            ) from error

    def _read(self, name: str) -> Tensor:
        with self._open() as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


class _PickleFile(TensorFile):
    """A state dict, bare or as `state_dict` beside `metadata`; mapped into memory unless it is of the oldest kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = {}
        content = self._content()
        if not isinstance(content, dict):
            raise CheckpointError(f"{path}: expected a state dict, got a {type(content).__name__}")
        state = content.get("state_dict", content.get("best_state", content))  # the latter as of audiocraft
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: expected a state dict, got a {type(state).__name__}")
        self._tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}
        attached = content.get("metadata")
        kwargs = attached.get("kwargs") if isinstance(attached, dict) else None
        self.config = kwargs if isinstance(kwargs, dict) else None

    def _content(self) -> Any:
        try:
            with self.path.open("rb") as stream:
                is_mapped = stream.read(2) == b"PK"
            return torch.load(self.path, map_location="cpu", weights_only=True, mmap=is_mapped)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{self.path}: refused, for reading it would run code of its own ({str(error).splitlines()[0]}); a "
                "checkpoint may hold tensors, numbers and strings only"
            ) from error
        except MemoryError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            raise CheckpointError(
                f"{self.path}: not a complete checkpoint ({type(error).__name__}); download or copy it again"
            ) from error

    def _read(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        if tensor.is_meta:
            raise CheckpointError(f"{self.path}: {name} was saved without its numbers, on the meta device")
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{self.path}: {name} has more elements than the file holds")
        return tensor


class Section(TensorFile):
    """The tensors of a file whose names begin with a prefix, under the rest of their names."""

    def __init__(self, file: TensorFile, prefix: str) -> None:
        self.path, self.metadata, self.config = file.path, file.metadata, file.config
        self._file, self._prefix = file, prefix
        self.shapes = {k.removeprefix(prefix): shape for k, shape in file.shapes.items() if k.startswith(prefix)}

    def _read(self, name: str) -> Tensor:
        return self._file.read(self._prefix + name)
