"""Files of codes in blocks: the bytes and the codes of the whole, for every format and every division."""

from __future__ import annotations

import json
import shutil
import tracemalloc
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vocos import CheckpointError, InvalidInput, ScaledCodes, UnsupportedOperation, get_voco, load_codes, save_codes
from vocos.files import codes
from vocos.files.codes import native
from vocos.files.codes.native import writer

FORMATS = [(".codes", "dac"), (".ecdc", "encodec_24khz"), (".dac", "dac")]


def some(frames: int, books: int = 4, entries: int = 1024) -> torch.Tensor:
    """Codes that a formula gives, from 0 to the last entry."""
    return (torch.arange(frames * books).reshape(1, frames, books) * 7919) % entries


def put(path: Path, name: str, blocks: Iterable[Any], samples: int | None = None, **options: Any) -> None:
    with codes.writing(path, get_voco(name), **options) as file:
        for block in blocks:
            file.write(block)
        file.samples = samples


def divided(values: torch.Tensor, cuts: list[int]) -> tuple[torch.Tensor, ...]:
    """A tensor `[1, n, ...]` in pieces, the last of which is the rest."""
    return torch.tensor_split(values, sorted(min(cut, values.shape[1]) for cut in cuts), dim=1)


@pytest.mark.parametrize(("ending", "name"), FORMATS)
@given(frames=st.integers(1, 700), cuts=st.lists(st.integers(0, 700), max_size=9), books=st.integers(1, 6))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_are_those_of_the_whole(
    ending: str, name: str, tmp_path: Path, frames: int, cuts: list[int], books: int
) -> None:
    voco, values = get_voco(name), some(frames, books)
    options = {"loudness": -20.0} if ending == ".dac" else {}
    samples = frames * voco.hop_length - 3
    put(tmp_path / f"a{ending}", name, divided(values, cuts), samples, **options)
    save_codes(tmp_path / f"b{ending}", values, voco, samples, **options)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    assert torch.equal(load_codes(tmp_path / f"a{ending}").codes, values)


@pytest.mark.parametrize("ending", [".codes", ".ecdc"])
@given(samples=st.integers(1, 500_000), cuts=st.lists(st.integers(1, 1600), max_size=9), data=st.data())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_of_scaled_codes_are_those_of_the_whole(
    ending: str, tmp_path: Path, samples: int, cuts: list[int], data: st.DataObject
) -> None:
    voco = get_voco("encodec_48khz")
    frames, n_chunks = voco.encode_length(samples), -(-samples // 47520)
    values, scales = some(frames), torch.arange(1.0, n_chunks + 1)[None]
    pieces = [piece for piece in divided(values, cuts) if piece.shape[1]]
    shares = divided(
        scales, data.draw(st.lists(st.integers(0, n_chunks), min_size=len(pieces) - 1, max_size=len(pieces) - 1))
    )
    put(tmp_path / f"a{ending}", "encodec_48khz", map(ScaledCodes, pieces, shares), samples)
    save_codes(tmp_path / f"b{ending}", ScaledCodes(values, scales), voco, samples)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_header_moves_all_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_codes(tmp_path / "a.codes", some(700), get_voco("dac"))
    for size in (1, 100, 3500, 3501):
        monkeypatch.setattr(writer, "PIECE", size)
        save_codes(tmp_path / "b.codes", some(700), get_voco("dac"))
        assert (tmp_path / "b.codes").read_bytes() == (tmp_path / "a.codes").read_bytes()


def test_length_is_that_of_the_codes_unless_told(tmp_path: Path) -> None:
    put(tmp_path / "a.codes", "dac", [some(130), some(0), some(130)])
    assert load_codes(tmp_path / "a.codes").samples == get_voco("dac").decode_length(260)


def test_loudness_that_is_not_told_is_measured(weights: Path, tmp_path: Path) -> None:
    voco = get_voco("dac", weights=weights)
    values = voco.encode_codes(torch.rand(1, 8000, 1) - 0.5)
    with codes.writing(tmp_path / "a.dac", voco) as file:
        for block in torch.split(values, 33, dim=1):
            file.write(block)
    save_codes(tmp_path / "b.dac", values, voco)
    assert (tmp_path / "a.dac").read_bytes() == (tmp_path / "b.dac").read_bytes()


def test_scale_of_a_whole_clip_is_kept(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Of a codec that brings all of the audio to one loudness, with no chunks."""
    shutil.copytree(folder("original-encodec_48khz"), tmp_path / "weights")
    config = json.loads((tmp_path / "weights" / "config.json").read_text())
    (tmp_path / "weights" / "config.json").write_text(json.dumps({**config, "chunk_length_s": None, "overlap": None}))
    voco = get_voco("encodec_48khz", weights=tmp_path / "weights")
    given = voco.encode_codes(torch.rand(1, 70_000, 2) - 0.5)
    assert given.scales.shape == (1, 1)
    for ending in (".codes", ".ecdc"):
        save_codes(tmp_path / f"a{ending}", given, voco, 70_000)
        found = load_codes(tmp_path / f"a{ending}", voco)
        assert torch.equal(found.codes.codes, given.codes)
        assert torch.equal(found.codes.scales, given.scales)


class TestNothingHalf:
    """What cannot be written leaves what was there."""

    @pytest.mark.parametrize(
        ("blocks", "samples", "message"),
        [
            ([], None, "a.codes: not written, for there are no codes"),
            ([some(0)], None, "a.codes: not written, for there are no codes"),
            ([some(300), some(3, 5)], None, "expected 4 codebooks as before, got 5"),
            ([some(300), some(3) + 1024], None, "expected codes from 0 to 1023, got 1024 to"),
            ([some(3).expand(2, -1, -1)], None, "expected the codes of one clip, got 2 rows"),
            ([some(3)], 3 * 512 + 1, "1537 samples are not the length= of 3 frames of dac"),
            ([ScaledCodes(some(3), torch.ones(1, 1))], None, "dac takes a plain tensor, got ScaledCodes"),
        ],
    )
    def test_codes_that_are_none_of_the_codec(
        self, blocks: list[Any], samples: int | None, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            put(tmp_path / "a.codes", "dac", blocks, samples)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("frames", "scales", "samples", "message"),
        [
            (299, torch.ones(1, 1), None, "have 2 chunks and 299 frames, got 1 scales and 299 frames"),
            (150, torch.ones(1, 2), 47000, "47000 samples are not the length= of 150 frames"),
            (600, torch.ones(1, 9), None, "chunks and 600 frames, got 9 scales and 600 frames"),
            (300, torch.tensor([[1.0, torch.nan]]), None, "a.codes: not written, scales: .* first in frame 1"),
            (300, torch.ones(2, 2), None, r"expected scales float \[1, chunks\], got torch.float32 \[2, 2\]"),
            (300, torch.ones(1, 2).long(), None, r"expected scales float \[1, chunks\], got torch.int64"),
        ],
    )
    def test_scales_that_do_not_belong_to_the_codes(
        self, frames: int, scales: torch.Tensor, samples: int | None, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            put(tmp_path / "a.codes", "encodec_48khz", [ScaledCodes(some(frames), scales)], samples)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("ending", "name"), [(".ecdc", "dac"), (".dac", "encodec_24khz"), (".codes", "oobleck")])
    def test_format_that_cannot_hold_them_says_so_before_the_work(self, ending: str, name: str, tmp_path: Path) -> None:
        with (
            pytest.raises((InvalidInput, UnsupportedOperation)),
            codes.writing(tmp_path / f"a{ending}", get_voco(name)),
        ):
            raise AssertionError

    @pytest.mark.parametrize("error", [RuntimeError("(os error 28)"), KeyboardInterrupt()])
    def test_error_of_the_caller_leaves_the_old_file(self, error: BaseException, tmp_path: Path) -> None:
        path = tmp_path / "a.codes"
        path.write_text("old")
        with pytest.raises(type(error)) as caught, codes.writing(path, get_voco("dac")) as file:
            file.write(some(300))
            raise error
        assert caught.value is error
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


class TestReading:
    """Blocks of a file."""

    @pytest.mark.parametrize(("ending", "name"), FORMATS[:2])
    def test_blocks_joined_are_the_codes(self, ending: str, name: str, tmp_path: Path) -> None:
        path, voco = tmp_path / f"a{ending}", get_voco(name)
        save_codes(path, some(300), voco, 300 * voco.hop_length - 7)
        whole = load_codes(path, voco)
        with codes.reading(path, voco) as file:
            assert file.codes.shape == (1, 300, 4)
            assert file.mask.all()
            for _ in range(2):  # whenever they are wanted
                blocks = list(file.codes)
                assert [block.shape for block in blocks] == [(1, n, 4) for n in (128, 128, 44)]
                assert torch.equal(torch.cat(blocks, dim=1), whole.codes)
        assert (file.codec, file.source, file.samples) == (whole.codec, whole.source, whole.samples)

    @pytest.mark.parametrize("ending", [".codes", ".ecdc"])
    def test_blocks_of_scaled_codes_are_chunks(self, ending: str, tmp_path: Path) -> None:
        voco, scales = get_voco("encodec_48khz"), torch.rand(1, 3)
        frames = voco.encode_length(100_000)
        save_codes(tmp_path / f"a{ending}", ScaledCodes(some(frames), scales), voco, 100_000)
        with codes.reading(tmp_path / f"a{ending}", voco) as file:
            blocks = list(file.codes)
        assert [block.scales.tolist() for block in blocks] == [[[scale]] for scale in scales[0].tolist()]
        assert torch.equal(torch.cat([block.codes for block in blocks], dim=1), some(frames))
        assert [block.shape[1] for block in blocks] == [150, 150, frames - 300]

    def test_dac_file_is_given_whole(self, tmp_path: Path) -> None:
        save_codes(tmp_path / "a.dac", some(300), get_voco("dac"), loudness=-20.0)
        with codes.reading(tmp_path / "a.dac", get_voco("dac")) as file:
            assert isinstance(file, codes.DacCodesFile)
            assert torch.equal(file.codes, some(300))

    @pytest.mark.parametrize("cut", [1, 300, 1700])
    def test_damage_is_said_before_the_first_block(self, cut: int, tmp_path: Path) -> None:
        path = tmp_path / "a.codes"
        save_codes(path, some(700, 5), get_voco("dac"))
        data = bytearray(path.read_bytes())[:-cut]
        data[-2000] ^= 4
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as strict:
            load_codes(path)
        with pytest.raises(CheckpointError) as caught, codes.reading(path):
            raise AssertionError
        assert str(caught.value) == str(strict.value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = load_codes(path, strict=False)
        with pytest.warns(UserWarning, match="their codes are 0"), codes.reading(path, strict=False) as file:
            assert file.damaged == whole.damaged
            assert torch.equal(torch.cat(list(file.codes), dim=1), whole.codes)

    def test_scales_of_what_is_cut_off_are_zero(self, tmp_path: Path) -> None:
        voco, path = get_voco("encodec_48khz"), tmp_path / "a.codes"
        frames = voco.encode_length(240_000)
        save_codes(path, ScaledCodes(some(frames), torch.ones(1, 6)), voco, 240_000)
        path.write_bytes(path.read_bytes()[:-1700])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = load_codes(path, voco, strict=False)
            with codes.reading(path, voco, strict=False) as file:
                blocks = list(file.codes)
        assert whole.codes.scales.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]]
        assert torch.equal(torch.cat([block.scales for block in blocks], dim=1), whole.codes.scales)
        assert torch.equal(torch.cat([block.codes for block in blocks], dim=1), whole.codes.codes)

    @pytest.mark.parametrize(
        ("content", "name", "message"),
        [
            (b"hello", None, "a: not a file of codes"),
            (native.MAGIC, None, "a: cut off in its header"),
            (b"", None, "a: not a file of codes"),
            (None, "dac_24khz", "a: these codes were made by dac; dac_24khz cannot decode them"),
        ],
    )
    def test_what_is_wrong_is_said_as_by_load_codes(
        self, content: bytes | None, name: str | None, message: str, tmp_path: Path
    ) -> None:
        path, voco = tmp_path / "a", get_voco(name) if name else None
        save_codes(path, some(3), get_voco("dac"))
        if content is not None:
            path.write_bytes(content)
        with pytest.raises((CheckpointError, InvalidInput), match=message) as whole:
            load_codes(path, voco)
        with pytest.raises(type(whole.value)) as caught, codes.reading(path, voco):
            raise AssertionError
        assert str(caught.value) == str(whole.value)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path, block = tmp_path / "a.codes", some(100, 18)
    tracemalloc.start()
    try:
        put(path, "dac", (block for _ in range(1000)))
        with codes.reading(path) as file:
            assert sum(block.shape[1] for block in file.codes) == 100_000
        assert (
            tracemalloc.get_traced_memory()[1] < 4 << 20
        )  # measured: 2.1 MiB, for ten times as many too; the codes have 14 MiB
    finally:
        tracemalloc.stop()
    assert torch.equal(load_codes(path).codes, block.repeat(1, 1000, 1))
