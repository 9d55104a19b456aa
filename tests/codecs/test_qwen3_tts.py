"""Qwen3-TTS' tokenizer: windows, what its public file says, its two latent spaces, and the half that a server needs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import causal
import pytest
import torch
from conftest import golden
from golden_state import golden_audio
from goldens import stored
from manifests import Listing, manifests

from vocos import CheckpointError, InvalidInput, UnsupportedOperation, Voco, get_voco
from vocos.codecs.qwen3_tts.config import Qwen3TtsConfig
from vocos.weights.formats import locate

PUBLIC = "Qwen-Qwen3-TTS-Tokenizer-12Hz"


@pytest.fixture(scope="module")
def voco(folder: Callable[[str], Path]) -> Voco[Any]:
    return get_voco("qwen3_tts", weights=folder("qwen3_tts")).load()


def test_window_of_the_encoder_is_that_of_the_config(
    voco: Voco[Any], folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """The published code ignores it with the version of transformers that it pins: then we would give its codes."""
    audio = golden_audio(golden("qwen3_tts-small")[0]["cases"]["long"]["audio"])
    wanted, theirs = (stored("qwen3_tts-small", "long", f"codes{end}").long() for end in ("", "_full_attention"))
    config = json.loads((folder("qwen3_tts") / "config.json").read_text())
    config["encoder_config"]["sliding_window"] = 4096
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(folder("qwen3_tts") / "model.safetensors", tmp_path)
    assert torch.equal(voco.encode_codes(audio), wanted)
    assert torch.equal(get_voco("qwen3_tts", weights=tmp_path).encode_codes(audio), theirs)
    assert not torch.equal(wanted, theirs)


def test_stream_decodes_past_the_window_as_the_whole(voco: Voco[Any]) -> None:
    """The published code decodes in chunks with less before them than the attention sees."""
    codes = stored("qwen3_tts-small", "long", "codes").long()
    stream = voco.decode_codes_stream()
    parts = [stream.push(piece) for piece in torch.split(codes, [0, 1, 3, 5, 1, 24], dim=1)]
    assert [part.shape[1] for part in parts] == [0, 1920, 3 * 1920, 5 * 1920, 1920, 24 * 1920]
    torch.testing.assert_close(torch.cat(parts, dim=1), voco.decode_codes(codes), atol=2e-5, rtol=0.0)


def test_half_that_a_server_needs_is_two_thirds_of_the_file() -> None:
    voco = get_voco("qwen3_tts", part="decoder")
    config, file = voco.parse(manifests()[PUBLIC]["config"]), Listing(PUBLIC)
    assert config == Qwen3TtsConfig()
    with torch.device("meta"):
        network = voco.build(config)
    held = locate(network, file, voco.formats[0], config, without=voco.weights.left_out)
    read = sum(math.prod(file.shapes[part]) for parts in held.values() for part in parts)
    total = sum(math.prod(shape) for shape in file.shapes.values())
    assert total == 170_557_441
    assert round(read / total, 2) == 0.67


def test_codebooks_of_the_encoder_that_nothing_uses_are_not_held() -> None:
    with torch.device("meta"):
        network = get_voco("qwen3_tts").build(Qwen3TtsConfig())
    encoder = causal.parameters_of(network.encoder) + causal.parameters_of(network.encoder_quantizer)
    assert encoder == 12_628_256 + 25_190_400 + 1_048_576 + 16 * 2048 * 256 + 2 * 512 * 256


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_half_lacks_the_quantiser_of_the_other(part: str, folder: Callable[[str], Path]) -> None:
    half = get_voco("qwen3_tts", weights=folder("qwen3_tts"), part=part)
    with pytest.raises(UnsupportedOperation, match=f"asked for with part='{part}'"):
        if part == "encoder":
            half.codes_to_latents(torch.zeros(1, 2, 6, dtype=torch.int64))
        else:
            half.latents_to_codes(torch.zeros(1, 2, 32))


def test_control_tokens_of_the_language_model_are_refused(voco: Voco[Any]) -> None:
    codes = torch.zeros(1, 3, 6, dtype=torch.int64)
    codes[0, 1, 0] = voco.codebook_size
    with pytest.raises(InvalidInput, match="codes from 0 to 63"):
        voco.decode_codes(codes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_config": None}, "no section 'encoder_config'"),
        ({"output_sample_rate": 16000}, "output_sample_rate"),
        ({"encoder_valid_num_quantizers": 1}, "num_quantizers|codebooks"),
    ],
)
def test_config_of_another_network_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        get_voco("qwen3_tts").parse(golden("qwen3_tts-small")[0]["config"] | change)
