"""`check`: a device that computes something else is found out, and one that does not is not."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import STAND_INS
from torch import Tensor

import vocos
from vocos import InvalidInput, UnsupportedOperation, Voco, WeightsUnavailable, cli, get_voco, selftest
from vocos.codecs.dac import Dac
from vocos.codecs.griffinlim import GriffinLim


def test_every_codec_is_ok_on_the_cpu(small: Voco[Any]) -> None:
    findings = vocos.check("cpu", small)
    assert [(found.voco, found.device, found.dtype) for found in findings] == [
        (small.name, "cpu", "float32"),
        (small.name, "cpu", "bfloat16"),
    ]
    for found in findings:
        assert (found.verdict, found.reason) == ("ok", "")
        # What is computed in bfloat16 cannot be equal: measured, 35 to 56 dB.
        assert found.dtype == "float32" or 30.0 < min(found.encode_db, found.decode_db) < 60.0


def test_codecs_given_are_left_alone(small: Voco[Any]) -> None:
    small.load()
    before = {name: (tensor.data_ptr(), tensor.dtype) for name, tensor in small.state_dict().items()}
    generator, environment = torch.get_rng_state(), dict(os.environ)
    vocos.check("cpu", [small])
    assert {name: (tensor.data_ptr(), tensor.dtype) for name, tensor in small.state_dict().items()} == before
    assert torch.equal(torch.get_rng_state(), generator)
    assert dict(os.environ) == environment


def test_codec_in_bfloat16_is_held_against_its_own_weights(weights: Path) -> None:
    findings = vocos.check("cpu", get_voco("dac", weights=weights, dtype=torch.bfloat16))
    assert [found.verdict for found in findings] == ["ok", "ok"]


def test_without_codecs_those_with_weights_here_are_checked(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {found.voco for found in vocos.check()} == {"griffinlim"}  # the test process has no cache and no network
    monkeypatch.setenv("VOCOS_REPO", str(weights))
    assert {found.voco for found in vocos.check()} == {"griffinlim", *STAND_INS}


def test_codec_named_whose_weights_are_not_here_is_an_error() -> None:
    for call in (lambda: vocos.check("cpu", "dac"), lambda: vocos.check("cpu", fetch=True)):
        with pytest.raises(WeightsUnavailable, match="'dac.json' of 'optimizerai/vocos' is not in the cache"):
            call()


@pytest.mark.parametrize("device", ["cuda", "gpu", "meta"])
def test_device_that_is_not_there_is_an_error(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(InvalidInput, match=f"check: expected a device of this machine, such as 'cpu', got '{device}'"):
        vocos.check(device, "griffinlim")


# Faults of a device: a codec that is wrong unless its operations are done as they are defined.


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Tensor], Tensor], of_vendor: bool = False) -> None:
    """Give dac a fault, one that goes away with the vendor's convolutions if it is of the vendor."""

    def faulty(real: Any) -> Any:
        def call(*arguments: Any) -> Tensor:
            is_defined = os.environ.get("VOCOS_KERNELS") == "reference"
            is_off = of_vendor and not torch._C._get_mkldnn_enabled()
            return real(*arguments) if is_defined or is_off else fault(real(*arguments))

        return call

    for name in ("to_latents", "to_audio"):
        monkeypatch.setattr(Dac, name, faulty(getattr(Dac, name)))


def shifted(x: Tensor) -> Tensor:
    return x.roll(1, dims=-1)


def test_wrong_sound_is_broken(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, shifted)
    for found in vocos.check("cpu", get_voco("dac", weights=weights)):
        assert found.verdict == "broken"
        assert max(found.encode_db, found.decode_db) < 10.0


def test_slightly_wrong_sound_is_suspicious(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda x: x * 1.003)
    exact, _ = vocos.check("cpu", get_voco("dac", weights=weights))
    assert exact.verdict == "suspicious"
    assert exact.decode_db == pytest.approx(20 * math.log10(1 / 0.003), abs=0.01)


def test_library_that_is_wrong_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, shifted, of_vendor=True)
    found = vocos.check("cpu", get_voco("dac", weights=weights))[0]
    assert found.verdict == "broken"
    assert "dB without oneDNN (torch.backends.mkldnn.flags(enabled=False))" in found.reason


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_number_that_is_none_is_broken(value: float, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda x: torch.where(torch.arange(x.shape[-1]) == 7, value, x))
    found = vocos.check("cpu", get_voco("dac", weights=weights))[0]
    assert (found.encode_db, found.decode_db, found.verdict) == (-math.inf, -math.inf, "broken")


def test_kernel_that_fails_is_broken_and_says_why(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(result: Tensor) -> Tensor:
        raise RuntimeError("no kernel image\nis available")

    plant(monkeypatch, refuse)
    found = vocos.check("cpu", get_voco("dac", weights=weights))[0]
    assert (found.verdict, found.reason) == ("broken", "RuntimeError: no kernel image is available")


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_half_of_a_codec_is_checked_in_its_direction(part: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voco = get_voco("dac", weights=weights, part=part)
    for found in vocos.check("cpu", voco):
        assert (found.encode_db is None, found.decode_db is None) == (part == "decoder", part == "encoder")
        assert found.verdict == "ok"
    plant(monkeypatch, shifted)
    assert [found.verdict for found in vocos.check("cpu", voco)] == ["broken", "broken"]


def test_codec_that_lacks_a_package_is_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*arguments: Any) -> Tensor:
        raise UnsupportedOperation("this needs a package")

    monkeypatch.setattr(GriffinLim, "to_latents", lacking)
    (found,) = vocos.check("cpu", "griffinlim")
    assert (found.verdict, found.reason) == ("unchecked", "this needs a package")
    assert cli.main(["check", "--voco", "griffinlim"]) == 0


def test_dtype_that_the_device_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.nn.functional.conv1d

    def conv1d(x: Tensor, *arguments: Any) -> Tensor:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return real(x, *arguments)

    monkeypatch.setattr(torch.nn.functional, "conv1d", conv1d)
    assert [found.dtype for found in vocos.check("cpu", "griffinlim")] == ["float32"]


def test_phases_that_rounding_would_change_are_compared_on_rounded_input() -> None:
    """Griffin-Lim answers the rounding of its input with other phases: 10 dB, were it not for that."""
    voco = get_voco("griffinlim")
    latents = voco.encode(selftest.signal(voco))
    rounded = latents.bfloat16().float()
    assert selftest.snr_db(voco.decode(rounded), voco.decode(latents)) < 20.0
    assert vocos.check("cpu", voco)[1].decode_db > 50.0


def test_command_prints_a_line_each_and_its_exit_code_is_the_verdict(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOCOS_REPO", str(weights))
    assert cli.main(["check", "--voco", "dac", "griffinlim"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["dac", "cpu", "float32"],
        ["dac", "cpu", "bfloat16"],
        ["griffinlim", "cpu", "float32"],
        ["griffinlim", "cpu", "bfloat16"],
    ]
    assert all(line.endswith("ok") for line in lines[1:])
    plant(monkeypatch, shifted)
    assert cli.main(["check", "--voco", "dac"]) == 1
    assert "broken" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_codec_is_ok_on_the_gpu(small: Voco[Any]) -> None:
    findings = vocos.check("cuda", small)
    assert {found.dtype for found in findings} == {"float32", "float16", "bfloat16"}
    assert {found.verdict for found in findings} == {"ok"}


def test_ratio_is_in_decibels() -> None:
    signal = torch.ones(1000)
    assert selftest.snr_db(signal * 1.1, signal) == pytest.approx(20.0, abs=1e-3)
    assert selftest.snr_db(signal, signal) == math.inf
    assert selftest.snr_db(torch.ones(3), torch.zeros(3)) == -math.inf
