"""The conformance suite over every codec of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import OTHERS
from torch import Tensor

from vocos import Voco, get_voco, list_vocos
from vocos.testing import VocoContract


class SmallContract(VocoContract):
    """The suite on the stand-in weights."""

    name = ""

    @pytest.fixture(autouse=True)
    def _folder(self, weights: Path) -> None:
        self.weights = weights

    def make(self) -> Voco[Any]:
        return get_voco(self.name, weights=self.weights)


class TestMel(SmallContract):
    name = "mel"

    def latents(self, voco: Voco[Any], frames: int, batch: int = 1) -> Tensor:
        return super().latents(voco, frames, batch) - 3.0  # log magnitudes

    def comparable(self, latents: Tensor) -> Tensor:
        return latents.exp()  # below -11, the noise floor of a float32 transform decides


class TestGriffinLim(TestMel):
    tolerance = 1e-2  # the phase search magnifies rounding; where matrix products do not round differently, it is exact

    def make(self) -> Voco[Any]:
        return get_voco("griffinlim")


class TestEncodec(SmallContract):
    name = "encodec"


class TestDac(SmallContract):
    name = "dac"


class OtherContract(SmallContract):
    """The suite on the stand-in weights of a codec that has files of its own."""

    key = ""

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Any) -> None:
        self.weights = folder(self.key)


class EncodecContract(OtherContract):
    """The suite on EnCodec with its own decoder."""

    def test_one_codebook_comes_back_from_its_latents(self, voco: Voco[Any]) -> None:
        """An entry is its own nearest one; what several add up to may be coded better."""
        codes = voco.encode_codes(self.audio(voco, self.some_samples(voco)), n_codebooks=1)
        assert self.same(voco.latents_to_codes(voco.codes_to_latents(codes), n_codebooks=1), codes)


class TestEncodec24(EncodecContract):
    name, key = "encodec_24khz", "original-encodec_24khz"


class TestEncodec32(EncodecContract):
    name, key = "encodec_32khz", "transformers-encodec_32khz"


class TestEncodec48(EncodecContract):
    name, key = "encodec_48khz", "transformers-encodec_48khz"

    def some_samples(self, voco: Voco[Any]) -> int:
        return 4752 + 900  # two chunks


class TestDac44(OtherContract):
    name, key = "dac_44khz", "descript-dac"


class TestDac24(OtherContract):
    name, key = "dac_24khz", "transformers-dac"  # an odd stride among them


class TestDac16(OtherContract):
    name, key = "dac_16khz", "transformers-dac"


class TestDacVae(SmallContract):
    name = "dacvae"


class TestDacVaeOfFacebook(VocoContract):
    """Other weights of dacvae: another network, that cannot take very short clips."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        OTHERS["facebook-dacvae"].write(tmp_path)
        self.weights = tmp_path

    def make(self) -> Voco[Any]:
        return get_voco("dacvae", weights=self.weights, message=[1, 0] * 8)


class TestOobleck(SmallContract):
    name = "oobleck"
    encode_options = {"sample": False}


class TestMimi(OtherContract):
    name, key = "mimi", "mimi"


class TestPocketTts(OtherContract):
    name, key = "pocket_tts", "original-pocket_tts"


class TestQwen3Tts(OtherContract):
    name, key = "qwen3_tts", "qwen3_tts"


class TestWavTokenizer(OtherContract):
    name, key = "wavtokenizer", "wavtokenizer"


class SnacContract(OtherContract):
    """The suite on SNAC without its noise."""

    def make(self) -> Voco[Any]:
        return get_voco(self.name, weights=self.weights, noise=False)


class TestSnac24(SnacContract):
    name, key = "snac_24khz", "snac_24khz"


class TestSnac32(SnacContract):
    name, key = "snac_32khz", "snac_32khz"


class XcodecContract(OtherContract):
    """The suite on X-Codec, where the package that it encodes with is installed."""

    @pytest.fixture(autouse=True)
    def _listening(self) -> None:
        pytest.importorskip("transformers")


class TestHiggsAudioV2(XcodecContract):
    name, key = "higgs_audio_v2", "higgs_audio_v2"


class TestXcodec(XcodecContract):
    name, key = "xcodec", "xcodec"


class TestXcodecWithWavlm(XcodecContract):
    name, key = "xcodec_wavlm_mls", "xcodec-wavlm"


def test_every_built_in_codec_is_under_contract() -> None:
    kinds = (SmallContract, OtherContract, EncodecContract, SnacContract, XcodecContract)
    tested = {cls.name for kind in kinds for cls in kind.__subclasses__() if cls.name} | {"griffinlim"}
    others = {  # other defaults only
        *(f"xcodec_{name}" for name in ("hubert_librispeech", "hubert_general", "hubert_general_balanced")),
        "xcodec_wavlm_more_data",
        *list_vocos("wavtokenizer_*"),
        "snac_44khz",
    }
    assert tested == set(list_vocos()) - others


def test_half_precision_is_close_for_sampling_too(weights: Path) -> None:
    generator = torch.Generator()
    audio = torch.rand(1, 100, 2, generator=generator.manual_seed(0))
    single = get_voco("oobleck", weights=weights).encode(audio, generator=generator.manual_seed(3))
    half = get_voco("oobleck", weights=weights, dtype=torch.bfloat16).encode(audio, generator=generator.manual_seed(3))
    assert half.dtype == torch.bfloat16
    assert (single - half).abs().max() < 0.1  # measured: 0.053


class TestWatermark:
    """Options of dacvae that only facebook's weights understand."""

    @pytest.fixture
    def facebook(self, tmp_path: Path) -> Path:
        OTHERS["facebook-dacvae"].write(tmp_path)
        return tmp_path

    def test_message_is_drawn_unless_given(self, facebook: Path) -> None:
        latents = torch.randn(2, 2, 6)
        drawing = get_voco("dacvae", weights=facebook)
        torch.manual_seed(0)
        first, second = drawing.decode(latents), drawing.decode(latents)
        assert not torch.equal(first, second)
        torch.manual_seed(0)
        drawn = torch.randint(0, 2, (2, 16))
        assert torch.equal(get_voco("dacvae", weights=facebook, message=drawn).decode(latents), first)
        plain = get_voco("dacvae", weights=facebook, watermark=False)
        assert torch.equal(plain.decode(latents), plain.decode(latents))
        assert torch.equal(plain.decode(latents, watermark=True, message=drawn), first)
        assert torch.equal(drawing.decode(latents, watermark=False), plain.decode(latents))

    @pytest.mark.parametrize(
        "message", [[1] * 15, [[1] * 17], [2] * 16, 1, [[[1] * 16]], [0.5] * 16, "1" * 16, [[1] * 16, [1]]]
    )
    def test_message_that_is_none_is_refused_at_once(self, message: Any, facebook: Path) -> None:
        with pytest.raises(ValueError, match="expected message as 16 bits"):
            get_voco("dacvae", weights=facebook, message=message)

    def test_one_message_for_each_row_must_fit_the_batch(self, facebook: Path) -> None:
        voco = get_voco("dacvae", weights=facebook, message=[[1] * 16, [0] * 16])
        with pytest.raises(ValueError, match="2 messages for 3 rows that are decoded together"):
            voco.decode(torch.randn(3, 2, 6))

    def test_weights_without_watermark_take_no_message(self, weights: Path) -> None:
        with pytest.raises(ValueError, match="these weights have no watermark; leave message= out"):
            get_voco("dacvae", weights=weights, message=[1] * 16)
