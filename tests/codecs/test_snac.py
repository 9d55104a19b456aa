"""SNAC: every array of its goldens, its rates of codes, its noise, its windows, and Orpheus' tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SNACS, golden
from golden_state import golden_audio
from goldens import assert_close, checks_of
from torch import Tensor

from vocos import CheckpointError, InvalidInput, Voco, arrange_codes, get_voco, join_streams, load_codes, save_codes
from vocos.kernels import steps

CHECKS = checks_of(SNACS)
STEPS = {"encoder_trunk": 3, "encoder_attention": 4, "decoder_in": 2, "decoder_attention": 3}


@pytest.fixture(scope="module")
def loaded(folder: Callable[[str], Path]) -> dict[str, Voco[Any]]:
    return {key: get_voco(item.name, weights=folder(key)).load() for key, item in SNACS.items()}


@pytest.mark.parametrize(("key", "case", "array"), CHECKS, ids=["-".join(check) for check in CHECKS])
def test_golden(key: str, case: str, array: str, loaded: dict[str, Voco[Any]]) -> None:
    meta, arrays = golden(SNACS[key].golden)
    facts = meta["cases"][case]
    codes = torch.from_numpy(arrays[f"{case}__codes"]).long()
    audio = golden_audio(facts["audio"]) if "audio" in facts else None
    assert_close(SNACS[key].golden, case, array, given(loaded[key], array, audio, codes, facts))


def given(voco: Voco[Any], array: str, audio: Any, codes: Tensor, facts: dict[str, Any]) -> Tensor:
    """What the library gives for an array."""
    base, _, count = array.removesuffix("_no_noise").partition("_k")
    books = int(count) if count else voco.n_codebooks
    some = codes[..., : voco.columns_of(books or 0)]
    if array in STEPS:
        if array.startswith("encoder"):
            x, chain = audio, voco.encoder_steps(voco.network)
        else:
            x, chain = voco.codes_to_latents(codes), voco.decoder_steps(voco.network)
        return steps.run(chain[: STEPS[array]], x.mT).mT
    if array.startswith("snac_codes_"):
        return arrange_codes(codes, "batch frames codebooks", to="snac")[int(array[-1])]
    match base:
        case "latents":
            return voco.encode(audio)
        case "codes":
            return codes if audio is None else voco.encode_codes(audio)
        case "orpheus_ids":
            return arrange_codes(codes, "batch frames codebooks", to="orpheus")
        case "orpheus":
            ids = arrange_codes(codes, "batch frames codebooks", to="orpheus")
            return (ids - 128266) % 4096
        case "quantized":
            return voco.codes_to_latents(some)
        case "audio_unquantized":
            return voco.decode(voco.encode(audio), noise=False)
    if array.endswith("_no_noise"):
        return voco.decode_codes(some, noise=False)
    torch.manual_seed(facts["noise"]["seed"])
    return voco.decode_codes(some)


def test_facts_of_codes_at_several_rates() -> None:
    voco = get_voco("snac_24khz")
    assert (voco.n_codebooks, voco.code_columns, voco.code_hop_length) == (3, 7, 2048)
    assert [voco.columns_of(count) for count in (1, 2, 3)] == [1, 3, 7]
    assert voco.bits_per_second == 984.375
    assert get_voco("snac_44khz").code_columns == 15
    assert (get_voco("dac_44khz").code_columns, get_voco("dac_44khz").code_hop_length) == (9, 512)


@pytest.mark.parametrize(("name", "padded"), [("snac_24khz", 2048), ("snac_32khz", 12288)])
def test_audio_is_completed_to_frames_of_codes_and_windows(name: str, padded: int) -> None:
    voco = get_voco(name)
    for n in (1, padded - 1, padded, padded + 1):
        assert voco.encode_length(n) * voco.hop_length == -(-n // padded) * padded


def test_columns_that_are_no_codebooks_are_refused() -> None:
    voco = get_voco("snac_24khz")
    for columns in (2, 4, 6):
        with pytest.raises(InvalidInput, match=r"\[batch, frames, 1 or 3 or 7\]"):
            voco.decode_codes(torch.zeros(1, 2, columns, dtype=torch.int64))


def test_latents_that_are_no_frames_of_codes_are_refused(loaded: dict[str, Voco[Any]]) -> None:
    with pytest.raises(InvalidInput, match="expected a multiple of 4 latent frames"):
        loaded["snac_24khz"].latents_to_codes(torch.zeros(1, 6, 96))


class TestNoise:
    """What the decoder draws."""

    def test_seed_gives_the_numbers_of_the_global_generator(self, loaded: dict[str, Voco[Any]]) -> None:
        voco, codes = loaded["snac_24khz"], torch.randint(0, 4096, (2, 3, 7))
        torch.manual_seed(3)
        wanted = voco.decode_codes(codes)
        assert torch.equal(voco.decode_codes(codes, generator=torch.Generator().manual_seed(3)), wanted)
        assert not torch.allclose(voco.decode_codes(codes), wanted)
        quiet = voco.decode_codes(codes, noise=False)
        assert torch.equal(quiet, voco.decode_codes(codes, noise=False))
        assert not torch.allclose(quiet, wanted)

    @pytest.mark.parametrize("key", SNACS)
    def test_stream_draws_the_same_for_every_partition(self, key: str, loaded: dict[str, Voco[Any]]) -> None:
        voco = loaded[key]
        codes = torch.randint(0, 4096, (1, 9, voco.code_columns or 0))
        found = []
        for sizes in ([9], [1] * 9, [2, 0, 6, 1]):
            stream = voco.decode_codes_stream(generator=torch.Generator().manual_seed(1))
            parts = [stream.push(piece) for piece in torch.split(codes, sizes, dim=1)]
            found.append(torch.cat([*parts, stream.finish()], dim=1))
        for other in found[1:]:
            torch.testing.assert_close(other, found[0], atol=1e-5, rtol=0.0)
        assert not torch.allclose(found[0], voco.decode_codes(codes, noise=False), atol=1e-4)

    def test_streams_at_other_places_go_on_together_with_their_own_noise(self, loaded: dict[str, Voco[Any]]) -> None:
        voco = loaded["snac_24khz"]
        codes = torch.randint(0, 4096, (2, 60, 7))
        alone, streams = [], []
        for row, begun in enumerate((30, 41)):
            other, stream = voco.decode_codes_stream(), voco.decode_codes_stream()
            for one in (other, stream):
                torch.manual_seed(row)
                one.push(codes[row : row + 1, :begun])
            alone.append(other.push(codes[row : row + 1, begun : begun + 9]))
            streams.append(stream)
        together = join_streams(streams)
        found = together.push(torch.cat([codes[:1, 30:39], codes[1:, 41:50]]))
        torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=0.0)

    def test_rows_of_a_long_batch_have_the_noise_of_the_whole(
        self, loaded: dict[str, Voco[Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        voco, latents = loaded["snac_24khz"], torch.randn(3, 8, 96)
        wanted = voco.decode(latents, generator=torch.Generator().manual_seed(0))
        monkeypatch.setattr("vocos.kernels.pieces.PIECE", 1024)
        found = voco.decode(latents, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0.0)

    def test_default_of_the_codec_can_be_told(self, folder: Callable[[str], Path]) -> None:
        voco = get_voco("snac_24khz", weights=folder("snac_24khz"), noise=False)
        codes = torch.randint(0, 4096, (1, 3, 7))
        assert torch.equal(voco.decode_codes(codes), voco.decode_codes(codes))
        assert not torch.equal(voco.decode_codes(codes, noise=True), voco.decode_codes(codes))
        with pytest.raises(InvalidInput, match="expected noise as True or False"):
            get_voco("snac_24khz", noise="no")  # type: ignore[call-overload]


class TestArrangements:
    """Codes of snac and of Orpheus, and back."""

    def test_lists_come_back(self) -> None:
        codes = torch.randint(0, 4096, (2, 5, 15))
        lists = arrange_codes(codes, "batch frames codebooks", to="snac")
        assert [book.shape[1] for book in lists] == [5, 10, 20, 40]
        assert torch.equal(lists[2][:, 4:8], codes[:, 1, 3:7])
        assert torch.equal(arrange_codes(lists, "snac"), codes)
        assert torch.equal(arrange_codes([book[0] for book in lists], "snac"), codes[:1])

    def test_tokens_come_back(self) -> None:
        codes = torch.randint(0, 4096, (2, 5, 7))
        ids = arrange_codes(codes, "batch frames codebooks", to="orpheus")
        assert torch.equal(arrange_codes(ids, "orpheus"), codes)
        assert torch.equal(arrange_codes(ids[0].tolist(), "orpheus"), codes[:1])
        # the fourth token of a frame is of the last codebook: its second code
        assert int(ids[0, 3]) == 128266 + 3 * 4096 + int(codes[0, 0, 4])

    @pytest.mark.parametrize(
        ("codes", "axes", "message"),
        [
            ([128266] * 7, "orpheus", "token 1 of row 0 is 128266, no audio token of its place"),
            ([128266] * 6, "orpheus", r"\[batch, 7 frames\], got \[1, 6\]"),
            ([[0, 1], [0, 1, 2]], "snac", r"a multiple of the first codebook's frames, got \[\[1, 2\], \[1, 3\]\]"),
            (torch.zeros(2, 2), "snac", "'snac' is a list of tensors, got a Tensor"),
            ([0, 1], "moshi", "'snac' or 'orpheus', got 'moshi'"),
        ],
    )
    def test_what_is_no_such_codes_is_refused(self, codes: Any, axes: str, message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            arrange_codes(codes, axes)

    def test_codes_that_have_no_place_in_a_list_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="1, 3, 7 or 15 columns, got 8"):
            arrange_codes(torch.zeros(1, 2, 8, dtype=torch.int64), "batch frames codebooks", to="snac")
        with pytest.raises(InvalidInput, match="has 7 columns, got 3"):
            arrange_codes(torch.zeros(1, 2, 3, dtype=torch.int64), "batch frames codebooks", to="orpheus")


@pytest.mark.parametrize("books", [1, 3])
def test_codes_go_through_a_file(books: int, loaded: dict[str, Voco[Any]], tmp_path: Path) -> None:
    voco = loaded["snac_24khz"]
    codes = voco.encode_codes(torch.rand(1, 5000, 1) - 0.5, n_codebooks=books)
    save_codes(tmp_path / "a.codes", codes, voco, length=5000)
    file = load_codes(tmp_path / "a.codes", voco)
    assert torch.equal(file.codes, codes)
    assert file.samples == 5000
    assert file.decode(voco).shape == (1, 5000, 1)
    with pytest.raises(InvalidInput, match="7000 samples are not the length= of 3 frames"):
        save_codes(tmp_path / "b.codes", codes, voco, length=7000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 100}, "latent_dim 100"),
        ({"vq_strides": [4, 3, 1]}, "each must divide the first"),
        ({"vq_strides": [1, 2]}, "each must divide the first"),
        ({"decoder_rates": [8, 8, 4, 4]}, "512 samples, the decoder 1024"),
        ({"attn_window_size": 32, "encoder_dim": 6}, "heads have 64"),
    ],
)
def test_config_of_another_network_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        get_voco("snac_24khz").parse(golden("snac-small")[0]["config"] | change)
