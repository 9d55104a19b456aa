"""Mimi: the last frame, long positions, and what its public files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import causal
import pytest
import torch
from conftest import golden
from goldens import stored

from vocos import CheckpointError, Voco, get_voco
from vocos.codecs.mimi import Mimi, MimiCodecConfig
from vocos.weights.export import public_state
from vocos.weights.tensors import open_tensors


@pytest.fixture(scope="module")
def loaded(folder: Callable[[str], Path]) -> dict[str, Voco[Any]]:
    return {key: get_voco("mimi", weights=folder(key)).load() for key in ("mimi", "original-mimi")}


def test_last_frame_is_that_of_audio_completed_with_zeros(loaded: dict[str, Voco[Any]]) -> None:
    """transformers leaves the audio as it is, and gives other codes for a last frame that is not full.

    Moshi's own code completes the audio first. So do we: then the last frame is what a stream gives, and does not
    depend on how a layer pads.
    """
    padded, bare = (stored("mimi-small", case, "codes") for case in ("main", "bare_tail"))
    assert torch.equal(padded[:, :-1], bare[:, :-1])
    assert (padded[:, -1] != bare[:, -1]).sum() > 1
    audio = torch.rand(1, 20001, 1) - 0.5
    whole = loaded["mimi"].encode_codes(audio)
    assert torch.equal(loaded["mimi"].encode_codes(torch.nn.functional.pad(audio, (0, 0, 0, 1119))), whole)
    stream = loaded["mimi"].encode_codes_stream()
    parts = [stream.push(piece) for piece in torch.split(audio, 2400, dim=1)]  # of which transformers loses some
    assert torch.equal(torch.cat([*parts, stream.finish()], dim=1), whole)


def test_stream_decodes_past_the_window_as_the_whole(loaded: dict[str, Voco[Any]]) -> None:
    """transformers restarts its convolutions at every chunk; Moshi's own code loses a key once the window is full."""
    codes = loaded["mimi"].encode_codes(torch.rand(2, 40 * 1920, 1) - 0.5)
    whole = loaded["mimi"].decode_codes(codes)
    stream = loaded["mimi"].decode_codes_stream(2)
    parts = [stream.push(piece) for piece in torch.split(codes, 1, dim=1)]
    assert all(part.shape[1] == 1920 for part in parts)  # a frame comes out as it goes in
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=2e-5, rtol=0.0)
    assert stream.finish().shape[1] == stream.delay_samples == 0


def test_rows_of_a_batch_are_what_they_are_alone(loaded: dict[str, Voco[Any]]) -> None:
    voco, lengths = loaded["mimi"], (9600, 4001, 1)
    audio = torch.zeros(3, 9600, 1)
    for row, n in enumerate(lengths):
        audio[row, :n] = torch.rand(n, 1) - 0.5
    mask = torch.arange(9600) < torch.tensor(lengths)[:, None]
    latents = voco.encode(audio, mask=mask)
    for row, n in enumerate(lengths):
        frames = voco.encode_length(n)
        alone = voco.encode(audio[row : row + 1, :n])
        torch.testing.assert_close(latents[row : row + 1, :frames], alone, atol=1e-5, rtol=0.0)
        assert not latents[row, frames:].any()


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (1920, 1), (1921, 2), (16778881, 8740)]
)  # the last is 8739 in transformers, which counts in float32
def test_frames_are_counted_in_integers(samples: int, frames: int) -> None:
    assert get_voco("mimi").encode_length(samples) == frames


def test_facts_are_the_published_ones() -> None:
    voco = get_voco("mimi")
    assert (voco.sampling_rate, voco.hop_length, voco.frame_rate, voco.bits_per_second) == (24000, 1920, 12.5, 4400)
    with torch.device("meta"):
        network = voco.build(MimiCodecConfig())
    sizes = {name: causal.parameters_of(half) for name, half in network.named_children()}
    assert sizes["encoder"] == 12_628_256 + 25_190_400 + 1_048_576
    assert sizes["decoder"] == 2_048 + 25_190_400 + 14_724_641
    assert sizes["quantizer"] == 32 * 2048 * 256 + 4 * 512 * 256


def test_unused_entries_of_a_codebook_win_no_search(loaded: dict[str, Voco[Any]]) -> None:
    """An entry that no vector trained has a count of 0; without a floor it is not a number, and nearest to all."""
    books = [book for name, book in loaded["mimi"].network.named_parameters() if ".books." in name]
    assert len(books) == 8
    assert all(book.isfinite().all() for book in books)


def test_original_layout_is_written_back(folder: Callable[[str], Path], loaded: dict[str, Voco[Any]]) -> None:
    """Queries, keys and values in one matrix, their components in pairs again, to the bit."""
    voco, target = loaded["original-mimi"], next(target for target in Mimi.targets if target.name == "moshi")
    file = open_tensors(folder("original-mimi") / "model.safetensors")
    written = public_state(voco.network.state_dict(), target, voco.hyperparameters)
    for name, tensor in written.items():
        if "_codebook" not in name:
            assert torch.equal(tensor, file.read(name)), name
    assert {name for name in file.shapes if "_initialized" not in name} == written.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_conv_shortcut": True}, "use_conv_shortcut"),
        ({"num_key_value_heads": 2}, "num_key_value_heads"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"num_semantic_quantizers": 2}, "num_semantic_quantizers"),
        ({"num_quantizers": 1}, "num_quantizers"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type"),
    ],
)
def test_config_of_another_network_is_refused(change: dict[str, Any], message: str) -> None:
    config = golden("mimi-small")[0]["config"] | change
    with pytest.raises(CheckpointError, match=message):
        get_voco("mimi").parse(config)


def test_newer_configs_say_the_same_in_other_words() -> None:
    old = golden("mimi-small")[0]["config"]
    new = {k: v for k, v in old.items() if k not in ("rope_theta", "frame_rate", "head_dim")}
    new |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "_frame_rate": None}
    voco = get_voco("mimi")
    assert voco.parse(json.loads(json.dumps(new))) == voco.parse(old)
