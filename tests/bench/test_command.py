"""`vocos bench` from end to end, on networks that are small; the peer is the one that needs no other package."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bench import cases, curves, machine, memory, report, shares
from bench.cases import Network
from bench.comparison import Settings
from bench.contestants import Local
from bench.measure import Row, Timing
from bench.memory import Memory
from torch import Tensor

from vocos import cli
from vocos.codecs.dacvae import DacVae

SMALL = {
    "encoder_dim": 4,
    "encoder_rates": [2, 4],
    "latent_dim": 16,
    "decoder_dim": 16,
    "decoder_rates": [4, 2],
    "sample_rate": 8000,
}
Bench = Callable[..., tuple[int, str, list[dict[str, str]]]]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Run the command on small dacvae; gives the exit code, the Markdown and the lines of the CSV."""
    monkeypatch.setitem(cases.NETWORKS, "dacvae", Network("dacvae", "plain", "vocos", SMALL))
    monkeypatch.setattr(machine, "GEMM_SIZE", 64)

    def call(*options: str) -> tuple[int, str, list[dict[str, str]]]:
        lengths = ["--seconds", "0.5", "0.1", "--runs", "2", "--batch", "2"]
        code = cli.main(["bench", "--only", "dacvae", *lengths, *options, "-o", str(tmp_path / "results")])
        text = (tmp_path / "results" / "cpu.md").read_text(encoding="utf-8")
        assert capsys.readouterr().out.strip() == text.strip()
        with (tmp_path / "results" / "cpu.csv").open(encoding="utf-8") as stream:
            return code, text, list(csv.DictReader(stream))

    return call


def test_every_setting_is_compared_with_the_peer(bench: Bench) -> None:
    code, text, lines = bench()
    assert code == 0
    settings = [(line["case"], line["seconds"], line["batch"], line["dtype"]) for line in lines]
    assert settings == [
        (f"dacvae {work}", seconds, batch, dtype)
        for work in ("encode", "decode")
        for seconds, batch in (("0.5", "1"), ("0.1", "1"), ("0.1", "2"))
        for dtype in ("float32", "bfloat16")
    ]
    for line in lines:
        assert float(line["speedup"]) == pytest.approx(
            float(line["theirs_median_seconds"]) / float(line["ours_median_seconds"])
        )
        low, median, high = (float(line[f"ours_{part}_seconds"]) for part in ("low", "median", "high"))
        assert 0 < low <= median <= high
        if line["dtype"] == "float32":
            assert float(line["error"]) < 1e-5
        else:
            assert float(line["snr_db"]) > 30.0
    assert "| dacvae decode | 0.1 | 2 | bfloat16 | plain modules with weight norm |" in text
    assert "- units: " in text
    assert "torch" in lines[0]["versions"]


def test_wrong_result_is_not_timed_and_fails_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = DacVae.to_audio
    monkeypatch.setattr(DacVae, "to_audio", lambda *arguments, **keywords: 1.001 * real(*arguments, **keywords))
    code, text, lines = bench()
    assert code == 1
    for line in lines:
        is_wrong = line["case"] == "dacvae decode" and line["dtype"] == "float32"
        assert ("ours differs from the peer's" in line["problem"]) == is_wrong
        assert (line["ours_median_seconds"] == "") == is_wrong
    assert "ours differs from the peer's by" in text


def test_bfloat16_that_is_another_sound_fails_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = DacVae.to_audio

    def decode(self: Any, *arguments: Any, **keywords: Any) -> Tensor:
        result = real(self, *arguments, **keywords)
        return result if result.dtype.itemsize == 4 else result.roll(1, dims=-1)

    monkeypatch.setattr(DacVae, "to_audio", decode)
    code, _, lines = bench()
    assert code == 1
    assert {line["dtype"] for line in lines if "dB against float32" in line["problem"]} == {"bfloat16"}


def test_absent_peer_is_said_and_ours_is_timed_all_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOCOS_PYPI_PYTHON", raising=False)
    monkeypatch.setitem(cases.NETWORKS, "dacvae", Network("dacvae", "vocos", "vocos", SMALL))
    code, _, lines = bench("--dtypes", "float32")
    assert code == 0
    for line in lines:
        assert "PyPI's vocos has the name of this package" in line["problem"]
        assert float(line["ours_median_seconds"]) > 0
        assert "speedup" not in line


def test_compiled_peer_is_compared_too_and_one_that_fails_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: Tensor) -> Tensor:
        raise ZeroDivisionError

    monkeypatch.setattr(Local, "compiled", lambda self: Local(fail))
    code, _, lines = bench("--compile", "--dtypes", "float32")
    assert code == 0
    assert len(lines) == 12
    for line in lines[::2]:
        assert float(line["speedup"]) > 0
    for line in lines[1::2]:
        assert line["problem"] == "torch.compile of the peer fails: ZeroDivisionError"
    monkeypatch.setattr(Local, "compiled", lambda self: Local(self.function))
    _, text, lines = bench("--compile", "--dtypes", "float32")
    assert [float(line["speedup"]) > 0 for line in lines] == [True] * 12
    assert "plain modules with weight norm, torch.compile" in text


def test_memory_and_profile_are_tables_of_their_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SECONDS", 20.0)
    _, text, _ = bench("--memory", "--profile", "--dtypes", "float32")
    line = next(line for line in text.splitlines() if line.startswith("| dacvae decode | 20 | float32 |"))
    theirs, ours = (int(cell.split()[0]) for cell in line.split("|")[4:6])
    assert theirs > 4  # 20 s at 8 kHz of 2 channels, 4 wide, in float32: 5 MB, once
    assert ours > 0
    profile = [line for line in text.splitlines() if line.startswith("| dacvae decode |") and "aten::" in line]
    assert len(profile) == 1


def test_bad_options_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--runs", "0"]) == 1
    assert cli.main(["bench", "--only", "nothing"]) == 1
    assert "vocos: bench: no case 'nothing'; there are" in capsys.readouterr().err


def test_batch_goes_with_the_shortest_length() -> None:
    assert Settings([10.0, 1.0], batch=8, runs=5).sizes() == [(10.0, 1), (1.0, 1), (1.0, 8)]
    assert Settings([3.0], batch=1, runs=5).sizes() == [(3.0, 1)]


ROW = Row("dac decode", 10.0, 1, "float32", "DacModel", Timing(2.0, 1.5, 3.0), Timing(4.0, 3.9, 4.25), 2.0, 2.2)


def test_missed_target_says_so() -> None:
    line = report.rows_table([ROW]).splitlines()[2]
    assert "| 4.000 s (3.900 to 4.250) | 2.000 s (1.500 to 3.000) | 2.00 (aim 2.20, missed) |" in line
    assert "2.00 (aim 1.50)" in report.rows_table([Row(**{**vars(ROW), "target": 1.5})])


def test_share_of_the_machine_is_aimed_for_where_a_case_says_so() -> None:
    row = Row(**{**vars(ROW), "gemm_share": 0.5})
    assert "| 50% (aim 75%, missed) |" in report.rows_table([row], ["dac decode"])
    assert "| 50% |" in report.rows_table([row], [])


def test_table_is_as_wide_as_its_header() -> None:
    rows = [ROW, Row("dac decode", 1.0, 1, "float32", "DacModel", problem="absent")]
    assert {line.count("|") for line in report.rows_table(rows).splitlines()} == {len(report.HEADER) + 1}


def test_batch_is_compared_with_one_clip_of_the_same_length() -> None:
    rows = [
        ROW,
        Row(**{**vars(ROW), "batch": 8, "ours": Timing(12.0, 12.0, 12.0)}),
        Row(**{**vars(ROW), "seconds": 1.0}),
    ]
    assert report.batch_table(rows).splitlines()[2:] == ["| dac decode | 10 | 8 | float32 | 0.75 |"]


def test_memory_is_compared_with_the_peer() -> None:
    mib = 2**20
    memories = [
        Memory("a", "float32", mib, 4 * mib),
        Memory("b", "float32", 3 * mib, 4 * mib),
        Memory("c", "float32", mib, None),
    ]
    assert report.memory_table(memories, 60.0).splitlines()[2:] == [
        "| a | 60 | float32 | 4 MiB | 1 MiB | 25% |",
        "| b | 60 | float32 | 4 MiB | 3 MiB | 75% (aim 50%, missed) |",
        "| c | 60 | float32 |  | 1 MiB |  |",
    ]


def test_straight_line_is_found_and_a_bend_is_measured() -> None:
    sizes = [1.0, 10.0, 100.0, 600.0]
    line = curves.fitted("a", "seconds", sizes, [0.25 + 0.5 * size for size in sizes])
    assert (line.base, line.slope) == (pytest.approx(0.25), pytest.approx(0.5))
    assert line.deviation < 1e-9
    bent = curves.fitted("a", "seconds", sizes, [0.5 * size**1.2 for size in sizes])
    assert bent.deviation > 0.3


def test_curves_are_measured_and_drawn(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, text, _ = bench("--curves", "--longest", "2", "--dtypes", "float32")
    assert "| dacvae decode | seconds of audio | 1 | 2 |" in text
    assert (tmp_path / "results" / "cpu.png").read_bytes().startswith(b"\x89PNG")


def test_share_of_arithmetic_is_of_the_whole_time() -> None:
    class Products:
        def run(self) -> float:
            matrix = torch.rand(700, 700)
            for _ in range(3):
                matrix = torch.mm(matrix, matrix)
            matrix.sin()
            return 0.0

    found = shares.measure(Products())  # type: ignore[arg-type]
    assert 0.5 < found.arithmetic < 1.0
    assert found.operators[0][0] == "aten::mm"
    assert sum(share for _, share in found.operators) <= 1.0 + 1e-9


def test_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "GEMM_SIZE", 256)
    described = machine.facts(threads=3)
    assert "3 threads used" in described["CPU"]
    assert f"torch {torch.__version__}" in described["versions"]
    assert machine.gemm_gflops(torch.float32, runs=1) > 0.1
