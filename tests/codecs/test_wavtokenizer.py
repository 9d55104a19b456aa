"""WavTokenizer: its goldens in both layouts, files without a config, and what its attention needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import WAVTOKENIZERS, golden
from golden_state import golden_audio
from goldens import assert_close, checks_of, stored
from safetensors.torch import load_file, save_file
from torch import Tensor

from vocos import CheckpointError, UnsupportedOperation, Voco, get_voco
from vocos.codecs import wavtokenizer
from vocos.kernels import steps
from vocos.nn.vocoder import REACH, channel_last

CHECKS = checks_of(WAVTOKENIZERS)


@pytest.fixture(scope="module")
def loaded(folder: Callable[[str], Path]) -> dict[str, Voco[Any]]:
    return {key: get_voco(item.name, weights=folder(key)).load() for key, item in WAVTOKENIZERS.items()}


@pytest.mark.parametrize(("key", "case", "array"), CHECKS, ids=["-".join(check) for check in CHECKS])
def test_golden(key: str, case: str, array: str, loaded: dict[str, Voco[Any]]) -> None:
    name = WAVTOKENIZERS[key].golden
    audio = golden_audio(golden(name)[0]["cases"][case]["audio"])
    codes = stored(name, case, "codes").long()
    with torch.no_grad():
        assert_close(name, case, array, given(loaded[key], array, audio, codes))


def given(voco: Voco[Any], array: str, audio: Tensor, codes: Tensor) -> Tensor:
    """What the library gives for an array."""
    network: Any = voco.network
    features = voco.codes_to_latents(codes).mT
    backbone = network.decoder.backbone
    match array:
        case "latents":
            return voco.encode(audio)
        case "codes":
            return voco.encode_codes(audio)
        case "quantized":
            return features.mT
        case "audio":
            return voco.decode_codes(codes)
        case "audio_unquantized":
            return voco.decode(voco.encode(audio))
        case "backbone":
            return backbone(features)
        case "encoder_conv" | "encoder_lstm":
            chain = network.encoder.chain()
            (lstm,) = [i for i, step in enumerate(chain) if type(step).__name__ == "Recurrent"]
            return steps.run(chain[: lstm + (array == "encoder_lstm")], audio.mT).mT
        case "embed" | "attention" | "pos_net":
            x = channel_last(backbone.embed, features.mT, REACH, REACH).mT
            count = {"embed": 0, "attention": 3, "pos_net": 6}[array]
            return backbone.pos_net[:count](x).mT
    return network.decoder(features, int(array.removeprefix("audio_id"))).mT


def test_file_without_a_config_tells_its_sizes(loaded: dict[str, Voco[Any]]) -> None:
    config = loaded["original-wavtokenizer"].config
    assert (config["upsampling_ratios"], config["decoder_num_layers"], config["num_filters"]) == ([8, 5, 4, 2], 3, 4)


def test_names_of_the_earlier_port_are_read_too(folder: Callable[[str], Path], tmp_path: Path) -> None:
    given = folder("wavtokenizer")
    tensors = load_file(given / "model.safetensors")
    save_file({k.removeprefix("encoder_model."): t for k, t in tensors.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((given / "config.json").read_text())
    audio = torch.rand(1, 2000, 1) - 0.5
    first, second = (get_voco("wavtokenizer", weights=place) for place in (given, tmp_path))
    assert torch.equal(first.encode_codes(audio), second.encode_codes(audio))


def test_rows_of_different_lengths_are_what_they_are_alone(loaded: dict[str, Voco[Any]]) -> None:
    """Statistics and attention go over all frames: padding would change every sample."""
    voco, frames = loaded["wavtokenizer"], (9, 5)
    latents = torch.randn(2, 9, voco.latent_dim)
    mask = torch.arange(9) < torch.tensor(frames)[:, None]
    audio = voco.decode(latents, mask=mask)
    for row, n in enumerate(frames):
        alone = voco.decode(latents[row : row + 1, :n])
        torch.testing.assert_close(audio[row : row + 1, : n * 600], alone, atol=1e-5, rtol=1e-5)


def test_attention_goes_in_blocks_of_queries(loaded: dict[str, Voco[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    voco, latents = loaded["wavtokenizer"], torch.randn(1, 23, 32)
    whole = voco.decode(latents)
    monkeypatch.setattr(wavtokenizer, "QUERIES", 5)
    torch.testing.assert_close(voco.decode(latents), whole, atol=1e-5, rtol=1e-5)


def test_decoder_has_no_stream_and_says_why() -> None:
    with pytest.raises(UnsupportedOperation, match="attention go over all of the codes; use decode_codes on the whole"):
        get_voco("wavtokenizer").decode_codes_stream()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_causal_conv": True}, "use_causal_conv"),
        ({"codebook_dim": 16}, "codebook_dim"),
        ({"decoder_attention_num_groups": 48}, "48 groups of 64 channels"),
        ({"upsampling_ratios": [3, 5]}, "cannot be halved"),
    ],
)
def test_config_of_another_network_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        get_voco("wavtokenizer").parse(golden("wavtokenizer-small")[0]["config"] | change)
