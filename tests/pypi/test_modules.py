"""The classes and functions of PyPI's `vocos` by themselves: the same names, arguments, facts and numbers here."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from pypi_calls import modules
from torch import nn

import vocos
from vocos import InvalidInput
from vocos.heads import FourierHead, IMDCTCosHead, IMDCTSymExpHead, ISTFTHead
from vocos.models import Backbone, VocosBackbone, VocosResNetBackbone
from vocos.modules import AdaLayerNorm, ConvNeXtBlock, ResBlock1, safe_log, symexp, symlog
from vocos.pypi.spectrograms import MelSpectrogram
from vocos.spectral_ops import IMDCT, ISTFT, MDCT

OTHER_PYTHON = os.environ.get("VOCOS_PYPI_PYTHON")  # with PyPI's vocos, as `make pypi` has it
STORED = GOLDEN / "pypi-vocos-0.1.0-modules.npz"
TRAINING = ("loss", "discriminators", "experiment", "dataset", "helpers")


def assert_same(given: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert set(given) == set(want)
    for name, array in want.items():
        if name.endswith("__facts"):  # ours may have more
            ours = json.loads(str(given[name]))
            theirs = json.loads(str(array))
            assert {key: ours.get(key, "absent") for key in theirs} == theirs, name
        elif array.dtype.kind == "U":
            assert json.loads(str(given[name])) == json.loads(str(array)), name
        else:  # at most 3e-6 apart on one machine, where they compute a constant in float32
            np.testing.assert_allclose(given[name], array, atol=2e-5, rtol=1e-5, err_msg=name)


def test_every_module_is_what_pypis_was() -> None:
    with np.load(STORED) as arrays:
        assert_same(modules(), dict(arrays))


@pytest.mark.pypi
@pytest.mark.skipif(OTHER_PYTHON is None, reason="VOCOS_PYPI_PYTHON names no interpreter with PyPI's vocos")
def test_every_module_is_what_pypis_is(tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "pypi_calls.py"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(OTHER_PYTHON), "-W", "ignore", str(program), str(tmp_path / "out.npz")]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    if "VOCOS_PYPI_STORE" in os.environ:
        shutil.copy(tmp_path / "out.npz", STORED)
    with np.load(tmp_path / "out.npz") as arrays:
        assert_same(modules(), dict(arrays))


@pytest.mark.parametrize("name", TRAINING)
def test_parts_for_training_say_where_they_are(name: str) -> None:
    with pytest.raises(ImportError, match=rf"vocos\.{name} is for training .* PyPI's vocos 0\.1\.0 .*gemelo-ai/vocos"):
        importlib.import_module(f"vocos.{name}")


def test_modules_are_attributes_of_the_package() -> None:
    program = "import vocos; print(vocos.modules.safe_log.__name__, vocos.heads.ISTFTHead.__name__)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["safe_log", "ISTFTHead"]
    assert "loss" not in dir(vocos)


# Modules that programs change: each is then called as it is


def blocks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [ConvNeXtBlock(8, 24, 0.5), ConvNeXtBlock(8, 24, 0.5, 4)]


@pytest.mark.parametrize("block", blocks())
def test_block_in_its_steps_equals_the_fused_one(block: ConvNeXtBlock) -> None:
    x = torch.randn(2, 8, 9)
    fused, seen = block(x, torch.tensor([1])), []
    block.act.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    torch.testing.assert_close(block(x, torch.tensor([1])), fused)
    assert seen == [(2, 9, 24)]


class Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.inner(x)


class Rectified(Doubled):
    """A change that the norm after a layer does not undo."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.inner(x).abs()
        return changed


@pytest.mark.parametrize("name", ["dwconv", "norm", "pwconv1", "act", "pwconv2"])
def test_replaced_part_of_a_block_is_called(name: str) -> None:
    block, x = blocks()[0], torch.randn(2, 8, 9)
    before = block(x)
    setattr(block, name, Rectified(getattr(block, name)))
    assert not torch.allclose(block(x), before)
    setattr(block, name, getattr(block, name).inner)
    part = getattr(block, name)
    part.forward = lambda given, plain=part.forward: plain(given).abs()
    assert not torch.allclose(block(x), before)


def test_replaced_parts_of_backbone_and_head_are_called() -> None:
    backbone, head = VocosBackbone(10, 8, 24, 2), ISTFTHead(8, 64, 16)
    features = torch.randn(1, 10, 9)
    before = backbone(features)
    backbone.embed = Rectified(backbone.embed)
    assert not torch.allclose(backbone(features), before)
    sound = head(before)
    head.istft = Doubled(head.istft)
    torch.testing.assert_close(head(before), 2 * sound)
    head.out = Doubled(head.out)
    assert not torch.allclose(head(before), 2 * sound)


def test_hooks_of_blocks_see_channels_first() -> None:
    backbone, seen = VocosBackbone(10, 8, 24, 2), []
    for block in backbone.convnext:
        block.register_forward_hook(lambda module, given, out: seen.append((given[0].shape, out.shape)))
    backbone(torch.randn(1, 10, 9))
    assert seen == [((1, 8, 9), (1, 8, 9))] * 2
    assert not backbone.adanorm
    assert VocosBackbone(10, 8, 24, 2, adanorm_num_embeddings=4).adanorm


def test_classes_of_ones_own() -> None:
    for abstract in (Backbone(), FourierHead(), importlib.import_module("vocos.feature_extractors").FeatureExtractor()):
        with pytest.raises(NotImplementedError, match="has no forward"):
            abstract(torch.zeros(1))


def test_weight_norm_is_folded_on_request() -> None:
    backbone, x = VocosResNetBackbone(10, 8, 2), torch.randn(1, 10, 9)
    before = backbone(x)
    for block in backbone.resnet:
        block.remove_weight_norm()
        block.remove_weight_norm()
    assert "resnet.0.convs1.0.weight" in backbone.state_dict()
    assert not any("resnet" in name and name.endswith("_g") for name in backbone.state_dict())
    torch.testing.assert_close(backbone(x), before)
    assert ResBlock1.get_padding(7, 3) == 9


def test_first_values_are_drawn_as_there() -> None:
    backbone = VocosBackbone(10, 256, 768, 3)
    for weight in (backbone.embed.weight, backbone.convnext[0].pwconv1.weight, backbone.convnext[2].dwconv.weight):
        assert 0.019 < weight.std() < 0.021
    assert not backbone.embed.bias.any()
    assert backbone.convnext[0].gamma.unique().tolist() == pytest.approx([1 / 3])
    torch.manual_seed(0)
    plain = IMDCTSymExpHead(8, 16).out.weight
    torch.manual_seed(0)
    ratio = (IMDCTSymExpHead(8, 16, sample_rate=24000).out.weight / plain).mean(dim=1)
    hz = [700 * (10 ** (2595 * np.log10(1 + 12000 / 700) * k / 7 / 2595) - 1) for k in range(8)]
    assert ratio.tolist() == pytest.approx([1 - value / 12000 for value in hz], abs=1e-5)


# Transforms


@pytest.mark.parametrize("frame_len", [4, 16, 20])
def test_mdct_is_its_formula_and_inverts(frame_len: int) -> None:
    audio = torch.randn(2, 5 * frame_len)
    given = MDCT(frame_len, "center")(audio)
    n, k = torch.arange(frame_len).double(), torch.arange(frame_len // 2).double()
    cosines = (2 * torch.pi / frame_len * (n + (frame_len / 2 + 1) / 2)[:, None] * (k + 0.5)).cos()
    window = (torch.pi * (n + 0.5) / frame_len).sin()
    first = torch.cat((torch.zeros(2, frame_len // 2), audio[:, : frame_len // 2]), dim=1).double()
    wanted = (first * window) @ cosines * (4 / frame_len) ** 0.5
    torch.testing.assert_close(given[:, 0].double(), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(IMDCT(frame_len, "center")(given), audio, atol=1e-5, rtol=1e-5)


def test_constants_stay_in_float32_and_may_be_set() -> None:
    head = copy.deepcopy(IMDCTCosHead(8, 32)).half()
    assert head.imdct.window.dtype == torch.float32
    assert head.float()(torch.zeros(1, 9, 8)).shape == (1, 9 * 16)
    transform, spectrum = ISTFT(64, 16, 64), torch.randn(1, 33, 9, dtype=torch.complex64)
    before = transform(spectrum)
    transform.window = torch.hamming_window(64)
    assert not torch.allclose(transform(spectrum), before)
    assert torch.equal(pickle.loads(pickle.dumps(transform)).half().window, torch.hamming_window(64))


def test_clipped_audio_is_in_range() -> None:
    for made in (IMDCTSymExpHead, IMDCTCosHead):
        sound = made(8, 32, clip_audio=True)(100 * torch.randn(1, 9, 8))
        assert sound.shape == (1, 9 * 16)
        assert sound.abs().max() == 1


def test_functions_on_a_log_scale() -> None:
    x = torch.linspace(-5, 5, 41)
    torch.testing.assert_close(symexp(symlog(x)), x)
    assert safe_log(torch.zeros(1)).item() == pytest.approx(-16.118, abs=1e-3)


BAD: list[tuple[Any, Any, str]] = [
    (ISTFT, (64, 16, 64, "none"), "padding 'none' is neither"),
    (ISTFT, (64, 16, 32), "win_length 32 with n_fft 64"),
    (MDCT, (30,), "frame_len 30 is no multiple of 4"),
    (IMDCT, (32, "x"), "padding 'x' is neither"),
    (ISTFT(64, 16, 64), (torch.zeros(1, 33, 9),), "of complex numbers"),
    (ISTFT(64, 16, 64), (torch.zeros(1, 9, 33, dtype=torch.complex64),), r"got \[1, 9, 33\]"),
    (MDCT(32), (torch.zeros(1, 8),), r"with at least 16, got \[1, 8\]"),
    (MDCT(32), ([1.0],), "got a list"),
    (IMDCT(32, "center"), (torch.zeros(1, 1, 16),), "at least 2 frames, 16"),
    (AdaLayerNorm(4, 8), (torch.zeros(2, 9, 8), torch.tensor([[1], [4]])), r"got \[1, 4\]"),
    (AdaLayerNorm(4, 8), (torch.zeros(2, 9, 8), torch.tensor([1, 2])), r"\[batch, 1\] tells one of each row"),
    (IMDCTCosHead(8, 32), (torch.zeros(1, 9, 7),), "expected hidden features"),
    (VocosResNetBackbone(10, 8, 1), (torch.zeros(1, 9, 7),), "expected features"),
]


@pytest.mark.parametrize(("call", "arguments", "message"), BAD)
def test_what_does_not_fit_is_refused(call: Any, arguments: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(*arguments)


def test_spectrogram_has_torchaudios_attributes() -> None:
    spectrogram = importlib.import_module("vocos.feature_extractors").MelSpectrogramFeatures().mel_spec
    assert isinstance(spectrogram, MelSpectrogram)
    assert spectrogram.spectrogram.window.shape == (1024,)
    assert spectrogram.mel_scale.fb.shape == (513, 100)
    audio = torch.rand(1, 4000) - 0.5
    magnitude = spectrogram.spectrogram(audio)
    spectrogram.spectrogram.power = 2
    torch.testing.assert_close(spectrogram.spectrogram(audio), magnitude.square())
