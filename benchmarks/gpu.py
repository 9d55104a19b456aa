"""The GPU engine against eager PyTorch, the public recipe for speed, and what the card can do at best.

    python benchmarks/gpu.py                  # a table, also in benchmarks/results/; at most 8 minutes
    python benchmarks/gpu.py --smoke DIR      # everything but the figures, with tiny networks, on a machine without GPU

Needs torch, triton and what vocos needs, from a checkout that is not installed. Full-size random weights; nothing is
downloaded. What is compared is checked first, and what is wrong is not timed. Contestants alternate; times are medians
between CUDA events. float32 is what torch's flags make of it: by default TF32 in convolutions, for everyone.
"""

from __future__ import annotations

import argparse
import copy
import csv
import itertools
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
SMOKE = "--smoke" in sys.argv[1:]
if SMOKE:
    os.environ |= {"TRITON_INTERPRET": "1", "VOCOS_KERNELS": "triton"}

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

RESULTS = Path(__file__).parent / "results"
DTYPES = (torch.float32,) if SMOKE else (torch.float32, torch.float16, torch.bfloat16)
SECONDS = 100
CHECKED_FRAMES = 16
ROUNDS = 5
# By how many dB a contestant may be farther from float64 than eager PyTorch in the same dtype: it may round elsewhere.
MARGIN_DB = 6.0
Run = Callable[[], Tensor]


class Row(NamedTuple):
    """A line of the table; empty where a column does not apply."""

    work: str
    dtype: str
    contestant: str
    ms: float
    spread_percent: float
    times_eager_float32: float | None = None
    times_eager: float | None = None
    gigabytes_per_second: float | None = None
    share_of_copy_percent: float | None = None
    teraflops: float | None = None
    share_of_matrix_rate_percent: float | None = None
    peak_gib: float | None = None
    snr_db: float | None = None


class Clock:
    """Medians of alternating runs, and the time that is left.

    Args:
        device: "cuda", or "cpu" to try the program.
        minutes: after which no new work is begun.

    Attributes:
        remarks: what was wrong or left out, for the end of the table.
    """

    def __init__(self, device: str, minutes: float) -> None:
        self.device, self.end = device, time.monotonic() + 60 * minutes
        self.remarks: list[str] = []

    def is_over(self) -> bool:
        """Whether no new work is to be begun."""
        return time.monotonic() > self.end

    def milliseconds(self, run: Run, repeats: int = 1) -> float:
        """Of one run; `repeats` make short ones long enough for the events."""
        if self.device == "cpu":
            start = time.perf_counter()
            run()
            return 1e3 * (time.perf_counter() - start)
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        for _ in range(repeats):
            run()
        after.record()
        after.synchronize()
        return before.elapsed_time(after) / repeats

    def medians(self, runs: dict[str, Run]) -> dict[str, tuple[float, float]]:
        """Median of each, and its spread in percent: half of the range between the extremes."""
        rounds = 1 if self.device == "cpu" else ROUNDS
        repeats = {name: max(1, min(50, int(20 / max(self.milliseconds(run), 0.01)))) for name, run in runs.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                times[name].append(self.milliseconds(run, repeats[name]))
        middle = {name: statistics.median(each) for name, each in times.items()}
        return {name: (middle[name], 50 * (max(each) - min(each)) / middle[name]) for name, each in times.items()}

    def peak_gib(self, run: Run) -> float | None:
        """Most memory at once during a run, its inputs and weights included."""
        if self.device == "cpu":
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**30


def snr_db(given: Tensor, wanted: Tensor) -> float:
    """Of a result against the truth; -inf if any of it is not finite."""
    given, wanted = given.detach().double().cpu(), wanted.detach().double().cpu()
    if not given.isfinite().all():
        return float("-inf")
    return float(10 * torch.log10(wanted.square().mean() / (given - wanted).square().mean().clamp_min(1e-30)))


def captured(run: Run, device: str) -> Run:
    """The same as the replay of a CUDA graph."""
    if device == "cpu":
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


class Ceilings(NamedTuple):
    """What the card can do."""

    copy: float  # GB/s, read and written
    matrix: dict[torch.dtype, float]  # TFLOP/s; of float32 with the flags of convolutions


def ceilings(clock: Clock) -> tuple[Ceilings, list[Row]]:
    """Copy bandwidth, and the rate of large matrix products, of random numbers."""
    numbers, size = (1 << 20, 256) if clock.device == "cpu" else (1 << 29, 8192)
    source = torch.randn(numbers, device=clock.device)
    target = torch.empty_like(source)
    works: dict[str, Run] = {"copy": lambda: target.copy_(source)}
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    matrices = {dtype: torch.randn(size, size, device=clock.device).to(dtype) for dtype in DTYPES}
    for dtype, matrix in matrices.items():
        works[str(dtype)] = lambda matrix=matrix: matrix @ matrix  # type: ignore[misc]
    found = clock.medians(works)
    torch.backends.cuda.matmul.allow_tf32 = before
    copy_rate = 8 * numbers / found["copy"][0] / 1e6
    rates = {dtype: 2 * size**3 / found[str(dtype)][0] / 1e9 for dtype in DTYPES}
    rows = [Row("ceiling", "", "copy", *found["copy"], gigabytes_per_second=copy_rate)]
    rows += [
        Row("ceiling", short(dtype), "matrix product", *found[str(dtype)], teraflops=rates[dtype]) for dtype in DTYPES
    ]
    return Ceilings(copy_rate, rates), rows


def short(dtype: torch.dtype) -> str:
    """Its name."""
    return str(dtype).removeprefix("torch.")


def snake_rows(clock: Clock, limits: Ceilings) -> Iterator[Row]:
    """The fused Snake in both layouts, next to eager PyTorch."""
    from vocos.kernels import reference, triton_snake

    samples = 300 if clock.device == "cpu" else 1 << 21
    for dtype, layout, channels in itertools.product(DTYPES, ("channels-last", "channel-first"), (96, 128)):
        x = torch.randn(1, channels, samples, device=clock.device, dtype=dtype)
        if layout == "channels-last":
            x = x.mT.contiguous().mT
        alpha, beta = 0.3 * torch.randn(2, 1, channels, 1, device=clock.device, dtype=dtype)
        pair = triton_snake.coefficients(alpha, beta, dtype)
        runs: dict[str, Run] = {
            "eager": lambda x=x, a=alpha, b=beta: reference.snake_beta(x, a, b),  # type: ignore[misc]
            "ours": lambda x=x, p=pair: triton_snake.launch(x, *p),  # type: ignore[misc]
        }
        part = x[:, :, :1000].double()
        truth = reference.snake_beta(part, alpha.double(), beta.double())
        quality = {name: snr_db(run()[:, :, :1000], truth) for name, run in runs.items()}
        work, traffic = f"snake, {channels} channels, {layout}", 2 * x.numel() * x.element_size()
        yield from timed(clock, limits, work, dtype, runs, quality, traffic=traffic)


def stack_rows(clock: Clock, limits: Ceilings) -> Iterator[Row]:
    """Three residual units, next to eager PyTorch, and without the kernel for what follows their convolutions."""
    from gpu_peers import fill, plain

    from vocos.kernels import triton_unit
    from vocos.kernels.triton_chain import TritonChain
    from vocos.nn.blocks import DILATIONS, ResidualUnit, SnakeBeta

    widths, samples = ((16,), 90) if clock.device == "cpu" else ((64, 96, 128, 192, 256), 1 << 20)
    for channels, dtype in itertools.product(widths, DTYPES):
        units = nn.Sequential(*(ResidualUnit(channels, dilation, SnakeBeta) for dilation in DILATIONS))
        fill(units)
        units.to(clock.device, dtype).requires_grad_(False)
        chain = tuple(step for unit in units for step in unit.chain())
        fast, slow = TritonChain(chain, dtype), plain(chain).to(clock.device, dtype).requires_grad_(False)
        with mock.patch.object(triton_unit, "prepare", return_value=None):
            parted = TritonChain(chain, dtype)
        x = torch.randn(1, channels, samples, device=clock.device).to(dtype)
        rows = x.mT.contiguous().mT
        runs: dict[str, Run] = {
            "eager": lambda m=slow, x=x: m(x),  # type: ignore[misc]
            "ours": lambda m=fast, x=rows: m(x),  # type: ignore[misc]
            "ours, unfused": lambda m=parted, x=rows: m(x),  # type: ignore[misc]
        }
        part = rows[:, :, :2000]
        truth = copy.deepcopy(slow).double()(part.double())
        modules = {"eager": slow, "ours": fast, "ours, unfused": parted}
        quality = {name: snr_db(module(part), truth) for name, module in modules.items()}
        work = f"three residual units, {channels} channels"
        yield from timed(clock, limits, work, dtype, runs, quality, flops=flops(chain, samples))


def flops(chain: Sequence[object], samples: int) -> float:
    """Arithmetic of the convolutions of a chain."""
    from vocos.kernels import Convolution, Residual, Transposed

    total = 0.0
    for step in chain:
        after = step.length(samples)  # type: ignore[attr-defined]
        if isinstance(step, Convolution):
            total += 2 * step.weight.numel() * after
        elif isinstance(step, Transposed):
            total += 2 * step.weight.numel() * samples
        elif isinstance(step, Residual):
            total += flops(step.steps, samples)
        samples = after
    return total


def codec_rows(
    clock: Clock, limits: Ceilings, codec: str, direction: str, dtype: torch.dtype, eager_float32: dict[str, float]
) -> Iterator[Row]:
    """A whole direction of a codec: eager, the recipe, ours, and ours in a CUDA graph."""
    import gpu_peers

    from vocos import kernels

    is_small = clock.device == "cpu"
    encoder, plain_encoder, decoder, plain_decoder, hop, rate = gpu_peers.halves(codec, is_small)
    halves = (encoder, plain_encoder) if direction == "encode" else (decoder, plain_decoder)
    ours, slow = map(copy.deepcopy, halves)
    frames = 6 if is_small else SECONDS * rate // hop
    channels = ours.conv_in.in_channels
    x = torch.randn(1, channels, frames * (hop if direction == "encode" else 1))
    x = x.clamp(-3, 3) / 3 if direction == "encode" else x
    part = x[:, :, : CHECKED_FRAMES * (hop if direction == "encode" else 1)]
    reference = copy.deepcopy(slow).to(clock.device).double()
    truth = reference(part.double().to(clock.device))
    del reference
    for module in (ours, slow):
        module.to(clock.device, dtype).requires_grad_(False)
    x, part = x.to(clock.device, dtype), part.to(clock.device, dtype)
    if kernels.engine(x.device, dtype) != "triton":
        raise SystemExit("gpu.py: the engine that is to be measured is not the one that runs; unset VOCOS_KERNELS")
    fast = gpu_peers.recipe(slow)
    compiled = torch.compile(fast, backend="eager" if is_small else "inductor", dynamic=False)
    modules: dict[str, nn.Module] = {"eager": slow, "recipe": fast, "ours": ours}
    quality = {name: snr_db(module(part), truth) for name, module in modules.items()}
    runs: dict[str, Run] = {
        "eager": lambda: slow(x),
        "recipe": captured(lambda: compiled(x), clock.device),
        "ours": lambda: ours(x),
        "ours, captured": captured(lambda: ours(x), clock.device),
    }
    quality["ours, captured"] = quality["ours"]
    whole = runs["eager"]().cpu()
    for name in ("recipe", "ours", "ours, captured"):  # at full length too, where there is no truth but eager's
        if snr_db(runs[name](), whole) < quality["eager"] - MARGIN_DB:
            quality[name] = float("-inf")
    work = f"{codec} {direction}, {SECONDS} s" if not is_small else f"{codec} {direction}"
    needed = flops(ours.chain(), x.shape[2])
    yield from timed(clock, limits, work, dtype, runs, quality, flops=needed, base=eager_float32)


def timed(
    clock: Clock,
    limits: Ceilings,
    work: str,
    dtype: torch.dtype,
    runs: dict[str, Run],
    quality: dict[str, float],
    traffic: float | None = None,
    flops: float | None = None,
    base: dict[str, float] | None = None,
) -> Iterator[Row]:
    """Rows of contestants for the same work, the first of which is eager.

    Args:
        clock: that times.
        limits: of the card.
        work: its name.
        dtype: of the data.
        runs: by contestant.
        quality: SNR by contestant, in dB.
        traffic: bytes that have to be moved.
        flops: arithmetic that has to be done.
        base: milliseconds of eager float32 by work, filled here.
    """
    for name in list(runs):
        if quality[name] < quality["eager"] - MARGIN_DB:
            levels = f"{quality[name]:.1f} dB, eager {quality['eager']:.1f} dB"
            clock.remarks.append(f"WRONG, and not timed: {work}, {short(dtype)}: {name} has {levels}")
            del runs[name]
    found = clock.medians(runs)
    eager = found["eager"][0]
    if base is not None and dtype == torch.float32:
        base[work] = eager
    for name, (ms, spread) in found.items():
        bandwidth = None if traffic is None else traffic / ms / 1e6
        rate = None if flops is None else flops / ms / 1e9
        yield Row(
            work,
            short(dtype),
            name,
            ms,
            spread,
            None if base is None or work not in base else base[work] / ms,
            eager / ms,
            bandwidth,
            None if bandwidth is None else 100 * bandwidth / limits.copy,
            rate,
            None if rate is None else 100 * rate / limits.matrix[dtype],
            clock.peak_gib(runs[name]) if "captured" not in name and name != "recipe" else None,
            quality[name],
        )


def cases(clock: Clock, limits: Ceilings) -> Iterator[tuple[str, Iterator[Row]]]:
    """All work, the most telling first, for the time may not suffice for all."""
    base: dict[str, float] = {}
    orders = [DTYPES[:2], DTYPES[2:]]
    for dtypes, direction in itertools.product(orders, ("decode", "encode")):
        for codec, dtype in itertools.product(("dacvae", "oobleck"), dtypes):
            yield f"{codec} {direction} {short(dtype)}", codec_rows(clock, limits, codec, direction, dtype, base)
        if direction == "decode" and torch.float32 in dtypes:
            yield "snake", snake_rows(clock, limits)
            yield "residual units", stack_rows(clock, limits)


def markdown(rows: Sequence[Row], about: str, remarks: Sequence[str] = ()) -> str:
    """The table, and what is to be said about it."""
    heads = ["work", "dtype", "", "ms", "±%", "x eager float32", "x eager", "GB/s", "% of copy", "TFLOP/s"]
    heads += ["% of matrix rate", "peak GiB", "SNR dB"]
    lines = [about, "", "| " + " | ".join(heads) + " |", "| --- " * 3 + "| ---: " * (len(heads) - 3) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {remark}" for remark in remarks)]).rstrip() + "\n"


def _cell(value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def about(device: str) -> str:
    """Hardware and versions."""
    import triton

    versions = f"torch {torch.__version__}, triton {triton.__version__}, Python {sys.version.split()[0]}"
    if device == "cpu":
        return f"A trial without a GPU: the figures mean nothing. {versions}."
    card = torch.cuda.get_device_properties(0)
    tf32 = "with" if torch.backends.cudnn.allow_tf32 else "without"
    return (
        f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {card.multi_processor_count} multiprocessors; {versions}, "
        f"CUDA {torch.version.cuda}; float32 {tf32} TF32. Medians of {ROUNDS} alternating runs."
    )


@torch.no_grad()
def measure(clock: Clock) -> list[Row]:
    """All rows that the time allows, printed as they come."""
    limits, rows = ceilings(clock)
    for name, work in cases(clock, limits):
        if clock.is_over():
            clock.remarks.append(f"Left out, for the time was over: {name}")
            continue
        try:
            for row in work:
                print(", ".join(filter(None, map(_cell, row))), flush=True)
                rows.append(row)
        except torch.OutOfMemoryError:
            clock.remarks.append(f"Left out, for the memory did not suffice: {name}")
        if clock.device == "cuda":
            torch._dynamo.reset()
            torch.cuda.empty_cache()
    return rows


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6.0, help="after which no new work is begun")
    parser.add_argument("--smoke", type=Path, metavar="DIR", help="try everything on the CPU; the table goes there")
    arguments = parser.parse_args()
    if not SMOKE and not torch.cuda.is_available():
        print("gpu.py: no GPU that torch can use; --smoke DIR tries the program without one", file=sys.stderr)
        return 2
    clock = Clock("cpu" if SMOKE else "cuda", arguments.minutes)
    if SMOKE:  # in full float32, with all kernels nevertheless
        from vocos.kernels import triton_unit

        torch.backends.cudnn.allow_tf32 = False
        with mock.patch.object(triton_unit, "pays", return_value=True):
            rows = measure(clock)
    else:
        rows = measure(clock)
    table = markdown(rows, about(clock.device), clock.remarks)
    print("\n" + table)
    folder = arguments.smoke or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    card = "smoke" if SMOKE else re.sub(r"\W+", "-", torch.cuda.get_device_name()).strip("-").lower()
    (folder / f"gpu-{card}.md").write_text(table, encoding="utf-8")
    with (folder / f"gpu-{card}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)
    return int(any(remark.startswith("WRONG") for remark in clock.remarks))


if __name__ == "__main__":
    sys.exit(main())
