"""One case after the other: checked, then timed beside its peer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import machine
from bench.cases import NETWORKS, Case
from bench.contestants import Local, Remote
from bench.flops import gflop
from bench.measure import Ours, Row, alternate, given, problem_with, relative_error, target_of
from bench.peers import contestant
from vocos.errors import UnsupportedOperation
from vocos.selftest import snr_db
from vocos.voco import Voco

Sides = dict[str, Local | Remote]
PEER, COMPILED = "peer", "compiled"


@dataclass(frozen=True)
class Settings:
    """What a comparison is made with.

    Attributes:
        seconds: lengths of a clip.
        batch: clips at once, of the shortest length, besides one alone.
        runs: timed, of each side.
        compile: whether the peer under torch.compile takes part.
        pypi_python: Python that has PyPI's vocos, if there is one.
    """

    seconds: Sequence[float]
    batch: int
    runs: int
    compile: bool = False
    pypi_python: str | None = None

    def sizes(self) -> list[tuple[float, int]]:
        """Seconds and clips of each measurement."""
        alone = [(seconds, 1) for seconds in self.seconds]
        return alone + ([(min(self.seconds), self.batch)] if self.batch > 1 else [])


def compare(case: Case, vocos: Mapping[str, Voco[Any]], folder: Path, settings: Settings) -> Iterator[Row]:
    """Rows of a case, as they are measured.

    Args:
        case: which.
        vocos: ours by dtype, float32 among them.
        folder: with what `weights.write` wrote.
        settings: what to measure.
    """
    sides: Sides = {}
    notes = {PEER: "", COMPILED: ""}
    name = NETWORKS[case.network].peer
    try:
        name, sides[PEER] = contestant(
            NETWORKS[case.network], case.work, folder, vocos["float32"], settings.pypi_python
        )
        if settings.compile:
            sides[COMPILED] = _compiled(sides[PEER])
    except UnsupportedOperation as error:
        notes[COMPILED if PEER in sides else PEER] = str(error)
    sides |= {dtype: Ours(voco, case.work) for dtype, voco in vocos.items() if _belongs(case, dtype)}
    gemm = {dtype: machine.gemm_gflops(getattr(torch, dtype)) for dtype in vocos if dtype in sides}
    try:
        for seconds, batch in settings.sizes():
            blank = Row(case.name, seconds, batch, "", name)
            for row in _measured(case, sides, vocos["float32"], blank, settings, notes):
                best = gemm[row.dtype]
                yield replace(row, gemm_gflops=best, gemm_share=row.gflops and row.gflops / best)
    finally:
        for side in sides.values():
            if isinstance(side, Remote):
                side.close()


def _belongs(case: Case, dtype: str) -> bool:
    return dtype == "float32" or case.bfloat16 is not None


def _compiled(peer: Local | Remote) -> Local | Remote:
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        raise UnsupportedOperation("torch.compile needs a C++ compiler, and this machine has none")
    return peer.compiled()


def _measured(
    case: Case, sides: Sides, voco: Voco[Any], blank: Row, settings: Settings, notes: dict[str, str]
) -> Iterator[Row]:
    tensor = given(voco, case.work, blank.seconds, blank.batch)
    results: dict[str, Tensor] = {}
    for name, side in sides.items():
        side.prepare(tensor)
        try:
            side.run()
        except Exception as error:  # the compiler's are of many types
            if name != COMPILED:
                raise
            notes = {**notes, COMPILED: f"torch.compile of the peer fails: {type(error).__name__}"}
        else:
            results[name] = side.output().float()
    sides = {name: side for name, side in sides.items() if name in results}
    dtypes = [name for name in sides if name not in (PEER, COMPILED)]
    expected = results.get(PEER, results["float32"])
    problems = {dtype: problem_with(results[dtype], expected, results["float32"], dtype) for dtype in dtypes}
    timings = alternate({name: side for name, side in sides.items() if not problems.get(name)}, settings.runs)
    work = gflop(voco, case.work, tuple(tensor.shape))
    for dtype in dtypes:
        row = replace(blank, dtype=dtype, gflop=work, problem=problems[dtype], is_wrong=bool(problems[dtype]))
        if not row.problem:
            row = replace(
                row,
                ours=timings[dtype],
                error=relative_error(results[dtype], expected) if dtype == "float32" and PEER in results else None,
                snr_db=None if dtype == "float32" else snr_db(results[dtype], results["float32"]),
                snr_target=None if dtype == "float32" else case.snr_db,
                gflops=work / timings[dtype].median,
                real_time=blank.seconds * blank.batch / timings[dtype].median,
            )
        for against in (PEER, COMPILED):
            if against in timings and row.ours:
                yield replace(
                    row,
                    peer=f"{row.peer}{', torch.compile' if against == COMPILED else ''}",
                    theirs=timings[against],
                    speedup=timings[against].median / row.ours.median,
                    target=target_of(case, dtype, blank.seconds, against),
                )
            elif notes[against] or (against == PEER and row.problem):
                yield replace(row, problem=row.problem or notes[against])
