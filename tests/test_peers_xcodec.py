"""X-Codec beside `XcodecModel` of transformers, live, at small configs; where they differ, which is right and why."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from golden_state import golden_state_dict
from torch import Tensor

from vocos import Voco, get_voco

transformers = pytest.importorskip("transformers")

KINDS = {"hubert": "xcodec", "wavlm": "xcodec_wavlm_mls"}
# Gains as of the goldens: without them the random residual units multiply the loudness, and codebooks do not bind.
GAINS = [["acoustic_*.res_unit*.conv2.weight", 0.25], ["quantizer.*.embed", 0.5]]


def reference(kind: str, seed: int) -> Any:
    """A model of random sizes with seeded weights."""
    draw = random.Random(seed)
    heads, groups = draw.choice([2, 4]), draw.choice([1, 2, 4])
    width = 4 * draw.randint(3, 8)
    semantic = {
        "hidden_size": width,
        "num_hidden_layers": draw.randint(1, 3),
        "num_attention_heads": heads,
        "intermediate_size": draw.randint(20, 50),
        "conv_dim": [draw.randint(4, 12) for _ in range(7)],
        "num_conv_pos_embeddings": draw.randint(5, 20),
        "num_conv_pos_embedding_groups": groups,
        "layer_norm_eps": draw.choice([1e-5, 1e-3]),
        "model_type": kind,
    }
    if kind == "wavlm":
        semantic |= {"num_buckets": draw.choice([40, 320]), "max_bucket_distance": draw.choice([100, 800])}
    strides = draw.choice([[8, 5, 4, 2], [2, 4, 5, 8], [5, 8, 8], [4, 16, 5], [10, 32]])
    acoustic = {
        "model_type": "dac",
        "encoder_hidden_size": draw.randint(4, 8),
        "downsampling_ratios": strides,
        "decoder_hidden_size": 2 ** len(strides) * draw.randint(2, 3),
        "upsampling_ratios": draw.choice([strides, strides[::-1]]),
        "hidden_size": draw.randint(8, 20),
    }
    config = transformers.XcodecConfig(
        target_bandwidths=draw.choice([[0.5, 1, 1.5, 2, 4], [0.4, 0.9, 2.2], [1, 3]]),
        codebook_size=draw.choice([1024, 100, 256]),
        acoustic_model_config=acoustic,
        semantic_model_config=semantic,
        codebook_dim=acoustic["hidden_size"] + semantic["hidden_size"],
    )
    model = transformers.XcodecModel(config).eval()
    described = {name: {"shape": list(tensor.shape)} for name, tensor in model.state_dict().items()}
    model.load_state_dict(golden_state_dict({"tensors": described, "seed": seed, "gain": GAINS}, {}))
    return model


@pytest.fixture(params=[(kind, seed) for kind in KINDS for seed in range(3)], ids=str)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Voco[Any]]:
    """The model, and ours from the files that it writes."""
    kind, seed = request.param
    model = reference(kind, seed)
    model.save_pretrained(tmp_path)
    return model, get_voco(KINDS[kind], weights=tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> tuple[Any, Voco[Any]]:
    """One of them, for what does not depend on sizes."""
    model = reference("hubert", 0)
    model.save_pretrained(tmp_path)
    return model, get_voco("xcodec", weights=tmp_path)


def noise(samples: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, samples, 1, generator=torch.Generator().manual_seed(samples)) - 0.5


def codes_of(model: Any, audio: Tensor, bandwidth: float | None = None) -> Tensor:
    with torch.no_grad():
        codes = model.encode(rearrange(audio, "b n c -> b c n"), bandwidth=bandwidth).audio_codes
    return rearrange(codes, "b k l -> b l k")


def sound_of(model: Any, codes: Tensor) -> Tensor:
    with torch.no_grad():
        return rearrange(model.decode(rearrange(codes, "b l k -> b k l")).audio_values, "b c n -> b n c")


# Where the reference is right


@pytest.mark.parametrize("samples", [320, 640, 5120])
def test_codes_of_whole_frames_are_equal_at_every_bandwidth(samples: int, pair: tuple[Any, Voco[Any]]) -> None:
    model, voco = pair
    audio = noise(samples, batch=2)
    assert voco.bandwidths == tuple(model.config.target_bandwidths)
    for bandwidth in voco.bandwidths:
        codes = voco.encode_codes(audio, bandwidth=bandwidth)
        assert torch.equal(codes, codes_of(model, audio, bandwidth))
    assert codes.shape[2] == voco.n_codebooks


def test_sound_of_codes_is_equal_for_any_number_of_books(pair: tuple[Any, Voco[Any]]) -> None:
    model, voco = pair
    codes = torch.randint(0, voco.codebook_size, (2, 7, voco.n_codebooks), generator=torch.Generator().manual_seed(0))
    for books in (1, voco.n_codebooks):
        expected = sound_of(model, codes[..., :books])
        torch.testing.assert_close(voco.decode_codes(codes[..., :books]), expected, atol=1e-5, rtol=1e-5)


def test_padding_is_that_of_the_feature_extractor(one: tuple[Any, Voco[Any]]) -> None:
    """What is published beside the weights pads to the hop, as the training did; the model alone does not."""
    model, voco = one
    extractor = transformers.DacFeatureExtractor(feature_size=1, sampling_rate=16000, hop_length=320)
    for samples in (1, 79, 500, 1000, 1279):
        audio = noise(samples)
        padded = extractor(audio[0, :, 0].numpy(), sampling_rate=16000, return_tensors="pt")["input_values"]
        expected = codes_of(model, rearrange(padded, "b c n -> b n c"))
        assert torch.equal(voco.encode_codes(audio), expected)


# Where ours is


def test_reference_loses_the_end_and_ours_does_not(one: tuple[Any, Voco[Any]]) -> None:
    """1 to 79 samples past a frame: the reference has no frame for them, and gives back less sound than it got."""
    model, voco = one
    for rest in (1, 79):
        audio = noise(1280 + rest)
        assert codes_of(model, audio).shape[1] == 4
        assert sound_of(model, codes_of(model, audio)).shape[1] == 1280 < audio.shape[1]
        codes = voco.encode_codes(audio)
        assert codes.shape[1] == 5
        assert voco.decode_codes(codes, length=1280 + rest).shape[1] == 1280 + rest


def test_reference_shifts_its_frames_and_ours_does_not(one: tuple[Any, Voco[Any]]) -> None:
    """80 to 311 samples past a frame it puts 160 zeros before the sound too, half a frame, and most codes change."""
    model, voco = one
    audio = torch.cat([noise(1280), torch.zeros(1, 80, 1)], dim=1)  # the same sound, and silence
    shifted, ours = codes_of(model, audio), voco.encode_codes(audio)
    whole = codes_of(model, torch.nn.functional.pad(audio, (0, 0, 0, 240)))
    assert torch.equal(ours, whole)
    assert shifted.shape == whole.shape
    assert (shifted == whole).float().mean() < 0.9


def test_reference_fails_below_80_samples_and_ours_does_not(one: tuple[Any, Voco[Any]]) -> None:
    model, voco = one
    with pytest.raises(RuntimeError):
        codes_of(model, noise(79))
    assert voco.encode_codes(noise(79)).shape[1] == voco.encode_codes(noise(1)).shape[1] == 1


def test_rows_of_the_reference_depend_on_their_padding_and_ours_do_not(one: tuple[Any, Voco[Any]]) -> None:
    """It takes no mask; a normalisation over all of the time, and attention, spread the padding to every frame."""
    model, voco = one
    audio = noise(2560)
    padded = torch.cat([audio, torch.zeros(1, 2560, 1)], dim=1)
    assert (codes_of(model, padded)[:, :8] == codes_of(model, audio)).float().mean() < 0.9
    mask = torch.arange(5120)[None] < 2560
    latents = voco.encode(padded, mask=mask)
    assert torch.equal(voco.latents_to_codes(latents[:, :8]), voco.encode_codes(audio))
    assert not latents[:, 8:].any()


def test_reference_listens_at_random_in_training_and_ours_does_not(one: tuple[Any, Voco[Any]]) -> None:
    """`train()` reaches its semantic model, which was frozen and in eval mode when the codec was trained."""
    model, voco = one
    audio = noise(5120)
    expected = voco.encode_codes(audio)
    torch.manual_seed(0)
    assert not torch.equal(codes_of(model.train(), audio), expected)
    assert torch.equal(voco.train().encode_codes(audio), expected)
