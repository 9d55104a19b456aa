"""Our files of codes: what goes in comes out, on every machine and in every later version, and damage is said."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vocos import CheckpointError, InvalidInput, ScaledCodes, Voco, get_voco, load_codes, save_codes
from vocos.files.codes import native
from vocos.files.codes.record import pack, packed_bytes, unpack, width

FILES = Path(__file__).parent / "files"
START = 20  # bytes before the header


def some_codes(frames: int, books: int, entries: int) -> torch.Tensor:
    """Codes that a formula gives, from 0 to the last entry."""
    return (torch.arange(frames * books).reshape(1, frames, books) * 7919) % entries


def changed(data: bytes, **fields: Any) -> bytes:
    """A file of codes with another header, its checksum right."""
    _, version, length = struct.unpack_from("<8sII", data)
    header = json.loads(data[START : START + length])
    text = json.dumps({**header, **fields}).encode()
    start = struct.pack("<8sII", b"VOCOCODE", version, len(text))
    return start + struct.pack("<I", zlib.crc32(start + text)) + text + data[START + length :]


@pytest.fixture
def dac() -> Voco[Any]:
    """A codec with codes, of the published sizes; nothing is loaded."""
    return get_voco("dac")


@pytest.fixture
def written(dac: Voco[Any], tmp_path: Path) -> Path:
    """A file of 300 frames, in blocks of 128, 128 and 44."""
    save_codes(tmp_path / "a.codes", some_codes(300, 5, 1024), dac, 300 * 512 - 7)
    return tmp_path / "a.codes"


class TestContent:
    """What is kept."""

    @given(st.integers(1, 3000), st.integers(1, 70), st.data())
    @settings(deadline=None, max_examples=60)
    def test_any_integers_survive_the_packing(self, entries: int, count: int, data: st.DataObject) -> None:
        values = np.array(data.draw(st.lists(st.integers(0, entries - 1), min_size=count, max_size=count)))
        packed = pack(values, width(entries))
        assert len(packed) == packed_bytes(count, width(entries)) == -(-count * width(entries) // 8)
        assert np.array_equal(unpack(packed, width(entries), count), values)

    def test_codes_take_as_many_bits_as_their_book_needs(self) -> None:
        assert [width(n) for n in (1, 2, 3, 4, 5, 1000, 1024, 1025, 65536)] == [1, 1, 2, 2, 3, 10, 10, 11, 16]

    @pytest.mark.parametrize("frames", [1, 127, 128, 129, 300])
    def test_codes_and_where_they_come_from_are_read_back(self, frames: int, dac: Voco[Any], tmp_path: Path) -> None:
        codes = some_codes(frames, 18, 1024)
        save_codes(tmp_path / "a.codes", codes.to(torch.int32), dac, frames * 512 - 3)
        found = load_codes(tmp_path / "a.codes", dac)
        assert found.codes.dtype == torch.int64
        assert torch.equal(found.codes, codes)
        assert (found.codec, found.source, found.revision) == ("dac", "optimizerai/vocos", None)
        assert (found.sampling_rate, found.samples, found.codebook_size) == (44100, frames * 512 - 3, 1024)
        assert found.damaged == ()
        assert found.mask.all()

    def test_length_is_that_of_the_decoded_sound_unless_given(self, tmp_path: Path) -> None:
        voco = get_voco("dac_16khz")
        save_codes(tmp_path / "a.codes", some_codes(10, 12, 1024), voco)
        assert load_codes(tmp_path / "a.codes").samples == voco.decode_length(10) == 3192

    @pytest.mark.parametrize("samples", [1, 47520, 47521, 48000, 95039, 95200])
    def test_scales_travel_with_their_chunks(self, samples: int, tmp_path: Path) -> None:
        voco = get_voco("encodec_48khz")
        frames = voco.encode_length(samples)
        chunks = -(-samples // 47520)
        codes = ScaledCodes(some_codes(frames, 4, 1024), torch.rand(1, chunks))
        for length in (samples, None):
            save_codes(tmp_path / "a.codes", codes, voco, length)
            found = load_codes(tmp_path / "a.codes", voco)
            assert torch.equal(found.codes.codes, codes.codes)
            assert torch.equal(found.codes.scales, codes.scales)
        header = json.loads((tmp_path / "a.codes").read_bytes()[START:].split(b"}")[0] + b"}")
        assert sum(times for _, times in header["blocks"]) == chunks

    def test_revision_is_the_commit_of_the_weights(self, tmp_path: Path) -> None:
        voco = get_voco("dac", revision="a" * 40)
        save_codes(tmp_path / "a.codes", some_codes(3, 2, 1024), voco)
        found = load_codes(tmp_path / "a.codes")
        assert (found.source, found.revision) == ("optimizerai/vocos", "a" * 40)
        with pytest.warns(UserWarning, match=f"made with revision {'a' * 40} of optimizerai/vocos, not {'b' * 40}"):
            found.check(get_voco("dac", revision="b" * 40))

    def test_commit_is_known_once_the_weights_are_loaded(self, weights: Path, tmp_path: Path) -> None:
        commit = "0123456789" * 4
        cache = tmp_path / "models--org--name"  # as the Hub's client lays it out
        (cache / "refs").mkdir(parents=True)
        (cache / "refs" / "main").write_text(commit)
        shutil.copytree(weights, cache / "snapshots" / commit)
        voco = get_voco("dac", weights="org/name", cache_dir=tmp_path)
        assert voco.revision is None
        codes = voco.encode_codes(torch.rand(1, 400, 1))
        assert voco.revision == commit
        save_codes(tmp_path / "a.codes", codes, voco, 400)
        found = load_codes(tmp_path / "a.codes", voco)
        assert (found.source, found.revision) == ("org/name", commit)

    def test_path_of_local_weights_is_not_told(self, weights: Path, tmp_path: Path) -> None:
        save_codes(tmp_path / "a.codes", some_codes(3, 2, 32), get_voco("dac", weights=weights))
        assert load_codes(tmp_path / "a.codes").source == weights.name
        assert str(weights.parent).encode() not in (tmp_path / "a.codes").read_bytes()


class TestVersions:
    """Files of version 1 are there to stay."""

    def test_file_of_version_1_is_read_and_written_bit_for_bit(self, dac: Voco[Any], tmp_path: Path) -> None:
        found = load_codes(FILES / "version1.codes", dac)
        assert torch.equal(found.codes, some_codes(150, 3, 1024))
        assert (found.codec, found.samples, found.source) == ("dac", 76543, "optimizerai/vocos")
        save_codes(tmp_path / "a.codes", found.codes, dac, found.samples)
        assert (tmp_path / "a.codes").read_bytes() == (FILES / "version1.codes").read_bytes()

    def test_file_of_version_1_with_scales_is_read_and_written_bit_for_bit(self, tmp_path: Path) -> None:
        voco = get_voco("encodec_48khz")
        found = load_codes(FILES / "version1-scaled.codes", voco)
        assert torch.equal(found.codes.codes, some_codes(166, 2, 1024))
        assert found.codes.scales.tolist() == [[0.5, 0.125]]
        save_codes(tmp_path / "a.codes", found.codes, voco, found.samples)
        assert (tmp_path / "a.codes").read_bytes() == (FILES / "version1-scaled.codes").read_bytes()

    def test_layout_is_as_documented(self) -> None:
        data = (FILES / "version1.codes").read_bytes()
        magic, version, length, crc = struct.unpack_from("<8sIII", data)
        text = data[20 : 20 + length]
        assert (magic, version, crc) == (b"VOCOCODE", 1, zlib.crc32(data[:16] + text))
        header = json.loads(text)
        assert list(header) == sorted(header)
        assert header["blocks"] == [[128, 1], [22, 1]]
        offset, codes = 20 + length, []
        for number, (frames, _) in enumerate(header["blocks"]):
            size = (frames * 3 * 10 + 7) // 8
            block = data[offset + 4 : offset + 4 + size]
            assert struct.unpack_from("<I", data, offset)[0] == zlib.crc32(struct.pack("<I", number) + block)
            whole = int.from_bytes(block, "little")
            codes += [whole >> (10 * i) & 1023 for i in range(frames * 3)]
            offset += 4 + size
        assert offset == len(data)
        assert codes == some_codes(150, 3, 1024).flatten().tolist()

    def test_newer_version_is_refused_with_what_to_do(self, written: Path) -> None:
        data = bytearray(written.read_bytes())
        data[8] = 2
        written.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"file of codes of version 2.* reads up to 1; update vocos"):
            load_codes(written)

    def test_keys_of_later_writers_are_ignored(self, written: Path) -> None:
        written.write_bytes(changed(written.read_bytes(), mood="blue"))
        assert torch.equal(load_codes(written).codes, some_codes(300, 5, 1024))


class TestDamage:
    """It stays where it is."""

    def test_damaged_block_is_named_and_the_rest_can_be_read(self, written: Path, dac: Voco[Any]) -> None:
        data = bytearray(written.read_bytes())
        data[-400] ^= 4  # in the second block, before the third's 4 + 275 bytes
        written.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"frames 128 to 255 of 300; copy .* strict=False"):
            load_codes(written, dac)
        with pytest.warns(UserWarning, match="frames 128 to 255 of 300; their codes are 0"):
            found = load_codes(written, dac, strict=False)
        assert found.damaged == ((128, 256),)
        expected = some_codes(300, 5, 1024)
        expected[:, 128:256] = 0
        assert torch.equal(found.codes, expected)
        assert torch.equal(found.mask[0], ~((torch.arange(300) >= 128) & (torch.arange(300) < 256)))

    def test_cut_end_is_named_and_filled(self, written: Path) -> None:
        written.write_bytes(written.read_bytes()[:-300])
        with pytest.raises(CheckpointError, match="frames 128 to 299 of 300"):
            load_codes(written)
        with pytest.warns(UserWarning, match="frames 128 to 299 of 300"):
            found = load_codes(written, strict=False)
        assert found.damaged == ((128, 300),)
        assert torch.equal(found.codes[:, :128], some_codes(300, 5, 1024)[:, :128])
        assert not found.codes[:, 128:].any()

    def test_blocks_in_another_order_are_damaged(self, written: Path) -> None:
        data = written.read_bytes()
        last = 4 + 275
        full = 4 + 800
        head, first, second = (
            data[: -last - 2 * full],
            data[-last - 2 * full : -last - full],
            data[-last - full : -last],
        )
        written.write_bytes(head + second + first + data[-last:])
        with pytest.raises(CheckpointError, match="frames 0 to 255 of 300"):
            load_codes(written)

    def test_damaged_chunk_is_silence_in_the_sound(self, folder: Callable[[str], Path], tmp_path: Path) -> None:
        voco = get_voco("encodec_48khz", weights=folder("original-encodec_48khz"))
        codes = voco.encode_codes(torch.rand(1, 14000, 2) - 0.5)
        save_codes(tmp_path / "a.codes", codes, voco, 14000)
        whole = load_codes(tmp_path / "a.codes", voco)
        sound = whole.decode(voco)
        assert sound.shape == (1, 14000, 2)
        data = bytearray((tmp_path / "a.codes").read_bytes())
        data[-40 - 4 - 4 - 3 * 15] ^= 1
        (tmp_path / "a.codes").write_bytes(data)
        with pytest.warns(UserWarning, match="damaged"):
            found = load_codes(tmp_path / "a.codes", voco, strict=False)
        ((start, stop),) = found.damaged
        assert stop - start == 15
        mended = found.decode(voco)
        assert not mended[:, start * 320 : stop * 320].any()
        assert mended[:, : (start - 1) * 320].equal(sound[:, : (start - 1) * 320])

    @pytest.mark.parametrize("position", [0, 3, 9, 13, 17, 40, 150])
    def test_damaged_start_is_said(self, position: int, written: Path) -> None:
        data = bytearray(written.read_bytes())
        data[position] ^= 0x40
        written.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"header is damaged|not a file of codes|newer|version"):
            load_codes(written, strict=False)

    def test_cuts_and_flipped_bits_anywhere_are_errors(self, tmp_path: Path) -> None:
        data = (FILES / "version1.codes").read_bytes()
        path = tmp_path / "a.codes"
        for size in [*range(0, len(data), 7), len(data) - 1]:
            path.write_bytes(data[:size])
            with pytest.raises(CheckpointError):
                load_codes(path)
        for position in range(0, len(data), 5):
            path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            with pytest.raises(CheckpointError):
                load_codes(path)

    def test_longer_file_is_an_error_unless_lenient(self, written: Path) -> None:
        written.write_bytes(written.read_bytes() + b"\0")
        with pytest.raises(CheckpointError, match="longer than its header says"):
            load_codes(written)
        assert load_codes(written, strict=False).damaged == ()


HUGE = 1 << 60
HOSTILE: dict[str, Any] = {
    "frames": {"blocks": [[HUGE, 1]]},
    "many frames": {"blocks": [[1 << 30, 1 << 10]]},
    "blocks": {"blocks": [[128, 1 << 40]]},
    "one frame less": {"blocks": [[128, 2], [43, 1]]},
    "no blocks": {"blocks": []},
    "pairs": {"blocks": [[128]]},
    "negative": {"blocks": [[-128, 1], [428, 1]]},
    "text": {"blocks": "many"},
    "true": {"blocks": [[True, True]]},
    "books": {"n_codebooks": 1 << 40},
    "more books": {"n_codebooks": 6},
    "no books": {"n_codebooks": 0},
    "entries": {"codebook_size": 1 << 47},
    "fewer entries": {"codebook_size": 513},
    "samples": {"samples": HUGE},
    "no samples": {"samples": 0},
    "rate": {"sampling_rate": "44100"},
    "codec": {"codec": ["dac"]},
    "source": {"source": 5},
    "scales": {"has_scales": True},
    "scales as a number": {"has_scales": 1},
    "deep": {"source": [[[[[[]]]]]]},
}


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("strict", [True, False])
def test_header_that_lies_is_an_error_and_costs_nothing(fields: dict[str, Any], strict: bool, written: Path) -> None:
    written.write_bytes(changed(written.read_bytes(), **fields))
    size = written.stat().st_size
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = load_codes(written, strict=strict)
    except CheckpointError:
        pass
    else:
        assert not strict
        assert found.damaged or fields == {"blocks": [[128, 2], [43, 1]]}
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 64 * native.MAX_FILLED + 1000 * size


def test_more_samples_than_frames_can_have_are_refused(written: Path, dac: Voco[Any]) -> None:
    written.write_bytes(changed(written.read_bytes(), samples=300 * 512 + 1))
    with pytest.raises(CheckpointError, match=f"say {300 * 512 + 1} samples, their frames have at most {300 * 512}"):
        load_codes(written, dac)


@given(st.binary(max_size=300), st.integers(0, 3))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_an_error_of_ours(tmp_path: Path, data: bytes, kind: int) -> None:
    start = (b"", b"VOCOCODE\1\0\0\0", b"ECDC\0", b"\x93NUMPY\1\0")[kind]
    (tmp_path / "a").write_bytes(start + data)
    for strict in (True, False):
        with pytest.raises(CheckpointError):
            load_codes(tmp_path / "a", strict=strict)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=8), st.integers(0, 700))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_anywhere_never_passes_for_codes(tmp_path: Path, changes: list[tuple[int, int]], cut: int) -> None:
    original = (FILES / "version1.codes").read_bytes()
    data = bytearray(original[: len(original) - cut])
    for position, value in changes:
        if data:
            data[position % len(data)] = value
    (tmp_path / "a").write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = load_codes(tmp_path / "a", strict=False)
    except CheckpointError:
        return
    expected = some_codes(150, 3, 1024)
    assert torch.equal(found.codes[found.mask], expected[found.mask])
    assert not found.codes[~found.mask].any()
    assert bytes(data) == original or found.damaged


class TestCodec:
    """Which codec may decode which codes."""

    def test_another_codec_is_an_error(self, written: Path) -> None:
        with pytest.raises(InvalidInput, match="made by dac; dac_24khz cannot decode them"):
            load_codes(written, get_voco("dac_24khz"))

    def test_twin_with_the_same_quantiser_is_none(self, tmp_path: Path) -> None:
        save_codes(tmp_path / "a.codes", some_codes(20, 8, 1024), get_voco("encodec_24khz"))
        assert load_codes(tmp_path / "a.codes", get_voco("encodec")).codec == "encodec_24khz"

    def test_codec_without_codes_says_so(self, written: Path) -> None:
        with pytest.raises(NotImplementedError, match="oobleck has no codes"):
            load_codes(written, get_voco("oobleck"))

    def test_weights_of_another_size_are_an_error(self, written: Path, weights: Path) -> None:
        with pytest.raises(InvalidInput, match=r"44100 Hz with 1024 entries.* 16000 Hz and 32; give the right ones"):
            load_codes(written, get_voco("dac", weights=weights))

    def test_weights_from_elsewhere_are_a_warning(self, weights: Path, tmp_path: Path) -> None:
        save_codes(tmp_path / "a.codes", some_codes(3, 2, 32), get_voco("dac", weights=weights))
        with pytest.warns(UserWarning, match=f"made with the weights {weights.name}, not dac.safetensors"):
            load_codes(tmp_path / "a.codes", get_voco("dac", weights=weights / "dac.safetensors"))


class TestSaving:
    """What is refused, and what stays."""

    @pytest.mark.parametrize(
        ("codes", "message"),
        [
            (torch.zeros(2, 5, 3).long(), "expected the codes of one clip, got 2 rows"),
            (torch.zeros(1, 5, 3), r"expected integer codes \[batch, frames, 1 to 18\], got torch.float32"),
            (torch.full((1, 5, 3), 1024), "expected codes from 0 to 1023, got 1024"),
            (torch.zeros(1, 5, 19).long(), "1 to 18"),
            (torch.zeros(5, 3).long(), "1 to 18"),
            (torch.zeros(1, 0, 3).long(), "empty"),
            (np.zeros((1, 5, 3), np.int64), "got a ndarray"),
            (ScaledCodes(torch.zeros(1, 5, 3).long(), torch.ones(1, 1)), "takes a plain tensor"),
        ],
    )
    def test_codes_that_are_none_of_the_codec_are_refused(
        self, codes: Any, message: str, dac: Voco[Any], tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            save_codes(tmp_path / "a.codes", codes, dac)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("length", [0, -1, 5 * 512 + 1, 2.5, True])
    def test_length_that_cannot_be_is_refused(self, length: Any, dac: Voco[Any], tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="length"):
            save_codes(tmp_path / "a.codes", torch.zeros(1, 5, 3).long(), dac, length)

    def test_length_must_tell_the_chunks_of_scaled_codes(self, tmp_path: Path) -> None:
        codes = ScaledCodes(torch.zeros(1, 166, 2).long(), torch.ones(1, 2))
        with pytest.raises(InvalidInput, match="47000 samples are not the length= of 166 frames"):
            save_codes(tmp_path / "a.codes", codes, get_voco("encodec_48khz"), 47000)

    def test_existing_file_stays_if_writing_fails(
        self, written: Path, dac: Voco[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = written.read_bytes()

        def full(*_: object) -> bytes:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(native, "pack", full)
        with pytest.raises(OSError, match="No space"):
            save_codes(written, some_codes(3, 2, 1024), dac)
        assert written.read_bytes() == before
        assert [path.name for path in written.parent.iterdir()] == ["a.codes"]

    def test_places_that_cannot_be_are_said(self, dac: Voco[Any], tmp_path: Path) -> None:
        for place in (tmp_path, tmp_path / "absent" / "a.codes"):
            with pytest.raises(InvalidInput, match="not a file name in an existing folder"):
                save_codes(place, some_codes(3, 2, 1024), dac)
        with pytest.raises(InvalidInput, match="no such file"):
            load_codes(tmp_path / "absent.codes")
        (tmp_path / "empty").touch()
        with pytest.raises(CheckpointError, match="not a file of codes"):
            load_codes(tmp_path / "empty")


def test_bytes_of_a_file_depend_on_nothing_else(
    dac: Voco[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_codes(tmp_path / "a.codes", some_codes(9, 2, 1024), dac)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: 0.0)
    save_codes("b.codes", some_codes(9, 2, 1024).to(torch.int16), get_voco("dac"))
    assert (tmp_path / "a.codes").read_bytes() == (tmp_path / "b.codes").read_bytes()
    assert io.BytesIO((tmp_path / "a.codes").read_bytes()).read(8) == b"VOCOCODE"
