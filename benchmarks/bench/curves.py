"""How our time grows with the length of a clip and with the number of clips: it should be a straight line."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Ours, alternate, given
from vocos.errors import UnsupportedOperation
from vocos.voco import Voco
from vocos.weights.atomic import replacing

LENGTHS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)  # seconds
BATCHES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Curve:
    """Times over what grows.

    Attributes:
        case: name of the case.
        axis: what grows.
        sizes: of it.
        seconds: that the work took, the median.
        base: of the line base + slope * size.
        slope: of the line.
        deviation: largest distance of a time from the line, relative to the line.
    """

    case: str
    axis: str
    sizes: Sequence[float]
    seconds: Sequence[float]
    base: float
    slope: float
    deviation: float


def fitted(case: str, axis: str, sizes: Sequence[float], seconds: Sequence[float]) -> Curve:
    """The line through the times that is closest relative to each, so that short ones count as much as long ones."""
    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    base, slope = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones_like(y), rcond=None)[0]
    line = base + slope * x
    return Curve(case, axis, sizes, seconds, float(base), float(slope), float(np.abs(y / line - 1).max()))


def measure(case: str, work: str, voco: Voco[Any], longest: float, runs: int) -> list[Curve]:
    """The curve over the length of one clip, and that over the batch, of clips of a second."""
    lengths = [length for length in LENGTHS if length <= longest]
    over_length = [_median(voco, work, length, 1, runs) for length in lengths]
    over_batch = [_median(voco, work, 1.0, batch, runs) for batch in BATCHES]
    return [
        fitted(case, "seconds of audio", lengths, over_length),
        fitted(case, "clips of a second at once", BATCHES, over_batch),
    ]


def _median(voco: Voco[Any], work: str, seconds: float, batch: int, runs: int) -> float:
    ours = Ours(voco, work)
    ours.prepare(given(voco, work, seconds, batch))
    if seconds * batch <= 10.0:  # the first call prepares what later ones reuse; in a long one that is nothing
        ours.run()
    return alternate({"ours": ours}, runs if seconds * batch <= 60.0 else 1)["ours"].median


def write_picture(path: Path, curves: Sequence[Curve]) -> None:
    """One panel for each thing that grows, one line for each case: dots are times, the line is the fitted one.

    Raises:
        UnsupportedOperation: if matplotlib is not installed.
    """
    try:
        matplotlib = importlib.import_module("matplotlib")
        figure_class = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise UnsupportedOperation("--curves needs matplotlib; pip install '.[bench]' in the checkout") from error
    axes_names = list(dict.fromkeys(curve.axis for curve in curves))
    with matplotlib.rc_context({"font.size": 9}):
        figure = figure_class(figsize=(5 * len(axes_names), 4.5), layout="constrained")
        for place, name in enumerate(axes_names):
            axes = figure.add_subplot(1, len(axes_names), place + 1)
            for curve in (curve for curve in curves if curve.axis == name):
                (dots,) = axes.plot(curve.sizes, curve.seconds, "o", markersize=4, label=curve.case)
                line = [curve.base + curve.slope * size for size in curve.sizes]
                axes.plot(curve.sizes, line, color=dots.get_color(), linewidth=1)
            axes.set(xscale="log", yscale="log", xlabel=name, ylabel="seconds of work")
            axes.legend()
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
