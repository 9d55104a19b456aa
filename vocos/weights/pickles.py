"""Files of `torch.save`, old and new: where in the file each tensor lies, and its numbers, mapped from there.

    zip         NAME/data.pkl     a pickle; of a storage it says the key, the type and the number of elements
                NAME/data/KEY     the bytes of a storage, stored as they are
    the oldest  five pickles: magic number, version, byte order, the content, the keys of the storages;
                then for every key the number of elements, int64, and the bytes

Nothing is unpickled (see `opcodes`), and nothing is allocated that a file only claims to have.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from vocos.weights.opcodes import Named, Names, parse, unmade

MAGIC_NUMBER, VERSION = 0x1950A86A20F9469CFC6C, 1001
HEAD_BYTES = 1 << 24  # of a pickle with all its names; real ones have less than one MB
LOCAL_HEADER = struct.Struct(
    "<4s2xHH16xHH"
)  # of a record of a zip: signature, flags, method, lengths of name and extra
IS_ENCRYPTED = 1

_STORAGES = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64"}
_STORAGES |= {"Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool"}
_STORAGES |= {"ComplexFloat": "complex64", "ComplexDouble": "complex128"}
_NUMBERS = {name: kind for name in dir(torch) if isinstance(kind := getattr(torch, name), torch.dtype)}
DTYPES: dict[str, torch.dtype] = {f"torch {name}Storage": _NUMBERS[kind] for name, kind in _STORAGES.items()}
DTYPES |= {f"torch {name}": kind for name, kind in _NUMBERS.items()}
DTYPES["torch.storage UntypedStorage"] = torch.uint8


class Damaged(ValueError):
    """The file is damaged: it is not what was written."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: its key, type, number of elements, and the index of the first one that is used."""

    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor in the file: a view of a storage."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def fits(self) -> bool:
        """Whether the storage has so many elements, and all of those that the view is of."""
        size = self.storage.count * self.storage.dtype.itemsize // self.dtype.itemsize
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        return math.prod(self.shape) <= size and (0 in self.shape or 0 <= self.offset <= last < size)


class Place(NamedTuple):
    """First byte and size of a storage in the file, and its CRC-32, which is 0 if none is known."""

    start: int
    size: int
    checksum: int = 0


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Stored:
    """The tensor that `_rebuild_tensor` and `_rebuild_tensor_v2` describe."""
    numbers = (offset, *shape, *strides)
    if not (isinstance(storage, Storage) and len(shape) == len(strides)):
        raise Damaged("a tensor without a storage")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise Damaged("a tensor of a shape that is none")
    return Stored(storage, storage.dtype, storage.start + offset, tuple(shape), tuple(strides))


def _typed_tensor(storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any) -> Stored:
    found = _tensor(storage, offset, shape, strides)
    return Stored(found.storage, DTYPES[dtype.name], found.offset, found.shape, found.strides)


def _of_type(function: Named, kind: Any, arguments: Any, state: Any) -> Any:
    return NAMES[function.name](*arguments)


def _first(value: Any, *rest: Any) -> Any:
    return value


def _dictionary(*arguments: Any) -> Any:
    if arguments:  # a pickle could ask for as many copies as it likes
        raise Damaged("a dictionary of values elsewhere")
    return {}


_UNREAD = ["_sparse_tensor", "_sparse_csr_tensor", "_qtensor", "_nested_tensor", "_meta_tensor_no_storage"]
_UNREAD += ["_device_tensor_from_numpy", "_device_tensor_from_cpu_tensor", "_wrapper_subclass"]
_PLAIN = ["_codecs encode", "torch device", "torch Tensor"]
_PLAIN += [f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("bytearray", "set", "complex")]
_PLAIN += ["torch.nn.parameter Parameter", "torch.serialization _get_layout", "collections Counter"]
_PLAIN += [f"torch {name}" for name in dir(torch) if isinstance(getattr(torch, name), torch.qscheme)]
_PLAIN += [f"torch {name}Storage" for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")]
NAMES: Names = {
    **{name: unmade(name) for name in [*_PLAIN, *DTYPES, *(f"torch._utils _rebuild{kind}" for kind in _UNREAD)]},
    "collections OrderedDict": _dictionary,
    "torch Size": _first,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _typed_tensor,
    "torch._utils _rebuild_parameter": _first,
    "torch._utils _rebuild_parameter_with_state": _first,
    "torch._tensor _rebuild_from_type_v2": _of_type,
}


class Checkpoint:
    """The content of a file, with `Stored` in the place of every tensor.

    Raises:
        Refused: if the pickle names what no checkpoint needs.
        Exception: of any kind, if the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, Place] = {}
        self._checked: set[str] = set()
        with path.open("rb") as stream:
            is_zip = stream.read(2) == b"PK"
            stream.seek(0)
            self.content = self._zip_content(stream) if is_zip else self._old_content(stream)

    def _zip_content(self, stream: BinaryIO) -> Any:
        with zipfile.ZipFile(stream) as archive:
            records = archive.infolist()
        places = {record.filename: _place(stream, record) for record in records}
        roots = [name.removesuffix("data.pkl") for name in places if name.endswith("/data.pkl")]
        if len(places) < len(records) or len(roots) != 1:
            raise Damaged("a zip of other records than a checkpoint has")
        if _bytes(stream, places.get(f"{roots[0]}byteorder", Place(0, 0))) == b"big":
            raise Damaged("numbers in the byte order of other machines")
        self._places = {name.removeprefix(f"{roots[0]}data/"): place for name, place in places.items()}
        pickle = io.BytesIO(_bytes(stream, places[f"{roots[0]}data.pkl"]))
        return parse(pickle, NAMES, self._persistent(self._require))

    def _old_content(self, stream: BinaryIO) -> Any:
        found: dict[str, Storage] = {}
        head = io.BytesIO(stream.read(HEAD_BYTES))
        if parse(head, NAMES) != MAGIC_NUMBER or parse(head, NAMES) != VERSION:
            raise Damaged("a pickle that torch.save did not write")
        if parse(head, NAMES).get("little_endian") is not True:
            raise Damaged("numbers in the byte order of other machines")
        content = parse(head, NAMES, self._persistent(lambda storage: found.setdefault(storage.key, storage)))
        keys, position = parse(head, NAMES), head.tell()
        end = stream.seek(0, io.SEEK_END)
        for key in keys:
            stream.seek(position)
            (count,) = struct.unpack("<q", stream.read(8))
            self._places[key] = Place(position + 8, count * found[key].dtype.itemsize)
            position += 8 + self._places[key].size
            if count < 0 or position > end:
                raise Damaged("cut off")
        for storage in found.values():
            self._require(storage)
        return content

    def _persistent(self, use: Callable[[Storage], Any]) -> Callable[[Any], Storage]:
        def storage(mark: Any) -> Storage:
            word, kind, key, _, count, *view = mark
            if word != "storage" or type(count) is not int or count < 0:
                raise Damaged("something kept elsewhere that is no storage")
            if kind.name not in DTYPES:
                raise Damaged(f"numbers of the kind {kind.name!r}")
            whole = Storage(str(key), DTYPES[kind.name], count)
            use(whole)
            if view and view[0] is not None:
                return Storage(whole.key, whole.dtype, whole.count, int(view[0][1]))
            return whole

        return storage

    def _require(self, storage: Storage) -> None:
        place = self._places.get(storage.key)
        if place is None or place.size != storage.count * storage.dtype.itemsize:
            raise Damaged(f"{place.size if place else 'no'} bytes of {storage.count} numbers, {storage.dtype}")

    def read(self, tensor: Stored) -> Tensor:
        """The numbers, mapped anew from the file, so that the pages of what is dropped are given back.

        Raises:
            Damaged: if the file has changed, or they are not those that were written.
        """
        if 0 in tensor.shape:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        place = self._places[tensor.storage.key]
        with self.path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        if len(data) < place.start + place.size:
            raise Damaged("cut off since it was opened")
        if place.checksum and tensor.storage.key not in self._checked:
            with memoryview(data) as view, view[place.start : place.start + place.size] as record:
                if zlib.crc32(record) != place.checksum:
                    raise Damaged("other numbers than their checksum says")
            self._checked.add(tensor.storage.key)
        count = place.size // tensor.dtype.itemsize
        if place.start % tensor.dtype.itemsize:  # packed by another program
            row = torch.frombuffer(bytearray(data[place.start : place.start + place.size]), dtype=tensor.dtype)
        else:
            row = torch.frombuffer(data, dtype=tensor.dtype, count=count, offset=place.start)
        return row.as_strided(tensor.shape, tensor.strides, tensor.offset)


def _place(stream: BinaryIO, record: zipfile.ZipInfo) -> Place:
    """The place of a record of a zip file, which must be neither compressed nor encrypted."""
    stream.seek(record.header_offset)
    signature, flags, method, name, extra = LOCAL_HEADER.unpack(stream.read(LOCAL_HEADER.size))
    start = record.header_offset + LOCAL_HEADER.size + name + extra
    if record.compress_type or method or (record.flag_bits | flags) & IS_ENCRYPTED:
        raise Damaged(f"{record.filename} is packed; write the file again with torch.save")
    if signature != b"PK\x03\x04" or record.file_size != record.compress_size:
        raise Damaged(f"{record.filename} is not as long as it says")
    if stream.seek(0, io.SEEK_END) < start + record.file_size:
        raise Damaged("cut off")
    return Place(start, record.file_size, record.CRC)


def _bytes(stream: BinaryIO, place: Place) -> bytes:
    """All bytes of a small record."""
    if place.size > HEAD_BYTES:
        raise Damaged(f"a pickle of {place.size} bytes")
    stream.seek(place.start)
    data = stream.read(place.size)
    if place.checksum and zlib.crc32(data) != place.checksum:
        raise Damaged("other bytes than their checksum says")
    return data
