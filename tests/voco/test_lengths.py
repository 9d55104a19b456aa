"""Lengths for configs of every shape, against the real output."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vocos import Voco, get_voco, list_vocos
from vocos.registry import _find
from vocos.weights.formats import save

settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("repeatable")


@cache
def with_config(name: str, config: str) -> Voco[Any]:
    """A codec of this config (JSON), with random weights, written to and read from a folder."""
    kind = _find(name)
    parsed = kind.config_type.parse({**kind().config, **json.loads(config)})
    folder = Path(mkdtemp(prefix="vocos-lengths-"))
    generator = torch.Generator().manual_seed(0)
    empty = kind().build(parsed)
    state = {n: 0.1 * torch.randn(t.shape, generator=generator) for n, t in empty.state_dict().items()}
    save(folder, state, parsed.as_dict(), origin={})
    return get_voco(name, weights=folder).load()


STRIDES = [(2,), (3,), (2, 3), (3, 2), (3, 5), (5, 3, 2), (2, 4, 5), (7, 2), (1, 3), (9,)]


def oobleck(strides: tuple[int, ...]) -> Voco[Any]:
    sizes = {"encoder_hidden_size": 4, "decoder_input_channels": 2, "decoder_channels": 2}
    shape = {"downsampling_ratios": strides, "channel_multiples": [1] * len(strides)}
    voco = with_config("oobleck", json.dumps({**sizes, **shape}))
    voco.sample = False  # type: ignore[attr-defined]
    return voco


def dac(strides: tuple[int, ...]) -> Voco[Any]:
    sizes = {"encoder_dim": 2, "latent_dim": 2, "decoder_dim": 2 ** len(strides), "n_codebooks": 1, "codebook_size": 4}
    return with_config("dac", json.dumps({**sizes, "encoder_rates": strides, "decoder_rates": strides[::-1]}))


def encodec(strides: tuple[int, ...], **more: Any) -> Voco[Any]:
    sizes = {"num_filters": 4, "hidden_size": 2, "n_codebooks": 1, "codebook_size": 4, "num_lstm_layers": 1}
    return with_config("encodec_24khz", json.dumps({**sizes, "upsampling_ratios": strides[::-1], **more}))


SMALL_48 = {"audio_channels": 2, "normalize": True, "use_causal_conv": False, "norm_type": "time_group_norm"}


@pytest.mark.parametrize("overlap", [0.0, 0.01, 0.3, 0.5])
@pytest.mark.parametrize("strides", [(2, 3), (3, 5), (2, 4)], ids=str)
def test_lengths_of_chunks(strides: tuple[int, ...], overlap: float) -> None:
    """Real output, over three chunks and every remainder."""
    voco = encodec(strides, **SMALL_48, sampling_rate=100, chunk_length_s=0.5, overlap=overlap)
    with torch.no_grad():
        for samples in range(1, 140):
            latents = voco.encode(torch.rand(1, samples, 2) - 0.5)
            assert latents.shape[1] == voco.encode_length(samples)
            sound = voco.decode(latents)
            assert sound.shape[1] == voco.decode_length(latents.shape[1]) >= samples
            assert sound.isfinite().all()
        for frames in range(1, 30):
            assert voco.decode(torch.randn(1, frames, 3)).shape[1] == voco.decode_length(frames)


@pytest.mark.parametrize("strides", STRIDES, ids=str)
@pytest.mark.parametrize("make", [oobleck, dac, encodec])
def test_lengths_of_odd_and_even_strides(make: Any, strides: tuple[int, ...]) -> None:
    voco = make(strides)
    hop = voco.hop_length
    with torch.no_grad():
        for samples in range(1, 3 * hop + 2):
            assert voco.encode(torch.zeros(1, samples, voco.channel)).shape[1] == voco.encode_length(samples)
        for frames in range(1, 12):
            assert voco.decode(torch.zeros(1, frames, 2)).shape[1] == voco.decode_length(frames)


@pytest.mark.parametrize("padding", ["center", "same"])
@pytest.mark.parametrize("head_padding", ["center", "same"])
@pytest.mark.parametrize(("n_fft", "hop"), [(16, 4), (16, 8), (24, 10), (64, 16)])
def test_lengths_of_every_padding(padding: str, head_padding: str, n_fft: int, hop: int) -> None:
    config = {"n_fft": n_fft, "hop_length": hop, "padding": padding, "head_padding": head_padding, "n_mels": 4}
    voco = with_config("mel", json.dumps({**config, "dim": 4, "intermediate_dim": 4, "num_layers": 1}))
    with torch.no_grad():
        for samples in range(voco.minimum_samples, voco.minimum_samples + 3 * hop + 1):
            assert voco.encode(torch.zeros(1, samples, 1)).shape[1] == voco.encode_length(samples)
        for frames in range(voco.minimum_frames, 9):
            sound = voco.decode(torch.ones(1, frames, 4))
            assert sound.shape[1] == voco.decode_length(frames)
            assert sound.isfinite().all()
            longer = voco.decode(torch.ones(1, frames, 4), length=sound.shape[1] + 2 * n_fft)
            assert torch.equal(longer[:, : sound.shape[1]], sound)
            assert longer.abs().max() < 20 * max(1.0, float(sound.abs().max()))  # no quotient of a vanishing envelope
    with pytest.raises(ValueError, match="at least"):
        voco.encode(torch.zeros(1, voco.minimum_samples - 1, 1))


def test_every_length_up_to_5000(small: Voco[Any]) -> None:
    """The arithmetic on all, ints and tensors alike; the real output on every 89th."""
    lengths = range(small.minimum_samples, 5001)
    frames = small.encode_length(torch.tensor(lengths))
    assert frames.tolist() == [small.encode_length(n) for n in lengths]
    back = small.decode_length(frames)
    assert back.tolist() == [small.decode_length(n) for n in frames.tolist()]
    with torch.no_grad():
        for n in lengths[::89]:
            assert small.encode(torch.zeros(1, n, small.channel)).shape[1] == small.encode_length(n)


LENGTHS = st.integers(min_value=1, max_value=10**9)


@given(n=LENGTHS, m=LENGTHS, strides=st.sampled_from(STRIDES))
def test_lengths_grow_with_their_argument(n: int, m: int, strides: tuple[int, ...]) -> None:
    for voco in (oobleck(strides), dac(strides)):
        low, high = sorted((n, m))
        assert voco.encode_length(low) <= voco.encode_length(high)
        assert (voco.decode_length(low) < voco.decode_length(high)) == (low < high)


@given(n=LENGTHS)
def test_lengths_are_exact_beyond_float32(n: int) -> None:
    """A float32 holds integers up to 2^24 only; none of the arithmetic may pass through one."""
    for name in ("dac", "dac_44khz", "dacvae", "encodec", "encodec_24khz", "encodec_32khz", "oobleck", "xcodec"):
        voco = get_voco(name)
        hop = voco.hop_length
        assert voco.encode_length(n) == -(-n // hop)
        assert voco.encode_length(torch.tensor(n)).item() == -(-n // hop)
        assert voco.decode_length(n) == n * hop
        assert voco.decode_length(torch.tensor(n)).item() == n * hop
    for name in ("dac_24khz", "dac_16khz"):
        odd = get_voco(name)
        assert odd.encode_length(n) == -(-n // 320)
        assert odd.decode_length(n) == 320 * n - 8
    stereo = get_voco("encodec_48khz")
    starts = (n - 1) // 47520 * 47520
    before = 150 * (starts // 47520 - 1) + -(-min(48000, n - starts + 47520) // 320) if starts else 0
    assert stereo.encode_length(n) == stereo.encode_length(torch.tensor(n)).item() == before + -(-(n - starts) // 320)
    assert stereo.decode_length(stereo.encode_length(n)) == starts + -(-(n - starts) // 320) * 320
    mel = get_voco("mel")
    assert mel.encode_length(n + 512) == (n + 512) // 256 + 1
    assert mel.decode_length(n + 1) == n * 256


@given(lengths=st.lists(st.integers(min_value=0, max_value=4000), min_size=1, max_size=5), extra=st.integers(0, 700))
def test_masks_say_what_encode_and_decode_return(lengths: list[int], extra: int) -> None:
    for name in list_vocos():
        voco = get_voco(name)
        width = max(*lengths, voco.minimum_samples) + extra
        mask = torch.arange(width) < torch.tensor(lengths)[:, None]
        frame_mask = voco.encode_mask(mask)
        assert frame_mask.shape[1] == voco.encode_length(width)
        for row, length in enumerate(lengths):
            real = int(frame_mask[row].sum())
            assert frame_mask[row, :real].all()
            if length == 0 or length >= voco.minimum_samples:
                assert real == (voco.encode_length(length) if length else 0)
        if frame_mask.shape[1] >= voco.minimum_frames:
            sample_mask = voco.decode_mask(frame_mask)
            assert sample_mask.shape[1] == voco.decode_length(frame_mask.shape[1])


def test_vocos_masks_examples_of_the_sheet() -> None:
    mel = get_voco("mel")
    assert [mel.encode_length(n) for n in (513, 767, 768, 24000)] == [3, 3, 4, 94]
    assert [mel.decode_length(n) for n in (3, 4, 94)] == [512, 768, 23808]
