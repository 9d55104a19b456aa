"""Files of latents: written in blocks as whole, read by safetensors, and read in blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import vocos
from vocos import CheckpointError, InvalidInput, get_voco
from vocos.files import latents

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def some(frames: int, size: int = 100, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(1, frames, size, generator=torch.Generator().manual_seed(frames)).to(dtype)


def put(path: Path, blocks: list[torch.Tensor] | tuple[torch.Tensor, ...], samples: int = 999) -> None:
    with latents.writing(path, get_voco("griffinlim")) as file:
        for block in blocks:
            file.write(block)
        file.samples = samples


class TestWriting:
    """What is in a file."""

    @pytest.mark.parametrize("dtype", TYPES)
    @given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any), size=st.integers(1, 9))
    @settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_bytes_are_those_of_the_whole(
        self, dtype: torch.dtype, tmp_path: Path, sizes: list[int], size: int
    ) -> None:
        values = some(sum(sizes), size, dtype)
        put(tmp_path / "a.safetensors", torch.split(values, sizes, dim=1))
        latents.write(tmp_path / "b.safetensors", get_voco("griffinlim"), values, 999)
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
        assert torch.equal(load_file(tmp_path / "a.safetensors")["latents"], values)
        found, origin = latents.read(tmp_path / "a.safetensors")
        assert torch.equal(found, values)
        assert found.dtype == dtype
        assert origin == latents.Origin("griffinlim", None, 24000, 999)

    def test_header_is_what_safetensors_expects(self, tmp_path: Path) -> None:
        put(tmp_path / "a.safetensors", [some(7)], 1792)
        with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
            assert list(file.keys()) == ["latents"]
            assert file.metadata() == {
                "voco": "griffinlim",
                "source": "",
                "sampling_rate": "24000",
                "samples": "1792",
                "vocos_version": vocos.__version__,
            }
        data = (tmp_path / "a.safetensors").read_bytes()
        length = int.from_bytes(data[:8], "little")
        assert length % 8 == 0  # the numbers are aligned
        assert len(data) == 8 + length + 7 * 100 * 4

    @pytest.mark.parametrize("length", range(8))
    def test_header_has_room_whatever_is_in_it(self, length: int, weights: Path, tmp_path: Path) -> None:
        (tmp_path / f"w{'x' * length}").symlink_to(weights)
        voco, values = get_voco("dac", weights=tmp_path / f"w{'x' * length}"), some(3, 16)
        latents.write(tmp_path / "a.safetensors", voco, values, 90)
        assert torch.equal(load_file(tmp_path / "a.safetensors")["latents"], values)
        assert latents.read(tmp_path / "a.safetensors")[1].source == voco.source

    def test_numbers_need_not_lie_in_a_row(self, tmp_path: Path) -> None:
        values = some(100, 7).transpose(1, 2).requires_grad_()
        put(tmp_path / "a.safetensors", [values[:, :3], values[:, 3:]])
        assert torch.equal(latents.read(tmp_path / "a.safetensors")[0], values)

    def test_name_of_the_weights_need_not_be_text(
        self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xc3\xa9"))
        folder.symlink_to(weights)
        latents.write(tmp_path / "a.safetensors", get_voco("dac", weights=folder), some(3, 16), 90)
        assert latents.read(tmp_path / "a.safetensors")[1].source == f"{tmp_path}/?é"

    @pytest.mark.parametrize(
        ("blocks", "samples", "message"),
        [
            ([], 9, "not written, expected frames and the samples they stand for, got 0 frames of 9 samples"),
            ([some(3)], 0, "got 3 frames of 0 samples"),
            ([some(3)[0]], 9, r"expected float latents \[1, n, latent_dim\]; got \[3, 100\] of torch.float32"),
            ([some(3).long()], 9, r"got \[1, 3, 100\] of torch.int64"),
            ([some(3).expand(2, -1, -1)], 9, r"got \[2, 3, 100\]"),
            ([some(3), some(3, 99)], 9, r"as before \[1, n, 100\] of torch.float32; got \[1, 3, 99\]"),
            ([some(3), some(3).half()], 9, r"as before .* of torch.float32; got \[1, 3, 100\] of torch.float16"),
            (
                [some(30), some(3) * torch.inf],
                9,
                "not written, latents: expected finite numbers, got nan or infinity, first in frame 30",
            ),
        ],
    )
    def test_what_are_no_latents_is_refused(
        self, blocks: list[torch.Tensor], samples: int, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidInput, match=f"a.safetensors: .*{message}"):
            put(tmp_path / "a.safetensors", blocks, samples)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [RuntimeError("(os error 28)"), KeyboardInterrupt()])
    def test_error_of_the_caller_leaves_the_old_file(self, error: BaseException, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        path.write_text("old")
        with pytest.raises(type(error)) as caught, latents.writing(path, get_voco("griffinlim")) as file:
            file.write(some(9))
            raise error
        assert caught.value is error
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


class TestReading:
    """Blocks of a file."""

    @pytest.mark.parametrize("n_bytes", [1, 1000, 1 << 20])
    def test_blocks_joined_are_the_file(self, n_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        values = some(50, 7, torch.float16)
        put(tmp_path / "a.safetensors", [values])
        monkeypatch.setattr(latents, "BLOCK_BYTES", n_bytes)
        with latents.reading(tmp_path / "a.safetensors") as file:
            assert (file.frames, file.latent_dim, file.origin.samples) == (50, 7, 999)
            blocks = list(file)
        assert len(blocks) == -(-50 // max(1, n_bytes // 14))
        assert torch.equal(torch.cat(blocks, dim=1), values)

    def test_files_of_earlier_versions_are_read(self, tmp_path: Path) -> None:
        values = some(50)
        origin = {"voco": "dac", "source": "a/b", "sampling_rate": "44100", "samples": "25000", "vocos_version": "0.1"}
        save_file({"latents": values, "a": some(3), "z": some(4)}, tmp_path / "a.safetensors", metadata=origin)
        found, came_from = latents.read(tmp_path / "a.safetensors")
        assert torch.equal(found, values)
        assert came_from == latents.Origin("dac", "a/b", 44100, 25000)

    def test_file_that_is_replaced_meanwhile_is_read_to_its_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, values = tmp_path / "a.safetensors", some(50)
        put(path, [values])
        monkeypatch.setattr(latents, "BLOCK_BYTES", 4000)
        with latents.reading(path) as file:
            blocks = []
            for block in file:
                blocks.append(block)
                put(path, [some(9)])
        assert torch.equal(torch.cat(blocks, dim=1), values)

    def test_file_that_gets_shorter_meanwhile_is_an_error(self, tmp_path: Path) -> None:
        put(tmp_path / "a.safetensors", [some(5000)])
        with latents.reading(tmp_path / "a.safetensors") as file:
            os.truncate(tmp_path / "a.safetensors", 10_000)
            with pytest.raises(CheckpointError, match="a.safetensors: was cut off while it was read"):
                list(file)

    def test_first_frame_that_is_not_finite_is_named_in_any_block(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        values = some(50)
        values[0, 37, 5] = torch.nan
        origin = {"voco": "griffinlim", "source": "", "sampling_rate": "24000", "samples": "999"}
        save_file({"latents": values}, tmp_path / "a.safetensors", metadata=origin)
        monkeypatch.setattr(latents, "BLOCK_BYTES", 4000)
        with latents.reading(tmp_path / "a.safetensors") as file, pytest.raises(CheckpointError, match="in frame 37$"):
            list(file)

    @pytest.mark.parametrize("shape", [(8,), (8, 100), (2, 8, 100), (1, 8, 100, 1)])
    def test_what_are_no_latents_of_one_clip_is_refused(self, shape: tuple[int, ...], tmp_path: Path) -> None:
        origin = {"voco": "griffinlim", "source": "", "sampling_rate": "24000", "samples": "999"}
        save_file({"latents": torch.zeros(shape)}, tmp_path / "a.safetensors", metadata=origin)
        with pytest.raises(CheckpointError, match=r"expected latents \[1, frames, latent_dim\], got"):
            latents.read(tmp_path / "a.safetensors")


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    program = """
import resource, sys, torch
from pathlib import Path
from vocos import get_voco
from vocos.files import latents

block, used = torch.ones(1, 500, 512), []
for count in (4, 100):
    with latents.writing(Path(sys.argv[1]), get_voco("griffinlim")) as file:
        for _ in range(count):
            file.write(block)
        file.samples = 9
    with latents.reading(Path(sys.argv[1])) as file:
        assert sum(block.shape[1] for block in file) == 500 * count
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    short, long = map(int, done.stdout.split())
    assert long - short < 8000  # KiB; the longer file has 100,000
