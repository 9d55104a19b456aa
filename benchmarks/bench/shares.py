"""Where our time goes: what share of it is the arithmetic of convolutions and matrix products."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch.profiler import ProfilerActivity, profile

from bench.contestants import Contestant

# Operators that do the arithmetic themselves; their callers have no time of their own.
ARITHMETIC = re.compile(
    r"conv|linear_pointwise|^aten::(mm|addmm|bmm|baddbmm|addbmm|_?linear|linear)$|gemm|rnn|lstm|sgemm"
)
SHOWN = 8  # operators


@dataclass(frozen=True)
class Shares:
    """Of the time on the CPU.

    Attributes:
        arithmetic: share of convolutions, matrix products and recurrent layers.
        operators: the slowest operators with their shares.
    """

    arithmetic: float
    operators: list[tuple[str, float]]


def measure(contestant: Contestant) -> Shares:
    """Profile one run, after one that is not counted."""
    contestant.run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        contestant.run()
    taken = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(taken.values())
    arithmetic = sum(time for name, time in taken.items() if ARITHMETIC.search(name))
    slowest = sorted(taken.items(), key=lambda item: -item[1])[:SHOWN]
    return Shares(arithmetic / total, [(name, time / total) for name, time in slowest])
