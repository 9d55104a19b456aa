"""Lists of clips: what `VocoContract` does not say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import OTHERS
from torch import Tensor, nn

from vocos import InvalidInput, Voco, get_voco
from vocos.voco import batches
from vocos.voco.rows import groups

LENGTHS = [300, 80, 300, 81, 300, 80]


@pytest.fixture
def oobleck(weights: Path) -> Voco[Any]:
    return get_voco("oobleck", weights=weights)


def clips(channel: int, lengths: list[int] = LENGTHS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(length, channel, generator=generator) - 0.5 for length in lengths]


def calls_of(module: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of what a module is given from now on."""
    shapes: list[tuple[int, ...]] = []
    module.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape)))
    return shapes


def test_clips_of_one_length_run_together(oobleck: Voco[Any]) -> None:
    encoded, decoded = calls_of(oobleck.network.encoder), calls_of(oobleck.network.decoder)
    latents = oobleck.encode_batch(clips(2), sample=False)
    frames = [len(item) for item in latents]
    oobleck.decode_batch(latents)
    hop = oobleck.hop_length
    assert [shape[0] for shape in encoded] == [2, 1, 3]
    assert [shape[0] for shape in decoded] == [frames.count(length) for length in sorted(set(frames))]
    assert encoded[2] == (3, 2, -(-300 // hop) * hop)


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1, 1, 1, 1, 1, 1]), (600, [2, 1, 2, 1]), (900, [2, 1, 3])])
def test_what_runs_together_is_bounded(
    limit: int, sizes: list[int], oobleck: Voco[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = oobleck.encode_batch(clips(2), sample=False)
    monkeypatch.setattr(batches, "MAX_SAMPLES", limit)
    encoded = calls_of(oobleck.network.encoder)
    found = oobleck.encode_batch(clips(2), sample=False)
    assert [shape[0] for shape in encoded] == sizes
    for given, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(given, wanted, atol=2e-6, rtol=2e-5)
    decoded = calls_of(oobleck.network.decoder)
    sounds = oobleck.decode_batch(found)
    assert all(batch == 1 or batch * frames * oobleck.hop_length <= limit for batch, _, frames in decoded)
    assert [len(sound) for sound in sounds] == [oobleck.decode_length(len(item)) for item in found]


def test_groups_take_one_look_at_each_row() -> None:
    lengths = torch.arange(200_000).flip(0).tolist()
    assert sum(len(group) for group in groups(lengths)) == len(lengths) - 1  # seconds, if each length looked at all


def test_seeded_draws_are_those_of_the_clips_one_by_one(oobleck: Voco[Any]) -> None:
    for make in (lambda: {}, lambda: {"generator": torch.Generator().manual_seed(7)}):
        torch.manual_seed(7)
        options = make()
        together = oobleck.encode_batch(clips(2), **options)
        torch.manual_seed(7)
        options = make()
        alone = [oobleck.encode(clip[None], **options)[0] for clip in clips(2)]
        for given, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(given, wanted, atol=2e-6, rtol=2e-5)
    torch.manual_seed(8)
    assert not torch.equal(together[0], oobleck.encode_batch(clips(2))[0])


def test_bandwidth_of_a_call_is_that_of_each_item(weights: Path) -> None:
    voco = get_voco("encodec", weights=weights)
    latents = [torch.randn(frames, 16) for frames in (5, 3, 5)]
    for sound, item in zip(voco.decode_batch(latents, bandwidth=1.5), latents, strict=True):
        torch.testing.assert_close(sound, voco.decode(item[None], bandwidth=1.5)[0], atol=2e-6, rtol=2e-5)
        assert not torch.equal(sound, voco.decode(item[None])[0])


def test_watermarks_are_those_of_the_items_one_by_one(tmp_path: Path) -> None:
    OTHERS["facebook-dacvae"].write(tmp_path)
    voco = get_voco("dacvae", weights=tmp_path)
    latents = [torch.randn(frames, 6) for frames in (5, 3, 5, 4)]
    torch.manual_seed(1)
    together = voco.decode_batch(latents)
    torch.manual_seed(1)
    alone = [voco.decode(item[None])[0] for item in latents]
    bits = torch.randint(0, 2, (4, 16))
    rows, each = voco.decode_batch(latents, message=bits), get_voco("dacvae", weights=tmp_path, message=bits)
    plain = voco.decode_batch(latents, watermark=False)
    for k, item in enumerate(latents):
        torch.testing.assert_close(together[k], alone[k], atol=2e-6, rtol=2e-5)
        wanted = voco.decode(item[None], message=bits[k])[0]
        torch.testing.assert_close(rows[k], wanted, atol=2e-6, rtol=2e-5)
        torch.testing.assert_close(each.decode_batch(latents)[k], wanted, atol=2e-6, rtol=2e-5)
        torch.testing.assert_close(plain[k], voco.decode(item[None], watermark=False)[0], atol=2e-6, rtol=2e-5)
        assert not torch.equal(plain[k], rows[k])
    with pytest.raises(InvalidInput, match="decode_batch: 4 messages for 3 items"):
        each.decode_batch(latents[:3])
    mask = torch.ones(4, 5, dtype=torch.bool)
    with pytest.raises(InvalidInput, match="one message for each row does not go with mask="):
        each.decode(torch.randn(4, 5, 6), mask=mask)
    assert voco.decode_batch([]) == []


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).random((300, 2)),
        np.random.default_rng(0).random((2, 300)).T.astype(np.float32),
        np.random.default_rng(0).random((300, 2))[::-1],
        np.random.default_rng(0).random((300, 2)).astype(">f4"),
        np.random.default_rng(0).random((300, 2)).astype(np.float16),
        np.broadcast_to(np.float32(0.5), (300, 2)),
    ],
    ids=["float64", "transposed", "reversed", "big-endian", "float16", "read-only"],
)
@pytest.mark.filterwarnings("error")
def test_arrays_of_every_make_are_taken(array: Any, oobleck: Voco[Any]) -> None:
    (given,) = oobleck.encode_batch([array], sample=False)
    same = torch.tensor(np.ascontiguousarray(array, dtype=np.float64))
    assert torch.equal(given, oobleck.encode(same[None], sample=False)[0])


def test_dtypes_may_be_mixed(oobleck: Voco[Any]) -> None:
    kinds = [torch.float32, torch.bfloat16, torch.float64, torch.float16]
    items = [clip.to(kind) for clip, kind in zip(clips(2, [300] * 4), kinds, strict=True)]
    for given, clip in zip(oobleck.encode_batch(items, sample=False), items, strict=True):
        assert given.dtype == torch.float32
        torch.testing.assert_close(given, oobleck.encode(clip[None], sample=False)[0], atol=2e-6, rtol=2e-5)


def test_results_stand_alone(oobleck: Voco[Any]) -> None:
    latents = oobleck.encode_batch(clips(2))
    for item in (*latents, *oobleck.decode_batch(latents, LENGTHS)):
        assert item.untyped_storage().nbytes() == item.nbytes


def test_gradients_reach_the_clips(oobleck: Voco[Any]) -> None:
    given = [clip.requires_grad_() for clip in clips(2)]
    sounds = oobleck.decode_batch(oobleck.encode_batch(given))
    for sound, gradient in zip(sounds, torch.autograd.grad(sum(s.square().sum() for s in sounds), given), strict=True):
        assert gradient.any(), sound


BAD_CLIPS = {
    r"item 1: expected floats \[samples, 2\], 1 samples or more, got a list; torch.as_tensor": [[0.0, 0.0]],
    r"item 1: .*, got \[300\]; an item is one clip: x\[:, None\] adds": torch.zeros(300),
    r"item 1: .*, got \[1, 300, 2\]; an item is one clip": torch.zeros(1, 300, 2),
    r"item 1: .*, got \[2, 300\]; the length goes first: x.T": torch.zeros(2, 300),
    r"item 1: .*, got \[300, 1\]$": torch.zeros(300, 1),
    r"item 1: .*, got \[0, 2\]$": torch.zeros(0, 2),
    r"item 1: .*, got torch.int16; x / 32768 turns": torch.zeros(300, 2, dtype=torch.int16),
    r"item 1: .*, got int16; x / 32768 turns": np.zeros((300, 2), np.int16),
    r"item 1: .*, got object": np.zeros((300, 2), object),
    r"item 1: .*, got complex64": np.zeros((300, 2), np.complex64),
    r"item 1: .*, got a NoneType": None,
}


@pytest.mark.parametrize("problem", BAD_CLIPS)
def test_bad_item_is_named_before_loading(problem: str, oobleck: Voco[Any]) -> None:
    with pytest.raises(InvalidInput, match=f"^encode_batch: {problem}"):
        oobleck.encode_batch([torch.zeros(300, 2), BAD_CLIPS[problem]])
    assert not oobleck.is_loaded


def test_bad_lists_are_refused_before_loading(oobleck: Voco[Any]) -> None:
    whole: list[Any] = [None, 1, oobleck]
    for bad in whole:
        for call in (oobleck.encode_batch, oobleck.decode_batch, get_voco("dacvae").decode_batch):
            with pytest.raises(
                InvalidInput, match=r"(en|de)code_batch: expected a list, one item for each clip, got a "
            ):
                call(bad)
    latents = [torch.zeros(3, 8)] * 2
    with pytest.raises(
        InvalidInput, match=r"decode_batch: item 1: expected floats \[frames, 8\], 1 frames or more, got"
    ):
        oobleck.decode_batch([latents[0], torch.zeros(3, 7)])
    for lengths in ([1], [1, 2, 3], []):
        with pytest.raises(InvalidInput, match=f"expected 2 lengths, one for each item, got {len(lengths)}"):
            oobleck.decode_batch(latents, lengths)
    for bad in (0, -1, 1.5, True, "9"):
        with pytest.raises(InvalidInput, match="decode_batch: item 1: expected length"):
            oobleck.decode_batch(latents, [None, bad])
    assert not oobleck.is_loaded


def test_lengths_may_be_a_tensor_or_partly_none(oobleck: Voco[Any]) -> None:
    latents = [torch.randn(3, 8), torch.randn(3, 8)]
    assert [len(s) for s in oobleck.decode_batch(latents, torch.tensor([7, 500]))] == [7, 500]
    assert [len(s) for s in oobleck.decode_batch(latents, [None, 5])] == [oobleck.decode_length(3), 5]


def test_rows_of_a_tensor_are_clips_too(oobleck: Voco[Any]) -> None:
    audio = torch.stack(clips(2, [300, 300]))
    found = oobleck.encode_batch(audio, sample=False)  # type: ignore[arg-type]
    torch.testing.assert_close(torch.stack(found), oobleck.encode(audio, sample=False))


def test_item_elsewhere_is_named(oobleck: Voco[Any]) -> None:
    with pytest.raises(InvalidInput, match="encode_batch: item 1: the input is on meta and the codec on cpu"):
        oobleck.encode_batch([torch.zeros(300, 2), torch.zeros(300, 2, device="meta")])
