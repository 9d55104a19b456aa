"""Results as tables: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.cases import GEMM_SHARE, MEMORY_SHARE
from bench.curves import Curve
from bench.measure import Row, Timing
from bench.memory import Memory
from bench.shares import Shares

HEADER = (
    "case", "seconds", "batch", "ours in", "peer (float32)", "theirs", "ours", "times as fast", "times real time",
    "share of GEMM rate in GFLOP/s", "error", "SNR",
)  # fmt: skip


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_table(rows: Sequence[Row], gemm_cases: Sequence[str] = ()) -> str:
    """The comparison; a figure that misses its target says so.

    Args:
        rows: in the order they were measured.
        gemm_cases: names of the cases that aim for a share of the machine's rate in float32.
    """
    return table(HEADER, [_cells(row, row.case in gemm_cases and row.dtype == "float32") for row in rows])


def _cells(row: Row, has_gemm_target: bool) -> list[str]:
    start = [row.case, f"{row.seconds:g}", str(row.batch), row.dtype, row.peer]
    if row.problem:
        return [*start, row.problem, *[""] * (len(HEADER) - len(start) - 1)]
    gemm_target = GEMM_SHARE if has_gemm_target else None
    return [
        *start,
        _time(row.theirs),
        _time(row.ours),
        _aimed(row.speedup, row.target, "{:.2f}"),
        _aimed(row.real_time, None, "{:.1f}"),
        _aimed(row.gemm_share, gemm_target, "{:.0%}") + (f" of {row.gemm_gflops:.0f}" if row.gemm_gflops else ""),
        _aimed(row.error, None, "{:.1e}"),
        _aimed(row.snr_db, row.snr_target, "{:.1f} dB"),
    ]


def _time(timing: Timing | None) -> str:
    return "" if timing is None else f"{timing.median:.3f} s ({timing.low:.3f} to {timing.high:.3f})"


def _aimed(value: float | None, target: float | None, form: str) -> str:
    if value is None:
        return ""
    text = form.format(value)
    if target is None:
        return text
    return f"{text} (aim {form.format(target)}{'' if value >= target else ', missed'})"


def batch_table(rows: Sequence[Row]) -> str:
    """Our time for a clip in a batch over that for one clip alone; 1 or less is aimed for."""
    alone = {(row.case, row.seconds, row.dtype): row.ours for row in rows if row.batch == 1 and row.ours}
    lines = []
    for row in rows:
        single = alone.get((row.case, row.seconds, row.dtype))
        if row.batch > 1 and row.ours and single:
            ratio = row.ours.median / row.batch / single.median
            cells = [row.case, f"{row.seconds:g}", str(row.batch), row.dtype, f"{ratio:.2f}"]
            lines += [cells] if cells not in lines else []
    return table(("case", "seconds", "batch", "ours in", "time per clip over that of one alone"), lines)


def memory_table(memories: Sequence[Memory], seconds: float) -> str:
    """Peak memory, ours over the peer's."""
    lines = []
    for memory in memories:
        share = memory.ours / memory.theirs if memory.theirs else None
        missed = f" (aim {MEMORY_SHARE:.0%}, missed)" if share is not None and share > MEMORY_SHARE else ""
        sizes = ["" if size is None else f"{size / 2**20:.0f} MiB" for size in (memory.theirs, memory.ours)]
        ratio = "" if share is None else f"{share:.0%}{missed}"
        lines.append([memory.case, f"{seconds:g}", memory.dtype, *sizes, ratio])
    return table(("case", "seconds", "ours in", "theirs", "ours", "ours over theirs"), lines)


def curves_table(curves: Sequence[Curve]) -> str:
    """The fitted lines, and how far the times are from them."""
    header = ("case", "over", "from", "to", "line", "largest deviation")
    return table(
        header,
        [
            [
                curve.case,
                curve.axis,
                f"{min(curve.sizes):g}",
                f"{max(curve.sizes):g}",
                f"{curve.base:.4f} s + {curve.slope:.4f} s each",
                f"{curve.deviation:.0%}",
            ]
            for curve in curves
        ],
    )


def shares_table(shares: Mapping[str, Shares]) -> str:
    """What share of our time is arithmetic, and the slowest operators."""
    lines = []
    for name, found in shares.items():
        slowest = ", ".join(f"{operator} {share:.0%}" for operator, share in found.operators)
        lines.append([name, f"{found.arithmetic:.0%}", slowest])
    return table(("case", "convolutions and products", "slowest operators"), lines)


def rows_csv(rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """Every field of every row, a time as three, and what they were measured on."""
    stream = io.StringIO()
    flat = [{**_flat(asdict(row)), **facts} for row in rows]
    names = list(dict.fromkeys(name for line in flat for name in line))  # a row without times lacks their columns
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{part}_seconds": seconds for part, seconds in value.items()}
        elif value is not None:
            flat[name] = value
    return flat
