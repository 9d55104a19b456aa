"""The files that shards are: safetensors, tars for WebDataset, parquet; each written from the first byte to the last.

What an item has is two-dimensional, `[frames, size]`, one tensor of each name; the first comes in pieces, the others
are small.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from vocos.errors import InvalidInput, UnsupportedOperation

DTYPES = {  # by the name in an index: that of safetensors, that of numpy, that of torch
    "float32": ("F32", "<f4", torch.float32),
    "float16": ("F16", "<f2", torch.float16),
    "bfloat16": ("BF16", None, torch.bfloat16),
    "uint8": ("U8", "|u1", torch.uint8),
    "int16": ("I16", "<i2", torch.int16),
    "int32": ("I32", "<i4", torch.int32),
}
NAMES = {dtype: name for name, (_, _, dtype) in DTYPES.items()}
COPIED = 1 << 20
ROW_GROUP = 64 << 20  # bytes that a parquet file holds back, to be a group


class Hashed:
    """A file to be written, whose SHA-256 is known at the end.

    Attributes:
        n_bytes: how many have been written.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._digest, self.n_bytes, self.closed = stream, hashlib.sha256(), 0, False

    def write(self, data: Any) -> int:
        """Write the next bytes."""
        self._digest.update(data)
        count = self._stream.write(data)
        self.n_bytes += count
        return count

    def tell(self) -> int:
        """Where the next bytes come."""
        return self.n_bytes

    def flush(self) -> None:
        """Nothing: the file is."""

    def close(self) -> None:
        """Nothing: whoever opened it does."""

    @property
    def sha256(self) -> str:
        """Of what has been written, in hexadecimal."""
        return self._digest.hexdigest()


class Container(Protocol):
    """A shard that is written item by item.

    Attributes:
        ending: of its name.
    """

    ending: str

    def __init__(self, stream: Hashed, kind: str, folder: Path) -> None: ...

    def add(self, key: str, about: dict[str, Any], pieces: Iterable[Tensor], others: Mapping[str, Tensor]) -> None:
        """Write an item.

        Args:
            key: name that no other item of the dataset has, of letters, digits and "-".
            about: what the index says of it, its `id` among others. Gets `frames`, and where the item is.
            pieces: `[n, size]` each, of the tensor that the dataset is of, from the first to the last.
            others: further tensors, `[n, size]`; asked for when the pieces have come to their end.
        """

    def finish(self) -> None:
        """Write what is left."""


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, little-endian, as processors have them."""
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data.cast("B")


class Spool:
    """Pieces on the disk, without a name: what is left of them when the process is killed is nothing."""

    def __init__(self, folder: Path) -> None:
        self.stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the container
        self.n_bytes = 0

    def take(self, pieces: Iterable[Tensor]) -> tuple[int, int, str]:
        """Write the pieces of a tensor, all or nothing; gives their number of rows, size and type."""
        first, rows, size, dtype = self.n_bytes, 0, 0, ""
        try:
            for piece in pieces:
                self.n_bytes += self.stream.write(raw(piece))
                rows, size, dtype = rows + len(piece), piece.shape[1], NAMES[piece.dtype]
        except BaseException:
            self.stream.seek(first)
            self.stream.truncate()
            self.n_bytes = first
            raise
        return rows, size, dtype

    def give(self, stream: Hashed) -> None:
        """Write all to a file, and forget it."""
        self.stream.seek(0)
        shutil.copyfileobj(self.stream, stream, COPIED)
        self.stream.seek(0)
        self.stream.truncate()
        self.n_bytes = 0


class Safetensors:
    """A safetensors file with a tensor for each item, such as `latents/ID`, in one piece each."""

    ending = ".safetensors"

    def __init__(self, stream: Hashed, kind: str, folder: Path) -> None:
        """To be written to a file; `kind` is "latents" or "codes", `folder` is for temporary files."""
        self._kind = kind
        self._stream, self._body = stream, Spool(folder)
        self._tensors: dict[str, dict[str, Any]] = {}
        self._abouts: list[dict[str, Any]] = []

    def add(self, key: str, about: dict[str, Any], pieces: Iterable[Tensor], others: Mapping[str, Tensor]) -> None:
        """As of `Container`."""
        start = self._body.n_bytes
        rows, size, dtype = self._body.take(pieces)
        name = about["id"]
        self._tensors[f"{self._kind}/{name}"] = self._entry(dtype, rows, size, start)
        about |= {"frames": rows, "offset": start}
        for kind, tensor in others.items():
            start = self._body.n_bytes
            rows, size, dtype = self._body.take([tensor])
            self._tensors[f"{kind}/{name}"] = self._entry(dtype, rows, size, start)
            about[kind] = [start, rows, size, dtype]
        self._abouts.append(about)

    def _entry(self, dtype: str, rows: int, size: int, start: int) -> dict[str, Any]:
        return {"dtype": DTYPES[dtype][0], "shape": [rows, size], "data_offsets": [start, self._body.n_bytes]}

    def finish(self) -> None:
        """As of `Container`."""
        text = json.dumps(self._tensors, separators=(",", ":"), ensure_ascii=True).encode("ascii")
        text = text.ljust(-(-len(text) // 8) * 8)
        self._stream.write(len(text).to_bytes(8, "little") + text)
        for about in self._abouts:
            about["offset"] += self._stream.n_bytes
            if "scales" in about:
                about["scales"][0] += self._stream.n_bytes
        self._body.give(self._stream)
        self._body.stream.close()


class WebDataset:
    """A tar of samples `KEY.latents.npy` (or `.codes.npy`, `.scales.npy`) and `KEY.json`."""

    ending = ".tar"

    def __init__(self, stream: Hashed, kind: str, folder: Path) -> None:
        """To be written to a file; `kind` is "latents" or "codes", `folder` is for temporary files."""
        self._kind = kind
        self._stream, self._body = stream, Spool(folder)
        self._tar = tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT)  # type: ignore[call-overload]  # noqa: SIM115

    def add(self, key: str, about: dict[str, Any], pieces: Iterable[Tensor], others: Mapping[str, Tensor]) -> None:
        """As of `Container`."""
        rows, size, dtype = self._body.take(pieces)
        told = dict(about)
        about |= {"frames": rows, "offset": self._npy(f"{key}.{self._kind}.npy", rows, size, dtype)}
        for kind, tensor in others.items():
            rows, size, dtype = self._body.take([tensor])
            about[kind] = [self._npy(f"{key}.{kind}.npy", rows, size, dtype), rows, size, dtype]
        text = json.dumps({**told, "frames": about["frames"]}, ensure_ascii=True).encode("ascii")
        self._file(f"{key}.json", len(text), io.BytesIO(text))

    def _npy(self, name: str, rows: int, size: int, dtype: str) -> int:
        """A file of numpy with what is in the body; gives where its numbers begin."""
        header = io.BytesIO()
        told = {"descr": DTYPES[dtype][1], "fortran_order": False, "shape": (rows, size)}
        np.lib.format.write_array_header_1_0(header, told)
        n_bytes = len(header.getvalue()) + self._body.n_bytes
        self._body.stream.seek(0)
        self._file(name, n_bytes, _Joined(io.BytesIO(header.getvalue()), self._body.stream))
        self._body.stream.seek(0)
        self._body.stream.truncate()
        end = self._tar.offset  # of the file and what it is completed with to a whole block
        self._body.n_bytes = 0
        return end - math.ceil(n_bytes / tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE + len(header.getvalue())

    def _file(self, name: str, size: int, stream: Any) -> None:
        info = tarfile.TarInfo(name)  # with no time, owner or machine
        info.size = size
        self._tar.addfile(info, stream)

    def finish(self) -> None:
        """As of `Container`."""
        self._tar.close()
        self._body.stream.close()


class _Joined:
    """Two files as one, to be read once."""

    def __init__(self, *streams: Any) -> None:
        self._streams = list(streams)

    def read(self, count: int) -> bytes:
        """So many bytes, or fewer at the end."""
        data = b""
        while self._streams and len(data) < count:
            more = self._streams[0].read(count - len(data))
            if not more:
                self._streams.pop(0)
            data += more
        return data


class Parquet:
    """A parquet file with a row for each item; the numbers are one binary column, `data`. Needs pyarrow."""

    ending = ".parquet"

    def __init__(self, stream: Hashed, kind: str, folder: Path) -> None:
        """To be written to a file; `kind` is "latents" or "codes", `folder` is for temporary files."""
        self._kind = kind
        pyarrow = pyarrow_of("parquet shards")
        self._arrow, self._held = pyarrow, 0
        self._rows: list[dict[str, Any]] = []
        texts = ("id", "kind", "dtype", "about")
        numbers = ("frames", "size", "samples")
        self._schema = pyarrow.schema(
            [(name, pyarrow.string()) for name in texts]
            + [(name, pyarrow.int64()) for name in numbers]
            + [("data", pyarrow.large_binary()), ("scales", pyarrow.list_(pyarrow.float32()))]
        )
        self._groups = 0
        self._writer = pyarrow.parquet.ParquetWriter(
            stream, self._schema, compression="none", use_dictionary=False, write_statistics=False
        )

    def add(self, key: str, about: dict[str, Any], pieces: Iterable[Tensor], others: Mapping[str, Tensor]) -> None:
        """As of `Container`; the item is held in memory."""
        held, rows, size, dtype = [], 0, 0, ""
        for piece in pieces:
            held.append(bytes(raw(piece)))
            rows, size, dtype = rows + len(piece), piece.shape[1], NAMES[piece.dtype]
        scales = others["scales"].flatten().tolist() if "scales" in others else None
        told = json.dumps({"columns": about.get("columns", {}), "notes": about.get("notes", [])}, ensure_ascii=True)
        about |= {"frames": rows, "row": [self._groups, len(self._rows)]}
        row = {"id": about["id"], "kind": self._kind, "dtype": dtype, "about": told, "scales": scales}
        row |= {"frames": rows, "size": size, "samples": about["samples"], "data": b"".join(held)}
        self._rows.append(row)
        self._held += len(row["data"])
        if self._held >= ROW_GROUP:
            self._put()

    def _put(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._held, self._groups = [], 0, self._groups + 1

    def finish(self) -> None:
        """As of `Container`."""
        if self._rows:
            self._put()
        self._writer.close()


def pyarrow_of(what: str) -> Any:
    """The package pyarrow. Raises UnsupportedOperation, telling how to install it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnsupportedOperation(f"{what} need pyarrow: pip install 'vocos[parquet]'") from error
    return pyarrow


CONTAINERS: dict[str, type[Container]] = {"shards": Safetensors, "webdataset": WebDataset, "parquet": Parquet}


def check(to: str, dtype: str) -> None:
    """Raise InvalidInput or UnsupportedOperation if shards of a format cannot hold numbers of a type."""
    if to == "webdataset" and DTYPES[dtype][1] is None:
        raise InvalidInput(f"--to webdataset: .npy files have no {dtype}; take float16 or float32, or --to shards")
    if to == "parquet":
        pyarrow_of("parquet shards")
