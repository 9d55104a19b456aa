"""What is timed, in which order, and what is not timed because it is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from bench.cases import CASES, NETWORKS, chosen
from bench.flops import gflop
from bench.measure import Ours, alternate, given, problem_with, relative_error, target_of
from bench.weights import LAYOUTS
from torch import Tensor

from vocos import get_voco
from vocos.errors import InvalidInput
from vocos.registry import BUILT_IN


class Recorded:
    """A contestant whose times are given, and that notes when it runs."""

    def __init__(self, name: str, seconds: list[float], order: list[str]) -> None:
        self.name, self.seconds, self.order = name, iter(seconds), order

    def prepare(self, given: Tensor) -> None: ...

    def run(self) -> float:
        self.order.append(self.name)
        return next(self.seconds)

    def output(self) -> Tensor:
        return torch.zeros(1)

    def peak(self) -> int:
        return 0


def test_contestants_run_in_turn() -> None:
    order: list[str] = []
    contestants = {name: Recorded(name, [1.0] * 3, order) for name in ("peer", "ours", "third")}
    alternate(contestants, runs=3)
    assert order == ["peer", "ours", "third"] * 3


def test_time_is_the_median_and_its_spread() -> None:
    timing = alternate({"ours": Recorded("ours", [3.0, 1.0, 9.0], [])}, runs=3)["ours"]
    assert (timing.median, timing.low, timing.high) == (3.0, 1.0, 9.0)


def test_equal_results_may_be_timed() -> None:
    result = torch.randn(1, 2, 50)
    assert problem_with(result, result + 1e-6, result, "float32") == ""
    assert problem_with(result.bfloat16().float(), result, result, "bfloat16") == ""


@pytest.mark.parametrize(
    ("result", "dtype", "reason"),
    [
        (torch.linspace(-1, 1, 50) + 1e-3, "float32", r"ours differs from the peer's by 1.0e-03 of the largest"),
        (torch.linspace(-1, 1, 49), "float32", "ours differs from the peer's by inf"),
        (torch.linspace(-1, 1, 50) * math.nan, "float32", "ours differs from the peer's by inf"),
        (torch.linspace(-1, 1, 50) * 1.2, "bfloat16", r"ours in bfloat16 has 14.0 dB against float32, less than 20"),
        (torch.linspace(-1, 1, 50) * math.nan, "bfloat16", r"has -inf dB"),
    ],
)
def test_wrong_result_may_not_be_timed(result: Tensor, dtype: str, reason: str) -> None:
    expected = torch.linspace(-1, 1, 50)
    assert reason in problem_with(result, expected, expected, dtype)


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1e3])
def test_signal_that_vanished_or_grew_without_end_shows_nothing(scale: float) -> None:
    result = scale * torch.randn(1, 2, 50)
    assert "these weights show nothing" in problem_with(result, result, result, "float32")


def test_error_is_relative_to_the_largest_value() -> None:
    assert relative_error(torch.tensor([4.0, -7.0]), torch.tensor([4.0, -8.0])) == 0.125


def test_short_clips_and_other_peers_have_targets_of_their_own() -> None:
    decode = next(case for case in CASES if case.name == "dac decode")
    assert target_of(decode, "float32", 10.0, "peer") == 2.2
    assert target_of(decode, "bfloat16", 10.0, "peer") == 6.0
    assert target_of(decode, "float32", 1.0, "peer") == pytest.approx(1.76)
    assert target_of(decode, "float32", 10.0, "compiled") == 1.3
    assert target_of(decode, "bfloat16", 10.0, "compiled") is None


def test_ours_is_called_as_its_users_call_it() -> None:
    voco = get_voco("griffinlim", dtype=torch.bfloat16)
    for work, shape in (("encode", (2, 1, 5888)), ("decode", (2, 100, 23))):
        tensor = given(voco, work, 0.25, batch=2)
        assert (tensor.shape, tensor.dtype) == (shape, torch.float32)
        ours = Ours(voco, work)
        ours.prepare(tensor)
        assert ours.run() > 0.0
        expected = getattr(voco, work)(tensor.mT.bfloat16()).mT
        assert torch.equal(ours.output(), expected)


def test_arithmetic_is_counted_without_values() -> None:
    voco = get_voco("griffinlim").load()
    # Frames, bins of the spectrum and mel bands: one product, a multiplication and an addition for each of them.
    assert gflop(voco, "encode", (1, 1, 24000)) == pytest.approx(2e-9 * 94 * 513 * 100)
    assert gflop(voco, "encode", (3, 1, 24000)) == pytest.approx(3 * 2e-9 * 94 * 513 * 100)


def test_cases_are_chosen_by_network_or_pattern() -> None:
    assert [case.name for case in chosen(["dac"])] == ["dac encode", "dac decode"]
    assert {case.work for case in chosen(["* decode"])} == {"decode"}
    assert chosen(None) == list(CASES)
    with pytest.raises(InvalidInput, match="bench: no case 'flac'; there are oobleck encode, "):
        chosen(["dac", "flac"])


def test_cases_are_about_codecs_that_there_are() -> None:
    for case in CASES:
        network = NETWORKS[case.network]
        voco = get_voco(network.voco)
        assert network.voco in BUILT_IN
        assert network.layout in {"vocos", *(target.name for target in (*LAYOUTS, *type(voco).targets))}
        voco.config_type.parse({**voco.config, **network.config})
