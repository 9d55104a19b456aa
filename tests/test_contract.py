"""The conformance suite over every codec of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vocos import Voco, get_voco, list_vocos
from vocos.testing import VocoContract


class SmallContract(VocoContract):
    """The suite on the stand-in weights."""

    name = ""

    @pytest.fixture(autouse=True)
    def _folder(self, weights: Path) -> None:
        self.weights = weights

    def make(self) -> Voco[Any]:
        return get_voco(self.name, weights=self.weights)


class TestMel(SmallContract):
    name = "mel"

    def latents(self, voco: Voco[Any], frames: int, batch: int = 1) -> Tensor:
        return super().latents(voco, frames, batch) - 3.0  # log magnitudes

    def comparable(self, latents: Tensor) -> Tensor:
        return latents.exp()  # below -11, the noise floor of a float32 transform decides


class TestGriffinLim(TestMel):
    tolerance = 1e-2  # the phase search magnifies rounding; where matrix products do not round differently, it is exact

    def make(self) -> Voco[Any]:
        return get_voco("griffinlim")


class TestEncodec(SmallContract):
    name = "encodec"


class TestDac(SmallContract):
    name = "dac"


class TestDacVae(SmallContract):
    name = "dacvae"


class TestOobleck(SmallContract):
    name = "oobleck"
    encode_options = {"sample": False}


def test_every_built_in_codec_is_under_contract() -> None:
    tested = {cls.name for cls in SmallContract.__subclasses__()} | {"griffinlim"}
    assert tested == set(list_vocos())


def test_half_precision_is_close_for_sampling_too(weights: Path) -> None:
    audio = torch.rand(1, 100, 2)
    generator = torch.Generator()
    single = get_voco("oobleck", weights=weights).encode(audio, generator=generator.manual_seed(3))
    half = get_voco("oobleck", weights=weights, dtype=torch.bfloat16).encode(audio, generator=generator.manual_seed(3))
    assert half.dtype == torch.bfloat16
    assert (single - half).abs().max() < 0.1
