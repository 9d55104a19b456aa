"""Files of `torch.save`: the same numbers as torch reads, and what is refused before it costs memory."""

from __future__ import annotations

import _codecs
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vocos import CheckpointError
from vocos.weights.tensors import open_tensors

STATE: dict[str, Any] = OrderedDict(
    row=torch.arange(12.0),
    half=torch.arange(6).half(),
    brain=torch.arange(6).bfloat16().reshape(2, 3),
    double=torch.arange(6).double(),
    turned=torch.arange(12.0).reshape(3, 4).T,
    every_second=torch.arange(12.0)[1::2],
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 3),
    parameter=torch.nn.Parameter(torch.ones(2)),
    eighth=torch.ones(4).to(torch.float8_e4m3fn),
)
STATE["tied"] = STATE["row"].view(3, 4)


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def repacked(path: Path, change: Callable[[zipfile.ZipInfo, bytes], bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """The same records in a zip of another program."""
    target = path.with_name("repacked.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", method) as packed:
        for record in source.infolist():
            packed.writestr(record.filename, change(record, source.read(record)))
    return target


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        file = open_tensors(path)
        for name in file.shapes:
            file.read(name)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_tensor_is_what_torch_reads(is_zip: bool, protocol: int, tmp_path: Path) -> None:
    path = saved(STATE, tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    file = open_tensors(path)
    assert list(file.shapes) == list(STATE)
    for name, tensor in STATE.items():
        assert file.shapes[name] == tuple(tensor.shape)
        torch.testing.assert_close(file.read(name).float(), tensor.detach().float(), rtol=0, atol=0)


def test_zip_of_another_program_is_read_where_its_records_are_stored(tmp_path: Path) -> None:
    path = repacked(saved(STATE, tmp_path / "a.pth"), lambda record, data: data)  # no longer aligned
    file = open_tensors(path)
    for name, tensor in STATE.items():
        torch.testing.assert_close(file.read(name).float(), tensor.detach().float(), rtol=0, atol=0)


def test_checksums_that_were_never_computed_are_not_checked(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(STATE, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(open_tensors(path).read("row"), STATE["row"])


DAMAGES: dict[str, tuple[Callable[[zipfile.ZipInfo, bytes], bytes], int, str]] = {
    "compressed": (lambda record, data: data, zipfile.ZIP_DEFLATED, "is packed; write the file again with torch.save"),
    "cut": (lambda record, data: data[:-4] if "/data/" in record.filename else data, 0, r"44 bytes of 12 numbers"),
    "emptied": (lambda record, data: b"" if "/data/" in record.filename else data, 0, r"0 bytes of 12 numbers"),
    "longer": (lambda record, data: data + b"0000" if "/data/" in record.filename else data, 0, r"52 bytes of 12"),
    "big-endian": (lambda record, data: b"big" if "byteorder" in record.filename else data, 0, "byte order of other"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_records_that_are_not_what_was_written_are_refused(damage: str, tmp_path: Path) -> None:
    change, method, message = DAMAGES[damage]
    refused(repacked(saved(STATE, tmp_path / "a.pth"), change, method), message)


def test_changed_number_is_seen_by_its_checksum(tmp_path: Path) -> None:
    path = saved({"x": torch.full((1000,), 3.0)}, tmp_path / "a.pth")
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 3.0)) + 1] ^= 1
    path.write_bytes(data)
    refused(path, "other numbers than their checksum says")


def test_missing_record_is_refused(tmp_path: Path) -> None:
    path, target = saved(STATE, tmp_path / "a.pth"), tmp_path / "b.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as packed:
        for record in source.infolist():
            if not record.filename.endswith("/data/0"):
                packed.writestr(record.filename, source.read(record))
    refused(target, "no bytes of 12 numbers")


@pytest.mark.parametrize("size", [1, 100, 1000, -100, -10])
@pytest.mark.parametrize("is_zip", [True, False])
def test_file_that_was_cut_is_refused(size: int, is_zip: bool, tmp_path: Path) -> None:
    path = saved(STATE, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    path.write_bytes(path.read_bytes()[:size])
    refused(path, "not a complete checkpoint|not a complete safetensors file")


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("is_zip", [True, False])
def test_calls_that_ask_for_memory_get_none(is_zip: bool, tmp_path: Path) -> None:
    many = [Call(bytearray, 3 << 30) for _ in range(10)]
    path = saved({"x": torch.ones(2), "y": many}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    tracemalloc.start()
    try:
        assert torch.equal(open_tensors(path).read("x"), torch.ones(2))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_one_text_used_a_thousand_times_is_not_copied(tmp_path: Path) -> None:
    """Torch would make bytes of it each time: a gigabyte."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=2)
    text = "x" * (1 << 20)
    pickler.dump({"x": [Call(_codecs.encode, text, "latin1") for _ in range(1000)]})
    path = saved({}, tmp_path / "a.pth")
    path = repacked(path, lambda record, data: stream.getvalue() if record.filename.endswith(".pkl") else data)
    tracemalloc.start()
    try:
        assert open_tensors(path).shapes == {}
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:.*prototype stage:UserWarning", "ignore:.*beta state:UserWarning")
def test_tensors_that_are_not_plain_are_named(tmp_path: Path) -> None:
    others: dict[str, Tensor] = {
        "sparse tensor": torch.eye(3).to_sparse(),
        "nested tensor": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "meta tensor": torch.empty(3, device="meta"),
    }
    for kind, tensor in others.items():
        refused(
            saved({"odd": tensor}, tmp_path / "a.pth"), f"odd is a {kind}.*expected a plain tensor with its numbers"
        )


@pytest.mark.parametrize("view", ["expanded", "past the end", "huge"])
def test_views_of_more_than_there_is_are_refused(view: str, tmp_path: Path) -> None:
    shape, strides, offset = {
        "expanded": ((1 << 40,), (0,), 0),
        "past the end": ((4,), (4,), 0),
        "huge": ((4,), (1,), 1 << 62),
    }[view]
    path = saved({"x": torch.ones(12).as_strided((3,), (1,), 1)}, tmp_path / "a.pth")
    content = {"x": Call(torch._utils._rebuild_tensor_v2, "STORAGE", offset, shape, strides, False, OrderedDict())}
    stream = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 12) if value == "STORAGE" else None

    Pickler(stream, protocol=2).dump(content)
    path = repacked(path, lambda record, data: stream.getvalue() if record.filename.endswith(".pkl") else data)
    refused(path, "x has more elements than the file holds")


def test_state_is_found_where_training_programs_keep_it(tmp_path: Path) -> None:
    state = {"x": torch.ones(2)}
    for content in (
        {"state_dict": state, "epoch": 3},
        {"best_state": {"model": state}, "history": []},
        {"codec_model": state},
        {"model": state, "optimizer": {"state": {}}},
        {"generator": state},
    ):
        assert list(open_tensors(saved(content, tmp_path / "a.pth")).shapes) == ["x"]


def test_file_that_points_to_other_weights_says_which(tmp_path: Path) -> None:
    path = saved({"pretrained": "facebook/encodec_32khz", "exported": True}, tmp_path / "a.bin")
    refused(path, "holds no weights, it points to others: give weights='facebook/encodec_32khz' instead")


@pytest.mark.parametrize("content", [[], 3, {"state_dict": 3}, torch.ones(2)])
def test_file_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    refused(saved(content, tmp_path / "a.pth"), "expected a state dict")
