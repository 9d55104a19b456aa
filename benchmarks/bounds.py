"""What stands between the aims of `vocos bench` and this machine, on a CPU: python benchmarks/bounds.py

Three bounds, each measured here: the time that the arithmetic of a case takes if every multiplication is done at the
machine's best rate and nothing else takes any; the time of EnCodec's LSTM, whose steps must wait for each other and
which is the vendor's in both implementations; and the signal-to-noise ratio of bfloat16 if nothing is rounded but the
factors of its products.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import machine, weights
from bench.cases import CASES, NETWORKS, Case
from bench.flops import gflop
from bench.measure import Ours, given
from bench.report import table

from vocos.kernels.dense import Packed, has_library
from vocos.kernels.steps import Convolution, Transposed
from vocos.nn.seanet import ResidualLSTM
from vocos.selftest import plain_kernels, snr_db
from vocos.voco import Voco

DTYPES = ("float32", "bfloat16")
ROWS, INPUTS, OUTPUTS = 1024, 1024, 1024  # of the fastest product


def median_seconds(function: Callable[[], object], runs: int) -> float:
    """Median time of a call, after one that is not counted."""
    function()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def best_gflops(dtype: torch.dtype) -> float:
    """Rate of the faster of the machine's two libraries for matrix products."""
    best = machine.gemm_gflops(dtype)
    if has_library(dtype):
        product, x = Packed(torch.rand(OUTPUTS, INPUTS).to(dtype)), torch.rand(ROWS, INPUTS).to(dtype)
        best = max(best, 2e-9 * ROWS * INPUTS * OUTPUTS / median_seconds(lambda: product(x, None), 30))
    return best


def rounded(x: Tensor) -> Tensor:
    """The nearest that bfloat16 has, as float32."""
    return x.bfloat16().float()


@contextmanager
def rounded_factors() -> Iterator[None]:
    """Inside, the definitions of convolutions round the factors of their products to bfloat16, and nothing else."""
    originals = {kind: kind.part for kind in (Convolution, Transposed)}

    def rounding(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda step, x, *where: original(step._replace(weight=rounded(step.weight)), rounded(x), *where)

    try:
        for kind, original in originals.items():
            kind.part = rounding(original)
        yield
    finally:
        for kind, original in originals.items():
            kind.part = original


def snr_floor(voco: Voco[Any], work: str, seconds: float) -> float:
    """Of a codec whose stacks of layers round nothing to bfloat16 but the factors of products, in dB."""
    ours = Ours(voco, work)
    ours.prepare(given(voco, work, seconds, batch=1))
    with plain_kernels():
        ours.run()
        exact = ours.output()
        with rounded_factors():
            ours.run()
    return snr_db(ours.output(), exact)


def case_bounds(case: Case, voco: Voco[Any], seconds: float, rates: dict[str, float]) -> list[str]:
    """A line of the table."""
    shape = tuple(given(voco, case.work, seconds, batch=1).shape)
    work = gflop(voco, case.work, shape)
    least = [f"{work / rates[dtype]:.2f} s" if dtype in rates else "" for dtype in DTYPES]
    floor = f"{snr_floor(voco, case.work, 1.0):.1f} dB" if case.snr_db and case.network != "mel" else ""
    return [case.name, f"{work:.0f}", *least, floor]


def lstm_seconds(voco: Voco[Any], seconds: float) -> float:
    """Of the recurrent layers of one direction."""
    layers = [module for module in voco.network.encoder.modules() if isinstance(module, ResidualLSTM)]
    channels = layers[0].lstm.input_size
    x = torch.randn(1, channels, round(seconds * voco.frame_rate))
    with torch.inference_mode():
        return median_seconds(lambda: [layer(x) for layer in layers], 9)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio; default: 10")
    options = parser.parse_args(arguments)
    for name, value in machine.facts(torch.get_num_threads()).items():
        print(f"- {name}: {value}")
    rates = {dtype: best_gflops(getattr(torch, dtype)) for dtype in DTYPES}
    print(f"- matrix products: {', '.join(f'{rate:.0f} GFLOP/s in {dtype}' for dtype, rate in rates.items())}")
    rows = []
    for network in dict.fromkeys(case.network for case in CASES):
        with tempfile.TemporaryDirectory() as folder:
            weights.write(NETWORKS[network], Path(folder))
            voco = weights.read(NETWORKS[network], Path(folder))
            if network == "encodec":
                print(f"- EnCodec's LSTM in {options.seconds:g} s: {lstm_seconds(voco, options.seconds):.3f} s")
            rows += [case_bounds(c, voco, options.seconds, rates) for c in CASES if c.network == network]
    header = "case", "GFLOP", "least time in float32", "least time in bfloat16", "SNR with rounded factors only"
    print(f"\n{table(header, rows)}")


if __name__ == "__main__":
    main()
