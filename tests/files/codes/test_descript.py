"""Descript's `.dac` files, written by descript-audio-codec itself, and pickles that would run code.

`files/descript-dac.npz` was made with descript-audio-codec 1.0.0 and the weights of the golden `dac-descript-small`:
`model.compress(signal, win_duration)` of a modulated tone in noise, `_bytes` its file, `_codes` what numpy reads in it,
`_audio` every eighth sample of `model.decompress`. `chunked` is longer than its window of 0.2 s, so without padding;
`stereo` is 20 dB quieter on its right; `resampled` was at 22050 Hz, and has 2 of the 4 codebooks.
"""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vocos import CheckpointError, InvalidInput, Voco, get_voco, load_codes, save_codes
from vocos.files.codes import DacCodesFile, levelled
from vocos.files.codes.loudness import loudness

with np.load(Path(__file__).parent / "files" / "descript-dac.npz") as stored:
    THEIRS = dict(stored)


@pytest.fixture
def voco(folder: Callable[[str], Path]) -> Voco[Any]:
    """The codec that the files are of."""
    return get_voco("dac", weights=folder("descript-dac"))


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[[str], Path]:
    """Writes one of the stored files."""

    def write(name: str) -> Path:
        path = tmp_path / f"{name}.dac"
        path.write_bytes(THEIRS[f"{name}_bytes"].tobytes())
        return path

    return write


def dac_file(codes: Any = None, **metadata: Any) -> bytes:
    """A file as numpy writes it, of 3 frames by 2 codebooks unless it says otherwise."""
    known = {
        "input_db": np.array([-20.0], np.float32),
        "original_length": 100,
        "sample_rate": 16000,
        "chunk_length": 3,
        "channels": 1,
        "padding": True,
        "dac_version": "1.0.0",
    }
    codes = np.ones((1, 2, 3), np.uint16) if codes is None else codes
    return numpy_file({"codes": codes, "metadata": {**known, **metadata}})


def numpy_file(content: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(content, dtype=object), allow_pickle=True)
    return stream.getvalue()


class TestTheirFiles:
    """What descript-audio-codec wrote."""

    @pytest.mark.parametrize("name", ["padded", "chunked", "stereo", "resampled"])
    def test_codes_are_read_exactly(self, name: str, voco: Voco[Any], theirs: Callable[[str], Path]) -> None:
        found = load_codes(theirs(name), voco)
        assert np.array_equal(found.codes.transpose(1, 2), THEIRS[f"{name}_codes"])
        assert found.codec is None

    # Measured: 9e-8, of peaks of 0.1
    @pytest.mark.parametrize(("name", "tolerance"), [("padded", 2e-6), ("chunked", 2e-6)])
    def test_sound_is_theirs(self, name: str, tolerance: float, voco: Voco[Any], theirs: Callable[[str], Path]) -> None:
        sound = load_codes(theirs(name), voco).decode(voco)
        assert np.abs(sound[0, ::8].numpy() - THEIRS[f"{name}_audio"]).max() < tolerance

    def test_sound_comes_back_at_its_own_rate(self, voco: Voco[Any], theirs: Callable[[str], Path]) -> None:
        found = load_codes(theirs("resampled"), voco)
        sound = found.decode(voco)
        assert (found.sampling_rate, sound.shape) == (22050, (1, 4990, 1))
        reference = THEIRS["resampled_audio"]  # by another resampler
        assert np.abs(sound[0, ::8].numpy() - reference).max() < 0.1 * np.abs(reference).max()

    def test_channels_keep_their_balance(self, voco: Voco[Any], theirs: Callable[[str], Path]) -> None:
        """Theirs brings each channel to the loudness of both; ours both together, which is what it was."""
        found = load_codes(theirs("stereo"), voco)
        assert isinstance(found, DacCodesFile)
        sound = found.decode(voco)
        assert sound.shape == (1, 3001, 2)
        assert loudness(sound, 16000) == pytest.approx(found.loudness, abs=0.2)  # the cut end counts a little
        theirs_power, power = np.square(THEIRS["stereo_audio"]).mean(axis=0), sound[0].square().mean(dim=0)
        assert theirs_power[1] / theirs_power[0] > 0.5
        raw = voco.decode_codes(found.codes).square().mean(dim=1)[:, 0]
        assert power[1] / power[0] == pytest.approx(float(raw[1] / raw[0]), rel=0.05)

    def test_unpadded_decoder_is_that_of_the_golden(self, voco: Voco[Any]) -> None:
        _, arrays = golden("dac-descript-small")
        codes = torch.from_numpy(arrays["unpadded__codes"]).transpose(1, 2).long()
        tokens = DacCodesFile(codes, None, 16000, 3946, loudness=-20.0, chunk_frames=125, is_padded=False)
        sound = tokens.decode(voco)
        expected = torch.from_numpy(arrays["unpadded__audio_q"])
        gain = 10 ** ((-20.0 - loudness(expected, 16000)) / 20)
        assert torch.allclose(sound, expected * gain, atol=2e-5)


class TestOurFiles:
    """What we write is what numpy reads, as their reader does."""

    def test_file_is_what_their_reader_expects(self, voco: Voco[Any], tmp_path: Path) -> None:
        codes = voco.encode_codes(torch.rand(1, 5003, 1) - 0.5)
        save_codes(tmp_path / "a.dac", codes, voco, 5003, loudness=-23.5)
        content = np.load(tmp_path / "a.dac", allow_pickle=True)[()]
        assert content["codes"].dtype == np.uint16
        assert np.array_equal(content["codes"], codes.transpose(1, 2))
        expected = np.load(io.BytesIO(THEIRS["padded_bytes"].tobytes()), allow_pickle=True)[()]["metadata"]
        assert {key: type(value) for key, value in content["metadata"].items()} == {
            key: type(value) for key, value in expected.items()
        }
        assert content["metadata"]["input_db"].dtype == np.float32
        assert content["metadata"] == {
            "input_db": np.array([-23.5], np.float32),
            "original_length": 5003,
            "sample_rate": 16000,
            "chunk_length": 126,
            "channels": 1,
            "padding": True,
            "dac_version": "1.0.0",
        }
        found = load_codes(tmp_path / "a.dac", voco)
        assert torch.equal(found.codes, codes)
        assert loudness(found.decode(voco), 16000) == pytest.approx(-23.5, abs=0.2)

    def test_loudness_is_measured_unless_told(self, voco: Voco[Any], tmp_path: Path) -> None:
        codes = voco.encode_codes(torch.rand(1, 5000, 1) - 0.5)
        save_codes(tmp_path / "a.dac", codes, voco, 5000)
        assert torch.allclose(load_codes(tmp_path / "a.dac").decode(voco), voco.decode_codes(codes, 5000), atol=1e-5)

    def test_encoded_sound_is_as_loud_as_the_format_says(self) -> None:
        quiet = 0.01 * torch.sin(torch.arange(16000) / 5)[None, :, None]
        sound, level = levelled(quiet, 16000)
        assert level == pytest.approx(loudness(quiet, 16000))
        assert loudness(sound, 16000) == pytest.approx(-16.0, abs=1e-3)
        click = torch.zeros(1, 16000, 1)
        click[0, ::4000] = 0.5
        assert float(levelled(click, 16000)[0].abs().max()) == pytest.approx(1.0)

    def test_only_dac_has_such_files(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="holds codes of dac and its siblings, not of encodec_24khz"):
            save_codes(tmp_path / "a.dac", torch.zeros(1, 3, 2).long(), get_voco("encodec_24khz"))
        with pytest.raises(InvalidInput, match="only a .dac file says the loudness, a.codes does not"):
            save_codes(tmp_path / "a.codes", torch.zeros(1, 3, 2).long(), get_voco("dac"), loudness=-20.0)
        (tmp_path / "a.dac").write_bytes(dac_file())
        with pytest.raises(InvalidInput, match="not of encodec"):
            load_codes(tmp_path / "a.dac", get_voco("encodec"))


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


class Bomb:
    """Asks numpy for a terabyte when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.ndarray, ((1 << 40,), "u1")


class State:
    """An array whose shape is larger than its bytes."""

    def __init__(self, shape: tuple[Any, ...], kind: str, data: Any) -> None:
        self.shape, self.kind, self.data = shape, kind, data

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments, _ = np.zeros(1).__reduce__()
        return function, arguments, (1, self.shape, np.dtype(self.kind), False, self.data)


WRONG: dict[str, bytes] = {
    "code of its own": dac_file(codes=Evil()),
    "code in the metadata": dac_file(padding=Evil()),
    "code beside": dac_file(comment=Evil()),
    "a class": numpy_file(os.system),
    "a huge array": dac_file(codes=Bomb()),
    "a shape without bytes": dac_file(codes=State((1 << 20, 1 << 20), "u2", b"\0\0")),
    "a negative shape": dac_file(codes=State((-1, -1, 2), "u2", b"\0\0\0\0")),
    "a shape of fractions": dac_file(codes=State((1.5, 2, 2), "u2", b"\0" * 12)),
    "objects": dac_file(codes=State((1, 1, 1), "O", [1])),
    "fractions": dac_file(codes=np.ones((1, 2, 3), np.float32)),
    "text": dac_file(codes="codes"),
    "two axes": dac_file(codes=np.ones((2, 3), np.uint16)),
    "nothing": dac_file(codes=np.ones((1, 2, 0), np.uint16)),
    "another version": dac_file(dac_version="0.0.1"),
    "no chunks": dac_file(chunk_length=0),
    "a huge length": dac_file(original_length=1 << 60),
    "a length of text": dac_file(original_length="100"),
    "a huge rate": dac_file(sample_rate=10**9),
    "other channels": dac_file(channels=2),
    "many channels": dac_file(np.ones((65, 2, 3), np.uint16), channels=65),
    "no loudness": dac_file(input_db=np.array([np.nan], np.float32)),
    "an empty loudness": dac_file(input_db=np.zeros(0, np.float32)),
    "padding as a number": dac_file(padding=1),
    "no metadata": numpy_file({"codes": np.ones((1, 2, 3), np.uint16)}),
    "a list": numpy_file([[1]]),
    "no dictionary": b"",
    "a plain array": b"\x93NUMPY\1\0\x36\0{'descr': '<f4', 'fortran_order': False, 'shape': ()}\n\0\0\0\0",
    "cut": dac_file()[:-30],
    "an old pickle": b"",
}
stream = io.BytesIO()
np.save(stream, np.ones(3))
WRONG["no dictionary"] = stream.getvalue()
HEADER = dac_file()[:128]
WRONG["an old pickle"] = HEADER + pickle.dumps({"codes": 1}, protocol=0)
WRONG["a memo beyond bounds"] = HEADER + b"\x80\x04Nr\xff\xff\xff\x7f."
WRONG["bytes that are not there"] = HEADER + b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"."
WRONG["an empty stack"] = HEADER + b"\x80\x04."
WRONG["a mark alone"] = HEADER + b"\x80\x04(u."


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_pickle_of_anything_else_is_an_error_and_runs_nothing(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.dac").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="not a .dac file that can be read"):
        load_codes(tmp_path / "a.dac")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.dac"]


def test_code_would_have_run_in_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.chdir(tmp_path)
    np.load(io.BytesIO(dac_file(codes=Evil())), allow_pickle=True)
    assert (tmp_path / "pwned").is_dir()


@pytest.mark.parametrize("codes", [np.ones((1, 2, 3), np.int64), np.asfortranarray(np.arange(6).reshape(1, 2, 3))])
def test_other_types_of_the_same_numbers_are_read(codes: NDArray[Any], tmp_path: Path) -> None:
    data = dac_file(codes, original_length=np.int64(100), input_db=np.float32(-20.0))
    (tmp_path / "a.dac").write_bytes(data)
    found = load_codes(tmp_path / "a.dac")
    assert np.array_equal(found.codes.transpose(1, 2), codes)
    assert found.samples == 100


def test_old_names_of_numpy_are_read(tmp_path: Path) -> None:
    data = dac_file().replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    assert data != dac_file()
    (tmp_path / "a.dac").write_bytes(data)
    assert load_codes(tmp_path / "a.dac").codes.shape == (1, 3, 2)


def test_chunks_too_short_for_no_padding_are_refused(voco: Voco[Any], tmp_path: Path) -> None:
    (tmp_path / "a.dac").write_bytes(dac_file(padding=False))
    with pytest.raises(InvalidInput, match="3 frames are too few to make audio without padding"):
        load_codes(tmp_path / "a.dac", voco).decode(voco)


def test_more_samples_than_frames_can_have_are_refused(voco: Voco[Any], tmp_path: Path) -> None:
    (tmp_path / "a.dac").write_bytes(dac_file(original_length=3 * 40 + 1))
    with pytest.raises(CheckpointError, match="say 121 samples, their frames have at most 120"):
        load_codes(tmp_path / "a.dac", voco)


@given(st.binary(max_size=40), st.integers(0, 1200))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spoilt_files_give_codes_or_an_error(tmp_path: Path, data: bytes, position: int) -> None:
    original = THEIRS["padded_bytes"].tobytes()
    (tmp_path / "a.dac").write_bytes(original[:position] + data + original[position + len(data) :])
    try:
        found = load_codes(tmp_path / "a.dac")
    except CheckpointError:
        return
    assert found.codes.ndim == 3
