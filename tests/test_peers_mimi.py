"""Mimi against transformers itself, at a small random size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vocos import Voco, get_voco

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
HOP = 2 * 4 * 3
SMALL = {
    "num_filters": 4,
    "upsampling_ratios": [4, 3],
    "hidden_size": 32,
    "upsample_groups": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "intermediate_size": 48,
    "sliding_window": 6,
    "codebook_size": 32,
    "codebook_dim": 12,
    "vector_quantization_hidden_dimension": 12,
    "num_quantizers": 4,
    "sampling_rate": 300,
    "frame_rate": 12.5,
}


def randomise(model: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith(("embed_sum", "layer_scale.scale")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        elif name.endswith("cluster_usage"):
            tensor.copy_(1 + torch.rand(tensor.shape, generator=generator))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Voco[Any]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = randomise(transformers.MimiModel(transformers.MimiConfig(**SMALL)))
    folder = tmp_path_factory.mktemp("mimi")
    theirs.save_pretrained(folder)
    return theirs, get_voco("mimi", weights=folder)


def noise(samples: int) -> Tensor:
    return torch.rand(2, samples, 1, generator=torch.Generator().manual_seed(samples)) - 0.5


@pytest.mark.parametrize("samples", [HOP, 2 * HOP, 3 * HOP, 20 * HOP])  # the last is well past the window
@pytest.mark.parametrize("books", [1, 2, 4])
def test_mimi_is_that_of_transformers(samples: int, books: int, pair: tuple[Any, Voco[Any]]) -> None:
    theirs, ours = pair
    audio = noise(samples)
    codes = theirs.encode(audio.mT, num_quantizers=books).audio_codes
    assert torch.equal(ours.encode_codes(audio, n_codebooks=books), codes.mT)
    sound = theirs.decode(codes).audio_values
    torch.testing.assert_close(ours.decode_codes(codes.mT), sound.mT, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("samples", range(1, 3 * HOP, 5))
def test_only_a_last_frame_that_is_not_full_differs(samples: int, pair: tuple[Any, Voco[Any]]) -> None:
    """transformers pads in every layer, in the last of them with copies of a frame; the audio is not completed."""
    theirs, ours = pair
    audio = noise(samples)
    bare = theirs.encode(audio.mT).audio_codes.mT
    padded = theirs.encode(nn.functional.pad(audio.mT, (0, -samples % HOP))).audio_codes.mT
    found = ours.encode_codes(audio)
    assert torch.equal(found, padded)
    full = samples // HOP
    assert found.shape == bare.shape
    assert torch.equal(found[:, :full], bare[:, :full])


def test_transformers_reads_what_is_exported(pair: tuple[Any, Voco[Any]], tmp_path: Path) -> None:
    import transformers

    _, ours = pair
    ours.export(tmp_path, "transformers")
    again, info = transformers.MimiModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    audio = noise(7 * HOP)
    codes = ours.encode_codes(audio)
    assert torch.equal(again.eval().encode(audio.mT).audio_codes.mT, codes)
    torch.testing.assert_close(again.decode(codes.mT).audio_values.mT, ours.decode_codes(codes), atol=1e-5, rtol=1e-4)


# Pocket TTS

POCKET = {name: value for name, value in SMALL.items() if "codebook" not in name and "quant" not in name} | {
    "latent_dim": 6,
    "latent_stride": 4,
    "sampling_rate": 600,
}
POCKET.pop("frame_rate")
POCKET_HOP = 4 * 4 * 3


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Voco[Any]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.PocketTTSAudioTokenizerConfig(**POCKET)
    theirs = randomise(transformers.PocketTTSAudioTokenizerModel(config))
    folder = tmp_path_factory.mktemp("pocket")
    theirs.save_pretrained(folder)
    return theirs, get_voco("pocket_tts", weights=folder)


@pytest.mark.parametrize("frames", [1, 2, 3, 20])
def test_pocket_tts_is_that_of_transformers(frames: int, pocket: tuple[Any, Voco[Any]]) -> None:
    theirs, ours = pocket
    audio = noise(frames * POCKET_HOP)
    latents = theirs.encode(audio.mT).latents
    found = ours.encode(audio)
    torch.testing.assert_close(found, latents if latents.shape == found.shape else latents.mT, atol=1e-5, rtol=1e-4)
    sound = theirs.decode(latents).audio_values
    torch.testing.assert_close(ours.decode(found), sound.mT, atol=1e-5, rtol=1e-4)


def test_transformers_reads_the_exported_pocket_tts(pocket: tuple[Any, Voco[Any]], tmp_path: Path) -> None:
    import transformers

    _, ours = pocket
    ours.export(tmp_path, "transformers")
    again, info = transformers.PocketTTSAudioTokenizerModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert again.config.hidden_act == ours.config["hidden_act"]
    audio = noise(5 * POCKET_HOP)
    latents = again.eval().encode(audio.mT).latents
    found = ours.encode(audio)
    torch.testing.assert_close(found, latents if latents.shape == found.shape else latents.mT, atol=1e-5, rtol=1e-4)
