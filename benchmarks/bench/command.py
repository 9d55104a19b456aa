"""The run of `vocos bench`: what is measured in which order, printed as it comes, written at the end."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench import curves, machine, memory, report, shares, weights
from bench.cases import NETWORKS, Case, chosen
from bench.comparison import Settings, compare
from bench.measure import Ours, Row, given
from vocos.errors import InvalidInput
from vocos.weights.atomic import replacing

STEM = "cpu"  # of the files written


@dataclass
class Results:
    """What has been measured so far."""

    rows: list[Row] = field(default_factory=list)
    memories: list[memory.Memory] = field(default_factory=list)
    curves: list[curves.Curve] = field(default_factory=list)
    shares: dict[str, shares.Shares] = field(default_factory=dict)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write. Returns the exit code: 1 if a result of ours was wrong."""
    cases = chosen(arguments.only)
    if min(arguments.runs, arguments.batch) < 1 or min(arguments.seconds) <= 0 or arguments.longest < 2:
        raise InvalidInput("bench: expected --runs, --batch and --seconds above zero, and --longest of at least 2")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    facts = machine.facts(torch.get_num_threads())
    facts["command"] = shlex.join(["vocos", *sys.argv[1:]])
    results = Results()
    for name in dict.fromkeys(case.network for case in cases):
        with tempfile.TemporaryDirectory(prefix="vocos-bench-") as folder:
            weights.write(NETWORKS[name], Path(folder))
            _measure([case for case in cases if case.network == name], Path(folder), arguments, results)
    _write(arguments.output, cases, facts, results)
    return 1 if any(row.is_wrong for row in results.rows) else 0


def _measure(cases: Sequence[Case], folder: Path, arguments: argparse.Namespace, results: Results) -> None:
    """All that is wanted of the cases of one network."""
    network = NETWORKS[cases[0].network]
    python = arguments.pypi_python or os.environ.get("VOCOS_PYPI_PYTHON")
    settings = Settings(arguments.seconds, arguments.batch, arguments.runs, arguments.compile, python)
    vocos = {dtype: weights.read(network, folder, dtype) for dtype in dict.fromkeys(["float32", *arguments.dtypes])}
    for case in cases:
        for row in compare(case, vocos, folder, settings):
            results.rows.append(row)
            print(f"{row.case}, {row.seconds:g} s x {row.batch}, {row.dtype}: {_brief(row)}", file=sys.stderr)
        if arguments.profile:
            ours = Ours(vocos["float32"], case.work)
            ours.prepare(given(vocos["float32"], case.work, arguments.seconds[0], batch=1))
            results.shares[case.name] = shares.measure(ours)
        if arguments.curves:
            print(f"{case.name}: curves", file=sys.stderr)
            longest, runs = arguments.longest, arguments.runs
            results.curves += curves.measure(case.name, case.work, vocos["float32"], longest, runs)
    vocos.clear()
    for case in cases:
        if arguments.memory and case.work == "decode":
            for dtype in arguments.dtypes:
                print(f"{case.name}: memory in {dtype}", file=sys.stderr)
                results.memories.append(memory.measure(case, dtype, folder, python))


def _brief(row: Row) -> str:
    if row.ours is None:
        return row.problem
    against = f", {row.speedup:.2f} times as fast as {row.peer}" if row.speedup else f" ({row.problem})"
    return f"{row.ours.median:.3f} s{against}"


def _write(folder: Path, cases: Sequence[Case], facts: dict[str, str], results: Results) -> None:
    gemm_cases = [case.name for case in cases if case.has_gemm_target]
    lead = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    parts = [lead, report.rows_table(results.rows, gemm_cases)]
    if any(row.batch > 1 for row in results.rows):
        parts.append(report.batch_table(results.rows))
    if results.memories:
        parts.append(report.memory_table(results.memories, memory.SECONDS))
    if results.curves:
        parts.append(f"![time over length and batch]({STEM}.png)\n\n{report.curves_table(results.curves)}")
    if results.shares:
        parts.append(report.shares_table(results.shares))
    text = "\n\n".join(parts) + "\n"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    for ending, content in ((".md", text), (".csv", report.rows_csv(results.rows, facts))):
        with replacing(folder / f"{STEM}{ending}") as path:
            path.write_text(content, encoding="utf-8")
    if results.curves:
        curves.write_picture(folder / f"{STEM}.png", results.curves)
    print(f"written to {folder / STEM}.md and .csv{' and .png' if results.curves else ''}", file=sys.stderr)
