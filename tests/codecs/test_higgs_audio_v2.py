"""Higgs Audio v2: its goldens, its resampler, its original names, and which side of the port is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HIGGS, golden
from golden_state import golden_audio
from goldens import assert_close, checks_of, stored
from torch import Tensor, nn

from vocos import CheckpointError, Voco, get_voco
from vocos.nn.resample import filters, resampled
from vocos.weights.export import Target, public_state

pytest.importorskip("transformers")
NAME = HIGGS["higgs_audio_v2"].golden
BARE = ("pad", "no_pad")  # of which the port got the audio as it is
CHECKS = [(case, array) for _, case, array in checks_of(HIGGS)]


@pytest.fixture(scope="module")
def voco(folder: Callable[[str], Path]) -> Voco[Any]:
    return get_voco("higgs_audio_v2", weights=folder("higgs_audio_v2")).load()


@pytest.mark.parametrize(("case", "array"), CHECKS, ids=["-".join(check) for check in CHECKS])
def test_golden(case: str, array: str, voco: Voco[Any]) -> None:
    audio = golden_audio(golden(NAME)[0]["cases"][case]["audio"])
    codes = stored(NAME, case, "codes").long()
    with torch.no_grad():
        found = given(voco, case, array, audio, codes)
    assert_close(NAME, case, array, found)


def given(voco: Voco[Any], case: str, array: str, audio: Tensor, codes: Tensor) -> Tensor:
    """What the library gives for an array; of bare audio, step by step on what the port made before it."""
    network: Any = voco.network
    is_bare = case in BARE
    match array:
        case "resampled":
            return resampled(audio.mT, 24000, 16000).mT
        case "semantic_mean":
            return network.heard(audio.mT).mT
        case "semantic":
            return network.encoder_semantic(stored(NAME, case, "semantic_mean").mT).mT
        case "acoustic":
            is_padded = golden(NAME)[0]["cases"][case]["acoustic_branch_padded"]
            return network.encoder(nn.functional.pad(audio.mT, (480, 480)) if is_padded else audio.mT).mT
        case "latents" if is_bare:
            semantic = network.encoder_semantic(stored(NAME, case, "semantic_mean").mT)
            return network.join(stored(NAME, case, "acoustic").mT, semantic).mT
        case "latents":
            return voco.encode(audio)
        case "codes":
            return voco.latents_to_codes(stored(NAME, case, "latents")) if is_bare else voco.encode_codes(audio)
        case "quantized":
            return voco.codes_to_latents(codes)
        case "audio_unquantized":
            return voco.decode(voco.encode(audio))
    _, _, count = array.partition("_k")
    return voco.decode_codes(codes[..., : int(count)] if count else codes)


def test_no_sample_is_lost_and_no_frame_moves(voco: Voco[Any]) -> None:
    """The port loses up to 118 samples of some lengths, and moves the acoustic frames by half a hop for others."""
    lost, moved = 8 * 960 + 80, 8 * 960 + 520
    for samples in (lost, moved):
        audio = torch.rand(1, samples, 1, generator=torch.Generator().manual_seed(0)) - 0.5
        assert voco.encode_length(samples) == 9
        padded = nn.functional.pad(audio, (0, 0, 0, 9 * 960 - samples))
        torch.testing.assert_close(voco.encode(audio), voco.encode(padded))
    latents, bare = (stored(NAME, case, "latents") for case in ("no_pad", "pad"))
    for case, wanted in (("no_pad", latents), ("pad", bare)):
        found = voco.encode(golden_audio(golden(NAME)[0]["cases"][case]["audio"]))
        assert found.shape[1] == 9
        assert not torch.allclose(found[:, : wanted.shape[1]], wanted, atol=1e-2)


@pytest.mark.parametrize(("old", "new"), [(24000, 16000), (16000, 24000), (44100, 16000)])
def test_resampler_keeps_a_tone(old: int, new: int) -> None:
    n = old // 4
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(n, dtype=torch.float64) / old)
    found = resampled(tone.float()[None, None], old, new)[0, 0]
    assert len(found) == -(-n * new // old)
    wanted = torch.sin(2 * torch.pi * 440 * torch.arange(len(found), dtype=torch.float64) / new).float()
    inner = slice(200, -200)
    torch.testing.assert_close(found[inner], wanted[inner], atol=2e-3, rtol=0.0)


@pytest.mark.parametrize("name", ["higgs_audio_v2", "xcodec"])
def test_original_names_are_read(name: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    """The same weights under the names of the original code, with its weight norm."""
    voco = get_voco(name, weights=folder(name)).load()
    original = next(known for known in voco.formats if known.name == "original")
    target: Target[Any] = Target("original", original, ("config.json", "model.pth"), lambda config: config.as_dict())
    state = public_state(voco.network.state_dict(), target, voco.hyperparameters)
    assert "encoder.block.1.block.0.block.1.weight_g" in state
    assert "encoder_semantic.conv_blocks.1.res_units.0.conv2.conv.weight" in state
    torch.save(state, tmp_path / "model.pth")
    (tmp_path / "config.json").write_text((folder(name) / "config.json").read_text())
    again = get_voco(name, weights=tmp_path)
    audio = torch.rand(1, 4000, 1) - 0.5
    assert torch.equal(again.encode_codes(audio), voco.encode_codes(audio))


def test_half_that_decodes_is_a_tenth() -> None:
    voco = get_voco("higgs_audio_v2")
    with torch.device("meta"):
        network = voco.build(voco.weights.row.config)
    sizes = {part: sum(p.numel() for p in module.parameters()) for part, module in network.named_children()}
    assert sizes["fc2"] + sizes["decoder"] == 262_400 + 20_238_113
    assert sizes["quantizer"] == 524_288 + 524_800 + 532_480


def test_config_of_the_class_defaults_is_refused() -> None:
    """An empty config of transformers means four ratios at 75 frames a second, which no semantic model has."""
    config = golden(NAME)[0]["config"]
    acoustic = config["acoustic_model_config"] | {
        "downsampling_ratios": [8, 5, 4, 2],
        "upsampling_ratios": [8, 5, 4, 2],
    }
    with pytest.raises(CheckpointError, match="320 samples per frame, the semantic model has 480"):
        get_voco("higgs_audio_v2").parse(config | {"acoustic_model_config": acoustic})


def test_first_call_in_inference_mode_does_not_stand_in_the_way_of_gradients() -> None:
    filters.cache_clear()
    audio = torch.randn(1, 1, 480, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        resampled(audio, 24_000, 16_000)
    (gradient,) = torch.autograd.grad(resampled(audio.requires_grad_(), 24_000, 16_000).sum(), audio)
    assert gradient.any()
