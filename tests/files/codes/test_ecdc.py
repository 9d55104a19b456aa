"""EnCodec's `.ecdc` files, written by EnCodec itself.

`files/encodec-ecdc.npz` was made with PyPI's encodec 0.1.1: `compress(model, audio, use_lm=False)` of noise, by the
24 kHz model at 1.5 kbps and the 48 kHz model at 3 kbps, with random weights, at the lengths in the names; `_codes` and
`_scales` are what `model.encode` gave. The goldens have files of the newer, unreleased version, by small models.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from vocos import CheckpointError, InvalidInput, ScaledCodes, UnsupportedOperation, get_voco, load_codes, save_codes

with np.load(Path(__file__).parent / "files" / "encodec-ecdc.npz") as stored:
    THEIRS = dict(stored)
CLIPS = [name.removesuffix("_bytes") for name in THEIRS if name.endswith("_bytes")]


def ecdc(payload: bytes = b"", version: int = 0, **header: Any) -> bytes:
    """A file with a header of 100 samples by two codebooks, unless it says otherwise."""
    text = json.dumps({"m": "encodec_24khz", "al": 100, "nc": 2, "lm": False, **header}).encode()
    return b"ECDC" + struct.pack(">BI", version, len(text)) + text + payload


def plain(codes: Any) -> Tensor:
    return codes.codes if isinstance(codes, ScaledCodes) else codes


@pytest.mark.parametrize("clip", CLIPS)
def test_files_of_encodec_are_read_exactly_and_written_bit_for_bit(clip: str, tmp_path: Path) -> None:
    data = THEIRS[f"{clip}_bytes"].tobytes()
    (tmp_path / "a.ecdc").write_bytes(data)
    found = load_codes(tmp_path / "a.ecdc")
    name, samples = clip.split("_")
    assert (found.codec, found.samples) == (f"encodec_{name}", int(samples))
    assert np.array_equal(plain(found.codes), THEIRS[f"{clip}_codes"])
    if name == "48khz":
        assert np.array_equal(found.codes.scales, THEIRS[f"{clip}_scales"].reshape(1, -1))
    assert found.codec is not None
    save_codes(tmp_path / "b.ecdc", found.codes, get_voco(found.codec), found.samples)
    assert (tmp_path / "b.ecdc").read_bytes() == data


@pytest.mark.parametrize("rate", [24, 48])
@pytest.mark.parametrize("case", ["main", "short", "one"])
def test_goldens_are_read_and_written_bit_for_bit(
    rate: int, case: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    meta, arrays = golden(f"original-encodec_{rate}khz-small")
    voco = get_voco(f"encodec_{rate}khz", weights=folder(f"original-encodec_{rate}khz"))
    data = arrays[f"{case}__ecdc"].tobytes()
    (tmp_path / "a.ecdc").write_bytes(data)
    found = load_codes(tmp_path / "a.ecdc", voco)
    chunks = [arrays[name] for name in arrays if name.startswith(f"{case}__codes")]
    codes = torch.from_numpy(np.concatenate(chunks, axis=2)).transpose(1, 2)[..., :4]
    assert torch.equal(plain(found.codes), codes.long())
    assert found.samples == meta["cases"][case]["n_samples"]
    save_codes(tmp_path / "b.ecdc", found.codes, voco, found.samples)
    assert (tmp_path / "b.ecdc").read_bytes() == data
    bandwidth = "bw1.8" if rate == 24 else "bw0.36"
    expected = torch.from_numpy(arrays[f"{case}__audio_{bandwidth}"])[:, : found.samples]
    assert torch.allclose(found.decode(voco), expected, atol=1e-4, rtol=1e-4)


def test_codes_of_the_vocos_decoder_are_those_of_encodec(tmp_path: Path) -> None:
    save_codes(tmp_path / "a.ecdc", torch.arange(8).reshape(1, 4, 2), get_voco("encodec"), 1279)
    assert b'{"m": "encodec_24khz", "al": 1279, "nc": 2, "lm": false}' in (tmp_path / "a.ecdc").read_bytes()
    found = load_codes(tmp_path / "a.ecdc", get_voco("encodec"))
    assert torch.equal(found.codes, torch.arange(8).reshape(1, 4, 2))


def test_codecs_without_a_name_there_are_refused(tmp_path: Path) -> None:
    for name in ("dac", "encodec_32khz"):
        with pytest.raises(InvalidInput, match=f"holds codes of encodec, encodec_24khz, encodec_48khz, not of {name}"):
            save_codes(tmp_path / "a.ecdc", torch.zeros(1, 3, 2).long(), get_voco(name))
    assert not list(tmp_path.iterdir())


def test_length_that_does_not_tell_the_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="640 samples have 2 frames in an .ecdc file, these codes have 3"):
        save_codes(tmp_path / "a.ecdc", torch.zeros(1, 3, 2).long(), get_voco("encodec_24khz"), 640)


WRONG = {
    "cut in its codes": (ecdc(b"\0\0"), "cut off"),
    "too long": (ecdc(b"\0\0\0\0"), "longer than its header says, expected 3 bytes of codes, got 4"),
    "huge": (ecdc(al=1 << 47), "cut off"),
    "huge of 48 kHz": (ecdc(m="encodec_48khz", al=1 << 47), "cut off"),
    "huger": (ecdc(al=1 << 100), "not an .ecdc file"),
    "books": (ecdc(b"\0" * 3, nc=1 << 30), "cut off"),
    "no samples": (ecdc(al=0), "not an .ecdc file"),
    "books as text": (ecdc(nc="2"), "not an .ecdc file"),
    "books as a fraction": (ecdc(nc=2.5), "not an .ecdc file"),
    "model": (ecdc(m="encodec_96khz"), "model 'encodec_96khz'"),
    "model as a list": (ecdc(m=[]), "not an .ecdc file"),
    "version": (ecdc(version=1), "version 1"),
    "no header": (b"ECDC\0", "not an .ecdc file"),
    "header cut": (ecdc()[:20], "not an .ecdc file"),
    "header is a list": (b"ECDC\0\0\0\0\2[]", "not an .ecdc file"),
    "header is deep": (b"ECDC\0\0\1\0\0" + b"[" * 65536, "not an .ecdc file"),
    "scale is none": (ecdc(b"\xff" * 7, m="encodec_48khz"), "out of range"),
}


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG)
def test_damaged_file_is_an_error(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.ecdc").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        load_codes(tmp_path / "a.ecdc")


def test_codes_beyond_the_books_are_an_error(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Of 1024 entries and 10 bits none can be; of 1000 some can."""
    meta, _ = golden("original-encodec_24khz-small")
    assert meta["config"]["bins"] == 64
    voco = get_voco("encodec_24khz", weights=folder("original-encodec_24khz"))
    object.__setattr__(voco.hyperparameters, "codebook_size", 60)
    (tmp_path / "a.ecdc").write_bytes(ecdc(b"\xff\xff"))
    with pytest.raises(CheckpointError, match="out of range"):
        load_codes(tmp_path / "a.ecdc", voco)


def test_language_model_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.ecdc").write_bytes(ecdc(b"\0\0\0", lm=True))
    with pytest.raises(UnsupportedOperation, match="coded by EnCodec's language model, .* without --lm"):
        load_codes(tmp_path / "a.ecdc")


@given(st.binary(max_size=200), st.sampled_from(CLIPS), st.integers(0, 600))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spoilt_files_give_codes_in_range_or_an_error(tmp_path: Path, data: bytes, clip: str, position: int) -> None:
    original = THEIRS[f"{clip}_bytes"].tobytes()
    (tmp_path / "a.ecdc").write_bytes(original[:position] + data + original[position + len(data) :])
    try:
        found = load_codes(tmp_path / "a.ecdc")
    except (CheckpointError, UnsupportedOperation):
        return
    assert 0 <= int(plain(found.codes).min()) <= int(plain(found.codes).max()) < 1024
