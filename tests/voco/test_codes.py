"""Codes of other libraries, and the bandwidth that Vocos is told of EnCodec's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange

from vocos import InvalidInput, ScaledCodes, arrange_codes, get_voco, save_codes
from vocos.files.codes import CodesFile, DacCodesFile, DacTokens, Tokens


@pytest.mark.parametrize(
    "axes",
    [
        "codebooks frames",
        "frames codebooks",
        "batch codebooks frames",
        "codebooks batch frames",
        "batch frames codebooks",
    ],
)
def test_every_order_becomes_ours(axes: str) -> None:
    batch = 2 if "batch" in axes else 1
    ours = torch.randint(1024, (batch, 7, 4))
    theirs = rearrange(ours, f"{'batch' if batch > 1 else '1'} frames codebooks -> {axes}")
    for given in (theirs, theirs.int(), theirs.numpy(), theirs.numpy().astype(np.int16), theirs.tolist()):
        codes = arrange_codes(given, axes)
        assert codes.dtype == torch.int64
        assert torch.equal(codes, ours)


def test_words_of_earlier_releases_are_read() -> None:
    codes = torch.arange(12).reshape(4, 3)
    assert torch.equal(arrange_codes(codes, "books frames"), arrange_codes(codes, "codebooks frames"))
    scaled = ScaledCodes(codes.mT[None], torch.ones(1, 1))
    assert torch.equal(scaled.books(2).codes, scaled.codebooks(2).codes)
    assert (Tokens, DacTokens) == (CodesFile, DacCodesFile)


@pytest.mark.parametrize(
    ("codes", "axes", "problem"),
    [
        (torch.zeros(2, 3, dtype=torch.long), "k l", "expected axes as some order of"),
        (torch.zeros(2, 3, dtype=torch.long), "codebooks codebooks", "expected axes as some order of"),
        (torch.zeros(2, 3, dtype=torch.long), None, "expected axes as some order of"),
        (torch.zeros(2, 3, dtype=torch.long), "batch codebooks frames", r"are 3 axes, the codes have \[2, 3\]"),
        (torch.zeros(2, 3), "codebooks frames", "expected integers, got torch.float32"),
        ([[1], [2, 3]], "codebooks frames", "expected integers, got a list"),
        ("abc", "codebooks frames", "expected integers, got a str"),
    ],
)
def test_what_is_no_codes_is_refused(codes: Any, axes: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        arrange_codes(codes, axes)


BANDWIDTHS = {1: 1.5, 2: 1.5, 3: 3.0, 4: 3.0, 5: 6.0, 7: 6.0, 8: 6.0, 16: 12.0}


@pytest.mark.parametrize("books", BANDWIDTHS)
def test_vocos_is_told_the_bandwidth_of_the_codebooks_given(books: int, weights: Path) -> None:
    codes = torch.randint(1024, (2, 9, books))
    voco = get_voco("encodec", weights=weights)
    told = get_voco("encodec", weights=weights, bandwidth=BANDWIDTHS[books])
    latents = voco.codes_to_latents(codes)
    sound = voco.decode_codes(codes, length=2000)
    assert torch.equal(sound, told.decode(latents, length=2000))
    assert torch.equal(sound, voco.decode(latents, length=2000, bandwidth=BANDWIDTHS[books]))
    others = [b for b in voco.bandwidths if b != BANDWIDTHS[books]]
    assert not any(torch.equal(sound, voco.decode_codes(codes, length=2000, bandwidth=other)) for other in others)


def test_bandwidth_of_a_call_leaves_nothing_behind(weights: Path) -> None:
    voco = get_voco("encodec", weights=weights)
    audio, latents = torch.rand(1, 3000, 1) - 0.5, torch.randn(1, 9, voco.latent_dim)
    before, sound = voco.encode_codes(audio), voco.decode(latents)
    assert voco.encode_codes(audio, bandwidth=12.0).shape[2] == 16
    voco.decode(latents, bandwidth=1.5)
    assert torch.equal(voco.encode_codes(audio), before)
    assert torch.equal(voco.decode(latents), sound)
    assert voco.n_codebooks == 8


def test_more_codebooks_than_the_bandwidth_has_must_be_those_of_another(weights: Path) -> None:
    voco = get_voco("encodec", weights=weights)
    for books in (9, 15, 17):
        with pytest.raises(InvalidInput, match=r"expected integer codes \[batch, frames, 1 to 8\]"):
            voco.decode_codes(torch.zeros(1, 4, books, dtype=torch.long))
    assert get_voco("encodec", weights=weights, bandwidth=12.0).decode_codes(torch.zeros(1, 4, 9).long()).shape[1]
    for bandwidth in (5.0, "6", True):
        with pytest.raises(InvalidInput, match="expected bandwidth as one of 1.5, 3, 6, 12 kbps"):
            voco.decode(torch.zeros(1, 4, voco.latent_dim), bandwidth=bandwidth)
        with pytest.raises(InvalidInput, match="expected bandwidth as one of 1.5, 3, 6, 12 kbps"):
            voco.decode_codes(torch.zeros(1, 4, 2).long(), bandwidth=bandwidth)
    assert not voco.is_loaded


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["dac", "encodec"])
def test_latents_that_are_not_finite_have_no_codes(name: str, value: float, weights: Path) -> None:
    voco = get_voco(name, weights=weights)
    latents = torch.zeros(2, 5, voco.latent_dim)
    latents[1, 3, 2] = value
    with pytest.raises(
        InvalidInput, match="latents_to_codes: expected finite numbers, got nan or .*, first in row 1, f"
    ):
        voco.latents_to_codes(latents)
    with pytest.raises(InvalidInput, match="encode_codes: latents of the audio: expected finite numbers"):
        voco.encode_codes(torch.full((1, 4000, 1), value))


def test_scales_of_chunks_are_part_of_the_check(folder: Any, tmp_path: Path) -> None:
    voco = get_voco("encodec_48khz", weights=folder("original-encodec_48khz"))
    latents = voco.encode(torch.rand(1, 9000, 2) - 0.5)
    latents[..., -1] = float("nan")
    with pytest.raises(InvalidInput, match="latents_to_codes: expected finite numbers"):
        voco.latents_to_codes(latents)
    codes = voco.encode_codes(torch.rand(1, 9000, 2) - 0.5)
    broken = ScaledCodes(codes.codes, codes.scales * float("nan"))
    with pytest.raises(InvalidInput, match="a.codes: not written, scales: expected finite numbers"):
        save_codes(tmp_path / "a.codes", broken, voco)
    assert list(tmp_path.iterdir()) == []
