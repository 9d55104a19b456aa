"""EnCodec with its own decoder: the goldens, the chunks of 48 kHz, and codes that carry their loudness."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ENCODECS, golden
from golden_state import golden_audio
from torch import Tensor

from vocos import CheckpointError, InvalidInput, ScaledCodes, Voco, get_voco
from vocos.codecs.encodec import EncodecAudioConfig
from vocos.codecs.encodec.chunks import AT_ONCE, Chunks, DecodedChunks

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}  # as the goldens say; we are within 2e-6
CASES = [(key, case) for key, item in ENCODECS.items() for case in golden(item.golden)[0]["cases"]]
CHECKS = [(key, case) for key, case in CASES if case != "padded"]  # which is what the port does to a padded batch


class Golden:
    """One case of a golden, its chunks put one after the other as ours are."""

    def __init__(self, key: str, case: str) -> None:
        self.meta, arrays = golden(ENCODECS[key].golden)
        self.case = self.meta["cases"][case]
        self.arrays = {name.removeprefix(f"{case}__"): a for name, a in arrays.items() if name.startswith(f"{case}__")}
        self.audio = golden_audio(self.case["audio"])
        self.scales = torch.from_numpy(self.arrays["scales"]) if "scales" in self.arrays else None
        self.embeddings = self.chunks("embeddings", axis=1).float()
        self.codes = self.chunks("codes", axis=2).long().transpose(1, 2)

    def chunks(self, name: str, axis: int) -> Tensor:
        parts = [array for key, array in self.arrays.items() if key == name or key.startswith(f"{name}_chunk")]
        return torch.from_numpy(np.concatenate(parts, axis=axis))

    def packed(self, codes: Tensor) -> Any:
        return codes if self.scales is None else ScaledCodes(codes, self.scales)

    def latents(self) -> Tensor:
        if self.scales is None:
            return self.embeddings
        scale = self.scales.repeat_interleave(torch.tensor(self.case["n_frames"]), dim=1)
        return torch.cat([self.embeddings, scale[..., None]], dim=2)


@pytest.mark.parametrize(("key", "case"), CHECKS)
def test_golden_of_both_directions(key: str, case: str, folder: Any) -> None:
    want, voco = Golden(key, case), get_voco(ENCODECS[key].name, weights=folder(key))
    with torch.no_grad():
        torch.testing.assert_close(voco.encode(want.audio), want.latents(), **TOLERANCE)
        for name, array in want.arrays.items():
            if name == "audio_from_embeddings":
                torch.testing.assert_close(voco.decode(want.latents()), torch.from_numpy(array), **TOLERANCE)
            elif name.startswith("audio_bw"):
                books = want.meta["codebooks_per_bandwidth"][name.removeprefix("audio_bw")]
                sound = voco.decode_codes(want.packed(want.codes[..., :books]))
                torch.testing.assert_close(sound, torch.from_numpy(array), **TOLERANCE)
    assert voco.encode_length(want.audio.shape[1]) == sum(want.case["n_frames"])
    assert voco.decode_length(sum(want.case["n_frames"])) == want.case["n_samples_out"]


@pytest.mark.parametrize(("key", "case"), CHECKS)
def test_golden_codes_at_every_bandwidth(key: str, case: str, folder: Any) -> None:
    want, voco = Golden(key, case), get_voco(ENCODECS[key].name, weights=folder(key))
    stored = want.codes.shape[2]
    for bandwidth, books in want.meta["codebooks_per_bandwidth"].items():
        if books <= stored:
            for given in (
                voco.encode_codes(want.audio, bandwidth=float(bandwidth)),
                voco.encode_codes(want.audio, books),
                voco.latents_to_codes(want.latents(), bandwidth=float(bandwidth)),
            ):
                codes = given.codes if isinstance(given, ScaledCodes) else given
                assert torch.equal(codes, want.codes[..., :books])
                if isinstance(given, ScaledCodes):
                    torch.testing.assert_close(given.scales, want.scales, atol=0, rtol=1e-6)


def test_goldens_are_whole() -> None:
    for item in ENCODECS.values():
        meta, arrays = golden(item.golden)
        assert {key for case in meta["cases"].values() for key in case["arrays"]} == set(arrays)


# Chunks

SHAPES = [Chunks(48000, 47520, 320), Chunks(4800, 4752, 320), Chunks(100, 99, 10), Chunks(100, 100, 10)]
SHAPES += [Chunks(64, 33, 8), Chunks(64, 32, 8), Chunks(50, 45, 7), Chunks(9, 5, 12), Chunks(2, 1, 1)]


@pytest.mark.parametrize("chunks", SHAPES, ids=str)
def test_frames_are_those_of_every_piece(chunks: Chunks) -> None:
    end = min(5 * chunks.step, 200_000)
    lengths = range(1, end, max(1, end // 4000))
    found = chunks.frames(torch.tensor(lengths))
    for n, tensor in zip(lengths, found.tolist(), strict=True):
        pieces = [-(-min(chunks.size, n - start) // chunks.hop) for start in range(0, n, chunks.step)]
        assert chunks.frames(n) == tensor == sum(pieces)
        assert chunks.piece_frames(sum(pieces)) == pieces
        assert chunks.samples(sum(pieces)) == (len(pieces) - 1) * chunks.step + chunks.hop * pieces[-1] >= n


@pytest.mark.parametrize("chunks", SHAPES, ids=str)
def test_every_number_of_frames_can_be_decoded(chunks: Chunks) -> None:
    """Those too that no sound has: the pieces cover everything, so that nothing is divided by zero."""
    whole = -(-chunks.size // chunks.hop)
    frames = range(1, min(6 * whole, 1000))
    assert chunks.samples(torch.tensor(frames)).tolist() == [chunks.samples(n) for n in frames]
    for n in frames:
        pieces = chunks.piece_frames(n)
        assert sum(pieces) == n
        assert min(pieces) >= 1
        assert max(pieces) <= pieces[0] <= whole
        decode = DecodedChunks(chunks, lambda x, scales: x.repeat_interleave(chunks.hop, dim=-1))
        sound = decode(torch.ones(1, 1, n))
        assert sound.shape[-1] >= chunks.samples(n)
        torch.testing.assert_close(sound, torch.ones_like(sound))
        assert n == 1 or chunks.samples(n) >= chunks.samples(n - 1)


def test_lengths_of_the_sheet() -> None:
    voco = get_voco("encodec_48khz")
    pieces = {47520: [149], 47521: [149, 1], 48000: [150, 2], 52345: [150, 16]}
    samples = {47520: 47680, 47521: 47840, 48000: 48160, 52345: 52640}
    for n, frames in pieces.items():
        assert voco.encode_length(n) == sum(frames)
        assert voco.decode_length(sum(frames)) == samples[n]
        assert SHAPES[0].piece_frames(sum(frames)) == frames


@pytest.fixture
def stereo(folder: Any) -> Voco[Any]:
    return get_voco("encodec_48khz", weights=folder("transformers-encodec_48khz"))


@pytest.mark.parametrize("remainder", [1, 48, 160, 161, 320, 321, 4752])
def test_last_chunk_inside_the_one_before_is_no_error(remainder: int, stereo: Voco[Any]) -> None:
    """The references raise where it ends before the one before it does: here 1 to 48 samples and a frame more."""
    audio = torch.rand(1, 4752 + remainder, 2) - 0.5
    latents = stereo.encode(audio)
    sound = stereo.decode(latents)
    assert latents.shape[1] == stereo.encode_length(audio.shape[1])
    assert sound.shape[1] == stereo.decode_length(latents.shape[1]) >= audio.shape[1]
    assert sound.isfinite().all()
    alone = stereo.decode(latents[:, :15])  # the first chunk, up to where the second one begins
    torch.testing.assert_close(sound[:, :4752], alone[:, :4752], atol=1e-5, rtol=0)


def test_many_chunks_together_are_what_each_is_alone(stereo: Voco[Any]) -> None:
    audio = torch.rand(2, 4752 * (AT_ONCE + 2) + 777, 2) - 0.5
    latents = stereo.encode(audio)
    for i in (0, AT_ONCE - 1, AT_ONCE):
        piece = stereo.encode(audio[:, i * 4752 : i * 4752 + 4752])
        whole = stereo.network.encoder
        torch.testing.assert_close(latents[:, 15 * i, -1], _scale(audio[:, i * 4752 : i * 4752 + 4800]))
        assert piece.shape[1] == 15
        x = audio[:, i * 4752 : i * 4752 + 4800] / _scale(audio[:, i * 4752 : i * 4752 + 4800])[:, None, None]
        alone = whole(x.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(latents[:, 15 * i : 15 * i + 15, :-1], alone, atol=1e-5, rtol=1e-5)


def _scale(audio: Tensor) -> Tensor:
    return audio.mean(dim=2).square().mean(dim=1).sqrt() + 1e-8


def test_silence_has_the_smallest_scale_and_a_gradient(stereo: Voco[Any]) -> None:
    audio = torch.zeros(1, 700, 2, requires_grad=True)
    latents = stereo.encode(audio)
    assert torch.equal(latents[..., -1], torch.full_like(latents[..., -1], 1e-8))
    assert torch.autograd.grad(latents.sum(), audio)[0].isfinite().all()
    assert stereo.decode(latents).abs().max() < 1e-6


def test_louder_sound_has_the_same_codes_and_another_scale(stereo: Voco[Any]) -> None:
    audio = torch.rand(1, 6000, 2) - 0.5
    quiet, loud = stereo.encode_codes(audio / 4), stereo.encode_codes(audio)
    assert torch.equal(quiet.codes, loud.codes)
    torch.testing.assert_close(4 * quiet.scales, loud.scales)
    torch.testing.assert_close(4 * stereo.decode_codes(quiet), stereo.decode_codes(loud), atol=1e-5, rtol=1e-5)


class TestScaledCodes:
    """What 48 kHz codes are and what is refused."""

    def test_they_go_through_latents_unchanged(self, stereo: Voco[Any]) -> None:
        codes = stereo.encode_codes(torch.rand(2, 10000, 2) - 0.5)
        assert codes.shape == (2, stereo.encode_length(10000), stereo.n_codebooks)
        assert codes.scales.shape == (2, 3)
        assert codes.scales.dtype == torch.float32
        assert stereo.codes_to_latents(codes).shape == (*codes.shape[:2], stereo.latent_dim)
        again = stereo.latents_to_codes(stereo.codes_to_latents(codes))
        assert torch.equal(again.scales, codes.scales)

    def test_fewer_codebooks_and_single_rows_decode(self, stereo: Voco[Any]) -> None:
        codes = stereo.encode_codes(torch.rand(2, 5000, 2) - 0.5)
        few = stereo.encode_codes(torch.rand(2, 5000, 2) - 0.5, bandwidth=0.18)
        assert few.shape[2] == 2
        assert codes.codebooks(2).to("cpu").shape == few.shape
        sound = stereo.decode_codes(codes)
        torch.testing.assert_close(stereo.decode_codes(codes.rows([1])), sound[1:], atol=1e-6, rtol=1e-5)

    def test_codes_without_their_scales_are_refused(self, stereo: Voco[Any]) -> None:
        codes = torch.zeros(1, 17, 2, dtype=torch.long)
        with pytest.raises(InvalidInput, match=r"expected ScaledCodes, as of encode_codes, got a Tensor; .* loudness"):
            stereo.decode_codes(codes)
        for scales in (torch.ones(1, 1), torch.ones(2, 2), torch.ones(1, 2).long(), None):
            with pytest.raises(InvalidInput, match=r"expected scales float \[1, 2\]"):
                stereo.decode_codes(ScaledCodes(codes, scales))
        with pytest.raises(InvalidInput, match="codes from 0 to 63, got 64 to 64"):
            stereo.decode_codes(ScaledCodes(codes + 64, torch.ones(1, 2)))
        assert not stereo.is_loaded

    def test_other_codecs_take_none(self, weights: Path) -> None:
        codes = ScaledCodes(torch.zeros(1, 3, 2, dtype=torch.long), torch.ones(1, 1))
        with pytest.raises(InvalidInput, match="dac takes a plain tensor, got ScaledCodes; give their .codes"):
            get_voco("dac", weights=weights).decode_codes(codes)


# Configs


def test_what_a_transformers_config_leaves_out_is_as_at_24_khz() -> None:
    voco = get_voco("encodec_48khz")
    data = {"sampling_rate": 48000, "audio_channels": 2, "upsampling_ratios": [8, 5, 4, 2]}
    config = voco.parse(data)
    assert config.use_causal_conv
    assert config.use_conv_shortcut
    assert not config.normalize
    assert config.chunks is None


def test_codebooks_are_counted_by_the_highest_bandwidth() -> None:
    small = {"hidden_size": 32, "num_filters": 8, "upsampling_ratios": [8, 4], "codebook_size": 64}
    assert EncodecAudioConfig.parse(small).n_codebooks == 5  # 24 kbps at 750 frames of 6 bits
    assert get_voco("encodec_24khz").codebooks_for(24.0) == 32
    assert get_voco("encodec_32khz").codebooks_for(2.2) == 4
    assert [get_voco("encodec_48khz").codebooks_for(b) for b in (3.0, 6.0, 12.0, 24.0)] == [2, 4, 8, 16]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"norm_type": "layer_norm"}, "norm_type 'layer_norm', none of weight_norm, time_group_norm"),
        ({"pad_mode": "circular"}, "pad_mode 'circular'"),
        ({"audio_channels": 3}, "audio_channels 3"),
        ({"normalize": "yes"}, "normalize must be true or false"),
        ({"codebook_dim": 64}, "codebook_dim is 64, only 128 is supported"),
        ({"chunk_length_s": 1.0, "overlap": 0.6}, "overlap 0.6 of a chunk"),
        ({"chunk_length_s": 1e-9}, "chunk_length_s 1e-09"),
        ({"chunk_length_s": 1e-3}, "chunk_length_s 0.001; a chunk must be longer than a frame"),
        ({"chunk_length_s": -1.0}, "chunk_length_s -1"),
        ({"num_lstm_layers": 1000}, "num_lstm_layers must be an integer from 0 to 16"),
        ({"upsampling_ratios": [1000] * 30}, "upsampling_ratios"),
        ({"target_bandwidths": [0.0]}, "target_bandwidths"),
        ({"compress": 64}, "compress 64"),
        ({"trim_right_ratio": 2.0}, "trim_right_ratio 2.0"),
    ],
)
def test_config_that_no_network_can_have_is_refused(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(EncodecAudioConfig().as_dict() | change))
    with pytest.raises(CheckpointError, match=problem):
        get_voco("encodec_24khz", weights=tmp_path)


AUDIOCRAFT = """
compression_model: encodec
sample_rate: 44100
channels: 1
encodec: {autoencoder: seanet, quantizer: rvq, sample_rate: "${sample_rate}", channels: "${channels}", causal: true}
seanet:
  dimension: DIMENSION
  channels: ${channels}
  causal: ${encodec.causal}
  n_filters: FILTERS
  n_residual_layers: 1
  ratios: RATIOS
  activation: ELU
  activation_params: {alpha: 1.}
  norm: weight_norm
  norm_params: {}
  kernel_size: 7
  residual_kernel_size: 3
  last_kernel_size: 7
  dilation_base: 2
  pad_mode: constant
  true_skip: false
  compress: 2
  lstm: 2
  disable_norm_outer_blocks: 0
  decoder: {trim_right_ratio: 1.0, final_activation: null, final_activation_params: null}
  encoder: {}
rvq: {n_q: BOOKS, q_dropout: false, bins: BINS, decay: 0.99}
"""


class TestAudiocraft:
    """Its file holds the weights as "best_state", and as "xp.cfg" the config that it was trained with."""

    @pytest.fixture
    def write(self, folder: Any, tmp_path: Path) -> Any:
        """Writes such a file of the stand-in weights, its config changed."""
        source = folder("original-encodec_24khz")
        known = get_voco("encodec_24khz", weights=source).config
        state = torch.load(source / "encodec_24khz-d7cc33bc.th", weights_only=True)
        sizes = {"DIMENSION": "hidden_size", "FILTERS": "num_filters", "RATIOS": "upsampling_ratios"}
        sizes |= {"BOOKS": "n_codebooks", "BINS": "codebook_size"}

        def write(*changes: tuple[str, str]) -> Path:
            text = AUDIOCRAFT
            for word, name in sizes.items():
                text = text.replace(word, str(known[name]))
            for before, after in changes:
                assert before in text
                text = text.replace(before, after)
            path = tmp_path / "compression_state_dict.bin"
            torch.save({"best_state": state, "xp.cfg": text, "version": "1.0", "exported": True}, path)
            return path

        return write

    @pytest.mark.parametrize("is_file", [True, False])
    @pytest.mark.parametrize("name", ["encodec_24khz", "encodec_32khz"])
    def test_what_the_file_says_counts_whatever_the_name(self, name: str, is_file: bool, write: Any) -> None:
        path = write()
        voco = get_voco(name, weights=path if is_file else path.parent).load()
        assert voco.sampling_rate == 44100
        assert voco.config["pad_mode"] == "constant"
        frames = 44100 / voco.hop_length
        assert voco.bandwidths == pytest.approx((voco.n_codebooks * math.log2(voco.codebook_size) * frames / 1000,))
        assert voco.encode_codes(torch.rand(1, 1000, 1)).shape[2] == voco.n_codebooks

    def test_padding_of_the_file_is_used(self, write: Any) -> None:
        audio = torch.rand(1, 1000, 1) - 0.5
        zeros = get_voco("encodec_32khz", weights=write()).encode(audio)
        reflected = get_voco("encodec_32khz", weights=write(("constant", "reflect"))).encode(audio)
        assert (zeros - reflected)[:, 0].abs().max() > 0.1 * zeros.abs().max()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("activation: ELU", "activation: Snake"), "activation is 'Snake', only 'ELU' is supported"),
            (("quantizer: rvq", "quantizer: no_quant"), "quantizer is 'no_quant'"),
            (("compression_model: encodec", "compression_model: dac"), "compression_model is 'dac'"),
            (("final_activation: null", "final_activation: Tanh"), "final_activation is 'Tanh'"),
            (("encoder: {}", "encoder: {n_filters: 7}"), "n_filters is"),
            (("causal: true", 'causal: "${encodec.causal}"'), "refers to itself"),
            (('sample_rate: "${sample_rate}"', "sample_rate: 32000"), "sample_rate is 44100, only 32000"),
            (("pad_mode: constant", "pad_mode: circular"), "pad_mode 'circular', none of"),
            (("sample_rate: 44100\n", "\n"), "audiocraft's says no sample_rate"),
            (("lstm: 2", "lstm: [2]"), "num_lstm_layers must be an integer"),
            (("seanet:", "seanet: ]"), "its config: not a readable config"),
        ],
    )
    def test_config_of_another_network_is_refused(self, change: tuple[str, str], message: str, write: Any) -> None:
        path = write(change)
        with pytest.raises(CheckpointError, match=message) as caught:
            get_voco("encodec_32khz", weights=path)
        assert str(path) in str(caught.value)

    def test_config_that_does_not_fit_the_tensors_is_refused(self, write: Any) -> None:
        voco = get_voco("encodec_32khz", weights=write(("lstm: 2", "lstm: 1")))
        with pytest.raises(CheckpointError, match=r"does not fit the config .* unexpected"):
            voco.load()
