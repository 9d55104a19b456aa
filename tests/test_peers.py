"""Against transformers and PyPI's encodec themselves, at small random sizes, where they are installed.

Where one of them is known to be wrong, a test says so and why, and fails once it no longer is.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vocos import ScaledCodes, Voco, arrange_codes, get_voco

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}  # both are within 2e-6 of float64


def noise(batch: int, samples: int, channel: int) -> Tensor:
    generator = torch.Generator().manual_seed(samples)
    return torch.rand(batch, samples, channel, generator=generator) - 0.5


def randomise(model: nn.Module) -> Any:
    """Values that let errors show: a codebook of zeros would code everything as 0."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("inited"):
            tensor.fill_(1)
        elif name.endswith("embed") or "codebook.weight" in name:
            tensor.copy_(0.5 * torch.randn(tensor.shape, generator=generator))
        elif name.endswith("alpha"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif name.endswith("bias"):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model.eval().requires_grad_(False)


def codes_of(codes: Any) -> Tensor:
    plain: Tensor = codes.codes if isinstance(codes, ScaledCodes) else codes
    return plain


# EnCodec

SMALL = {
    "hidden_size": 16,
    "num_filters": 4,
    "upsampling_ratios": [4, 2],
    "codebook_size": 64,
    "sampling_rate": 800,
    "target_bandwidths": [0.6, 1.2, 2.4],
}
CHUNKED = {
    "use_causal_conv": False,
    "audio_channels": 2,
    "normalize": True,
    "norm_type": "time_group_norm",
    "chunk_length_s": 1.0,
    "overlap": 0.01,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "24 kHz": SMALL,
    "32 kHz": SMALL | {"use_causal_conv": False, "use_conv_shortcut": False},
    "48 kHz": SMALL | CHUNKED,
    "whole clip at one loudness": SMALL | {"normalize": True, "audio_channels": 2},
    "stereo, one LSTM layer": SMALL | {"audio_channels": 2, "num_lstm_layers": 1, "num_filters": 8},
    "two residual layers": SMALL | {"num_residual_layers": 2, "use_causal_conv": False},
    "three strides, zeros": SMALL | {"upsampling_ratios": [5, 3, 2], "sampling_rate": 3000, "pad_mode": "constant"},
    "their ends again": SMALL | {"pad_mode": "replicate"},
    "their ends again, both sides": SMALL
    | {"pad_mode": "replicate", "use_causal_conv": False, "upsampling_ratios": [5, 3]},
    "zeros, both sides": SMALL | {"pad_mode": "constant", "use_causal_conv": False},
    "no residual layers": SMALL | {"num_residual_layers": 0},
    "no residual layers, with norms": SMALL | CHUNKED | {"num_residual_layers": 0},
    "three LSTM layers": SMALL | {"num_lstm_layers": 3},
    "other kernels": SMALL | {"kernel_size": 5, "last_kernel_size": 3, "residual_kernel_size": 5, "compress": 4},
    "trimmed on both sides": SMALL | {"trim_right_ratio": 0.5},
}
LENGTHS = [1, 5, 8, 799, 800, 1603]


def transformers_encodec(folder: Path, **config: Any) -> tuple[Any, Voco[Any]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = randomise(transformers.EncodecModel(transformers.EncodecConfig(**config)))
    theirs.save_pretrained(folder)
    return theirs, get_voco("encodec_24khz", weights=folder)


@pytest.mark.parametrize("key", CONFIGS)
def test_encodec_is_that_of_transformers(key: str, tmp_path: Path) -> None:
    theirs, ours = transformers_encodec(tmp_path, **CONFIGS[key])
    assert ours.n_codebooks == theirs.config.num_quantizers
    for samples in LENGTHS:
        audio = noise(2, samples, ours.channel)
        for bandwidth in CONFIGS[key]["target_bandwidths"]:
            out = theirs.encode(audio.transpose(1, 2), bandwidth=bandwidth, return_dict=True)
            codes = ours.encode_codes(audio, bandwidth=bandwidth)
            pad = out.last_frame_pad_length
            chunks = [arrange_codes(part, "batch codebooks frames") for part in out.audio_codes]
            chunks[-1] = chunks[-1][:, : chunks[-1].shape[1] - pad]
            assert torch.equal(codes_of(codes), torch.cat(chunks, dim=1))
            sound = theirs.decode(out.audio_codes, out.audio_scales, last_frame_pad_length=pad).audio_values
            torch.testing.assert_close(ours.decode_codes(codes), sound.transpose(1, 2), **TOLERANCE)
        if not CONFIGS[key].get("normalize"):
            torch.testing.assert_close(
                ours.encode(audio), theirs.encoder(audio.transpose(1, 2)).transpose(1, 2), **TOLERANCE
            )


def pypi_encodec(folder: Path, **config: Any) -> tuple[Any, Voco[Any]]:
    """PyPI's model of an original config, and ours that reads its weights."""
    if importlib.util.find_spec("encodec") is None:
        pytest.skip("encodec is not installed")
    # It imports torchaudio, for files and resampling: not needed here, and not every torch has a build of it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
        from encodec.model import EncodecModel
        from encodec.modules import SEANetDecoder, SEANetEncoder
        from encodec.quantization import ResidualVectorQuantizer

    torch.manual_seed(0)
    names = ("channels", "dimension", "n_filters", "ratios", "norm", "causal", "lstm", "n_residual_layers", "pad_mode")
    shared = {k: v for k, v in config.items() if k in names}
    quantizer = ResidualVectorQuantizer(dimension=config["dimension"], n_q=config["n_q"], bins=config["bins"])
    halves = SEANetEncoder(**shared), SEANetDecoder(**shared)
    theirs = EncodecModel(
        *halves,
        quantizer,
        config["target_bandwidths"],
        config["sample_rate"],
        config["channels"],
        normalize=config["normalize"],
        segment=config["segment"],
        overlap=config["overlap"],
    )
    torch.save(randomise(theirs).state_dict(), folder / "encodec_24khz-d7cc33bc.th")
    (folder / "config.json").write_text(json.dumps(config))
    return theirs, get_voco("encodec_24khz", weights=folder)


ORIGINAL = {"dimension": 16, "n_filters": 4, "ratios": [4, 2], "n_q": 4, "bins": 1024, "sample_rate": 800}
ORIGINAL |= {"channels": 1, "norm": "weight_norm", "causal": True, "normalize": False, "segment": None}
ORIGINAL |= {"overlap": 0.01, "target_bandwidths": [1.0, 2.0, 4.0]}
ORIGINAL_48 = ORIGINAL | {"channels": 2, "norm": "time_group_norm", "causal": False, "normalize": True, "segment": 1.0}


BARE = {"lstm": 0, "norm": "none", "pad_mode": "replicate", "n_residual_layers": 2}
ORIGINALS = {
    "24 kHz": ORIGINAL,
    "48 kHz": ORIGINAL_48,
    "without LSTM and norms": ORIGINAL | BARE,
    "without LSTM, with norms": ORIGINAL_48 | {"lstm": 0, "n_residual_layers": 0},
}


@pytest.mark.parametrize("config", ORIGINALS.values(), ids=ORIGINALS)
def test_encodec_is_that_of_pypi(config: dict[str, Any], tmp_path: Path) -> None:
    theirs, ours = pypi_encodec(tmp_path, **config)
    for samples in LENGTHS:
        audio = noise(2, samples, config["channels"])
        for bandwidth in config["target_bandwidths"]:
            theirs.set_target_bandwidth(bandwidth)  # which stays so until the next call: ours is said in each
            frames = theirs.encode(audio.transpose(1, 2))
            codes = ours.encode_codes(audio, bandwidth=bandwidth)
            wanted = torch.cat([arrange_codes(part, "batch codebooks frames") for part, _ in frames], dim=1)
            assert torch.equal(codes_of(codes), wanted)
            if isinstance(codes, ScaledCodes):
                torch.testing.assert_close(codes.scales, torch.cat([scale for _, scale in frames], dim=1))
            sound = theirs.decode(frames).transpose(1, 2)
            torch.testing.assert_close(ours.decode_codes(codes), sound, **TOLERANCE)


# Where the references are wrong

SHORT_STEP = {"sampling_rate": 100, "overlap": 0.1}  # chunks of 100 every 90, frames of 8: 90 is no multiple of 8


@pytest.mark.parametrize("samples", [97, 98, 187, 188])
def test_references_raise_where_the_last_chunk_ends_before_the_one_before_it(samples: int, tmp_path: Path) -> None:
    """The sound of the chunk before is longer than their buffer. At 48 kHz: 161 to 320 samples past a step."""
    (tmp_path / "original").mkdir()
    (tmp_path / "transformers").mkdir()
    sizes = {"sample_rate": 100, "overlap": 0.1, "target_bandwidths": [0.52]}
    original, ours = pypi_encodec(tmp_path / "original", **(ORIGINAL_48 | sizes))
    audio = noise(1, samples, 2)
    with pytest.raises(RuntimeError, match="size"):
        original.decode(original.encode(audio.transpose(1, 2)))
    port, same = transformers_encodec(tmp_path / "transformers", **(SMALL | CHUNKED | SHORT_STEP))
    with pytest.raises(RuntimeError, match="size"):
        port(audio.transpose(1, 2), bandwidth=0.6)
    for voco in (ours, same):
        codes = voco.encode_codes(audio)
        sound = voco.decode_codes(codes)
        assert sound.shape[1] == voco.decode_length(voco.encode_length(samples)) >= samples
        assert sound.isfinite().all()


def test_transformers_codes_of_a_padded_clip_are_not_its_own(tmp_path: Path) -> None:
    """The loudness of a chunk is measured with its padding, so that a clip sounds otherwise in a batch than alone."""
    theirs, ours = transformers_encodec(tmp_path, **(SMALL | CHUNKED))
    audio = noise(1, 500, 2)
    padded = nn.functional.pad(audio, (0, 0, 0, 300))
    mask = torch.arange(800)[None] < 500
    alone = theirs.encode(audio.transpose(1, 2), bandwidth=2.4)
    batch = theirs.encode(padded.transpose(1, 2), padding_mask=mask, bandwidth=2.4)
    share = batch.audio_scales[0].item() / alone.audio_scales[0].item()
    assert share == pytest.approx(math.sqrt(500 / 800), rel=1e-3)
    latents = ours.encode(padded, mask=mask)
    frames = ours.encode_length(500)
    torch.testing.assert_close(latents[:, :frames], ours.encode(audio), **TOLERANCE)
    assert not latents[:, frames:].any()


def test_transformers_takes_the_fewest_codebooks_when_it_is_told_nothing(tmp_path: Path) -> None:
    """And the original code all of them, as ours: neither is wrong, but codes of different size come out."""
    theirs, ours = transformers_encodec(tmp_path, **SMALL)
    audio = noise(1, 300, 1)
    fewest = theirs.encode(audio.transpose(1, 2)).audio_codes[0]
    assert fewest.shape[1] == 1
    assert ours.encode_codes(audio).shape[2] == ours.n_codebooks == 4
    assert torch.equal(ours.encode_codes(audio, 1), arrange_codes(fewest, "batch codebooks frames"))


# DAC

DAC = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": [2, 5],
    "decoder_hidden_size": 16,
    "upsampling_ratios": [5, 2],
    "n_codebooks": 5,
    "codebook_size": 32,
    "codebook_dim": 4,
    "sampling_rate": 1000,
}


@pytest.fixture(params=[{}, {"encoder_hidden_size": 5, "decoder_hidden_size": 22}], ids=["even", "uneven widths"])
def dac(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Voco[Any]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = randomise(transformers.DacModel(transformers.DacConfig(**DAC | request.param)))
    theirs.save_pretrained(tmp_path)
    return theirs, get_voco("dac_24khz", weights=tmp_path)


@pytest.mark.parametrize("frames", [1, 2, 7, 31])
def test_dac_is_that_of_transformers(frames: int, dac: Any) -> None:
    theirs, ours = dac
    audio = noise(2, 10 * frames, 1)
    for count in range(1, 6):
        out = theirs.encode(audio.transpose(1, 2), n_quantizers=count)
        codes = ours.encode_codes(audio, n_codebooks=count)
        assert torch.equal(codes, arrange_codes(out.audio_codes, "batch codebooks frames"))
        wanted = out.quantized_representation.transpose(1, 2)
        torch.testing.assert_close(ours.codes_to_latents(codes), wanted, **TOLERANCE)
        sound = theirs.decode(quantized_representation=out.quantized_representation).audio_values
        torch.testing.assert_close(ours.decode_codes(codes)[..., 0], sound, **TOLERANCE)


def test_transformers_dac_loses_the_end_of_a_clip_that_fills_no_frame(dac: Any) -> None:
    """It leaves padding to a feature extractor, and counts the hop as a config says that is wrong at 16 and 24 kHz."""
    theirs, ours = dac
    audio = noise(1, 37, 1)
    assert theirs.encode(audio.transpose(1, 2)).audio_codes.shape[2] == 3
    assert ours.encode_codes(audio).shape[1] == ours.encode_length(37) == 4
    padded = nn.functional.pad(audio, (0, 0, 0, 3))
    wanted = arrange_codes(theirs.encode(padded.transpose(1, 2)).audio_codes, "batch codebooks frames")
    assert torch.equal(ours.encode_codes(audio), wanted)
