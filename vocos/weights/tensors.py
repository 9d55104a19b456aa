"""Files of tensors, read as data and never as code: safetensors, and the pickles of older public checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from vocos.errors import CheckpointError
from vocos.weights.configs import parse_config
from vocos.weights.opcodes import Built, Refused
from vocos.weights.pickles import Checkpoint, Damaged, Stored
from vocos.weights.shards import parts_of, weight_map

NUMBERS = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
# Keys under which training programs keep the state dict: most; audiocraft; YuE; others. Some nest two of them.
STATES = ("state_dict", "best_state", "codec_model", "model", "generator")
MAX_DEPTH = 3
POINTER = "pretrained"  # key under which a file of audiocraft names other weights and holds none itself
REBUILT = "torch._utils _rebuild"


class TensorFile:
    """Named tensors in a file.

    Attributes:
        path: path of the file.
        shapes: shape of every tensor, by name.
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
            CheckpointError: if the tensor is not floating-point, or cannot be read.
        """
        tensor = self._read(name)
        if tensor.dtype not in NUMBERS:
            raise CheckpointError(f"{self.path}: {name} holds {tensor.dtype}, expected floating-point numbers")
        return tensor

    def _read(self, name: str) -> Tensor:
        raise NotImplementedError


OTHER_FILES = {  # by their first bytes; none is the start of a safetensors header or of a pickle
    b"version https://git-lfs": "a Git LFS pointer in the place of the file that `git lfs pull` brings",
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"RIFF": "audio",
    b"fLaC": "audio",
    b"OggS": "audio",
}


def open_tensors(path: Path) -> TensorFile:
    """Open a file of tensors, whatever its ending, or the index (`.json`) of several shards.

    Raises:
        CheckpointError: if it is damaged, or neither safetensors nor a pickle of tensors.
    """
    if path.suffix == ".json":
        return _Shards(path)
    with path.open("rb") as stream:
        start = stream.read(max(map(len, OTHER_FILES)))
    if other := next((what for mark, what in OTHER_FILES.items() if start.startswith(mark)), None):
        raise CheckpointError(f"{path}: this is {other}, expected a file of tensors")
    is_pickle = start[8:9] != b"{" and (start.startswith((b"PK\x03\x04", b"\x80")))
    return _PickleFile(path) if is_pickle else _SafetensorsFile(path)


class _SafetensorsFile(TensorFile):
    """A safetensors file, mapped anew for each tensor, so that the memory of tensors already read is released."""

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
            try:
                tensor: Tensor = file.get_tensor(name)
            except AttributeError as error:  # a type that this PyTorch does not have
                raise CheckpointError(
                    f"{self.path}: {name} cannot be read by torch {torch.__version__}: {error}"
                ) from error
            return tensor


class _PickleFile(TensorFile):
    """A pickled state dict, bare or nested under one of the keys in `STATES`, and the config that may lie beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = {}
        with self._translated():
            self._file = Checkpoint(path)
        content = self._file.content
        if isinstance(content, dict) and isinstance(content.get(POINTER), str):
            raise CheckpointError(
                f"{path}: holds no weights, it points to others: give weights={content[POINTER][:200]!r} instead"
            )
        self.config = _attached(content, path)
        state = _state(content)
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: expected a state dict, got a {type(state).__name__}")
        for name, value in state.items():
            if isinstance(value, Built) and value.name.startswith(REBUILT):
                kind = value.name.removeprefix(REBUILT).replace("_", " ").strip()
                raise CheckpointError(f"{path}: {name} is a {kind}, expected a plain tensor with its numbers")
        self._tensors = {str(name): value for name, value in state.items() if isinstance(value, Stored)}
        self.shapes = {name: tensor.shape for name, tensor in self._tensors.items()}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            raise CheckpointError(
                f"{self.path}: {error}; a checkpoint may hold tensors, numbers and strings only"
            ) from error
        except MemoryError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            reason = str(error) if isinstance(error, Damaged) else type(error).__name__
            raise CheckpointError(
                f"{self.path}: not a complete checkpoint ({reason[:200]}); download or copy it again"
            ) from error

    def _read(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        if not tensor.fits():
            raise CheckpointError(f"{self.path}: {name} has more elements than the file holds")
        with self._translated():
            return self._file.read(tensor)


def _state(content: Any) -> Any:
    """The state dict inside what a training program saved."""
    for _ in range(MAX_DEPTH):
        if not isinstance(content, dict):
            break
        inner = next((name for name in STATES if name in content and not isinstance(content[name], Stored)), None)
        if inner is None:
            break
        content = content[inner]
    return content


def _attached(content: Any, path: Path) -> Mapping[str, Any] | None:
    """The hyperparameters beside the tensors: of Descript, of stable-audio-tools, or of audiocraft as YAML."""
    if not isinstance(content, dict):
        return None
    metadata = content.get("metadata")
    kwargs = metadata.get("kwargs") if isinstance(metadata, dict) else None
    for config in (kwargs, content.get("model_config"), content.get("xp.cfg")):
        if isinstance(config, dict):
            return config
        if isinstance(config, str):
            return parse_config(config, f"{path}: its config", is_yaml=True)
    return None


class _Shards(TensorFile):
    """The tensors of several shards; an index says which shard holds which tensor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = {}
        places = weight_map(path)
        files = {name: self._opened(name) for name in parts_of(path)}
        for tensor, name in places.items():
            if tensor not in files[name].shapes:
                raise CheckpointError(f"{path}: {tensor} is not in {name}")
        unlisted = sorted({tensor for file in files.values() for tensor in file.shapes} - places.keys())
        if unlisted:
            raise CheckpointError(f"{path}: does not list {unlisted[0]}, which a file beside it has")
        self._files = {tensor: files[name] for tensor, name in places.items()}
        self.shapes = {tensor: file.shapes[tensor] for tensor, file in self._files.items()}
        self.config = next((file.config for file in files.values() if file.config), None)

    def _opened(self, name: str) -> TensorFile:
        if not (self.path.parent / name).is_file():
            raise CheckpointError(f"{self.path}: there is no {name} beside it")
        return open_tensors(self.path.parent / name)

    def _read(self, name: str) -> Tensor:
        return self._files[name].read(name)


class Section(TensorFile):
    """The tensors of a file whose names begin with a prefix, under the rest of their names."""

    def __init__(self, file: TensorFile, prefix: str) -> None:
        self.path, self.metadata, self.config = file.path, file.metadata, file.config
        self._file, self._prefix = file, prefix
        self.shapes = {k.removeprefix(prefix): shape for k, shape in file.shapes.items() if k.startswith(prefix)}

    def _read(self, name: str) -> Tensor:
        return self._file.read(self._prefix + name)
