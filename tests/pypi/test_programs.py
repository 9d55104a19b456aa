"""Programs that were written for PyPI's `vocos`, in miniature: how others load, patch and call it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from vocos import CheckpointError, InvalidInput
from vocos.feature_extractors import EncodecFeatures, FeatureExtractor, MelSpectrogramFeatures
from vocos.heads import FourierHead, ISTFTHead
from vocos.models import Backbone, VocosBackbone
from vocos.modules import safe_log
from vocos.pretrained import Vocos, instantiate_class
from vocos.pypi.spectrograms import MelSpectrogram, Spectrogram

MEL = {"sample_rate": 24000, "n_fft": 256, "hop_length": 64, "n_mels": 20, "padding": "center"}
SIZES = {"input_channels": 20, "dim": 16, "intermediate_dim": 48, "num_layers": 2}
HEAD = {"dim": 16, "n_fft": 256, "hop_length": 64, "padding": "center"}
CONFIG = {
    "feature_extractor": {"class_path": "vocos.feature_extractors.MelSpectrogramFeatures", "init_args": MEL},
    "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": SIZES},
    "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": HEAD},
}


def built() -> Vocos:
    torch.manual_seed(0)
    return Vocos(*(instantiate_class(args=(), init=CONFIG[name]) for name in CONFIG)).eval()


# A speech model that keeps its configs as dataclasses (ChatTTS)


@dataclass
class Part:
    class_path: str
    init_args: dict[str, Any]


@dataclass
class Vocoder:
    feature_extractor: Part = field(default_factory=lambda: Part(**CONFIG["feature_extractor"]))
    backbone: Part = field(default_factory=lambda: Part(**CONFIG["backbone"]))
    head: Part = field(default_factory=lambda: Part(**CONFIG["head"]))


def test_parts_of_dataclasses_take_a_state_dict_from_a_file(tmp_path: Path) -> None:
    want = built()
    torch.save(want.state_dict(), tmp_path / "Vocos.pt")

    parts = asdict(Vocoder())
    feature_extractor = instantiate_class(args=(), init=parts["feature_extractor"])
    backbone = instantiate_class(args=(), init=parts["backbone"])
    head = instantiate_class(args=(), init=parts["head"])
    vocos = Vocos(feature_extractor=feature_extractor, backbone=backbone, head=head).to("cpu").eval()
    vocos.load_state_dict(torch.load(tmp_path / "Vocos.pt", weights_only=True, mmap=True))
    mel = torch.randn(1, 20, 30)
    assert torch.equal(vocos.decode(mel), want.decode(mel))
    assert isinstance(vocos.backbone, Backbone)
    assert isinstance(vocos.head, FourierHead)
    assert isinstance(vocos.feature_extractor, FeatureExtractor)


# A speech model whose vocoder is written into its code, without paddings (MiniCPM-o)


def test_parts_written_in_code_take_the_defaults() -> None:
    features = {**CONFIG["feature_extractor"], "init_args": {k: v for k, v in MEL.items() if k != "padding"}}
    head = {**CONFIG["head"], "init_args": {k: v for k, v in HEAD.items() if k != "padding"}}
    vocos = Vocos(
        instantiate_class(args=(), init=features),
        instantiate_class(args=(), init=CONFIG["backbone"]),
        instantiate_class(args=(), init=head),
    )
    vocos = vocos.to("cpu").eval().to(torch.float32)
    assert vocos.feature_extractor.padding == "center"
    assert vocos.head.istft.padding == "same"
    assert vocos.decode(torch.randn(1, 20, 30)).shape == (1, 30 * 64)


def test_arguments_may_be_positional() -> None:
    head = instantiate_class((16, 256), {"class_path": "vocos.heads.ISTFTHead", "init_args": {"hop_length": 64}})
    assert (head.istft.n_fft, head.istft.hop_length, head.istft.win_length) == (256, 64, 256)
    assert instantiate_class(16, {"class_path": "ISTFTHead", "init_args": {"n_fft": 64, "hop_length": 16}})


BAD: list[tuple[Any, str]] = [
    ({"class_path": "os.system", "init_args": {"command": "true"}}, "instantiate_class is a 'system', expected one of"),
    ({"class_path": "vocos.pretrained.Vocos"}, "is a 'Vocos', expected one of"),
    ({"init_args": {}}, "is a None, expected one of"),
    ({"class_path": "ISTFTHead", "init_args": [1]}, "init_args of ISTFTHead must be a mapping"),
    ({"class_path": "ISTFTHead", "init_args": {"dim": 8}}, "ISTFTHead: .* missing 2 required positional arguments"),
    ({"class_path": "ISTFTHead", "init_args": {**HEAD, "n_fft": 10**9}}, "n_fft must be an integer from 1 to 32768"),
    ({"class_path": "ISTFTHead", "init_args": {**HEAD, "self": 1}}, "has no option 'self'"),
    ({"class_path": "VocosResNetBackbone", "init_args": {"num_blocks": 10**6}}, "num_blocks must be an integer"),
]


@pytest.mark.parametrize(("init", "message"), BAD)
def test_description_of_no_part_is_refused(init: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        instantiate_class((), init)


# A loader of local files that brings EnCodec's tensors itself (F5-TTS); the one with EnCodec is in test_pretrained.py


def test_local_files_make_a_vocoder(tmp_path: Path) -> None:
    want = built()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.save(want.state_dict(), tmp_path / "pytorch_model.bin")

    vocoder = Vocos.from_hparams(str(tmp_path / "config.yaml"))
    state_dict = torch.load(str(tmp_path / "pytorch_model.bin"), map_location="cpu", weights_only=True)
    if isinstance(vocoder.feature_extractor, EncodecFeatures):
        raise AssertionError
    vocoder.load_state_dict(state_dict)
    vocoder = vocoder.eval().to("cpu")
    audio = torch.rand(1, 3000) - 0.5
    assert torch.equal(vocoder(audio), want(audio))


OTHER_PARTS = [
    ("backbone", "models.VocosResNetBackbone", {"input_channels": 20, "dim": 16, "num_blocks": 2}),
    ("head", "heads.IMDCTSymExpHead", {"dim": 16, "mdct_frame_len": 128, "sample_rate": 24000, "clip_audio": True}),
    ("head", "heads.IMDCTCosHead", {"dim": 16, "mdct_frame_len": 128}),
]


@pytest.mark.parametrize(("part", "path", "options"), OTHER_PARTS)
def test_other_parts_of_a_config(part: str, path: str, options: dict[str, Any], tmp_path: Path) -> None:
    config = {**CONFIG, part: {"class_path": f"vocos.{path}", "init_args": options}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    made = Vocos.from_hparams(tmp_path / "config.yaml")
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    mel = torch.randn(1, 20, 30)
    assert torch.equal(Vocos.from_pretrained(tmp_path).decode(mel), made.decode(mel))


# Feature extractors of one's own


def shifted(**options: Any) -> nn.Module:
    """Another mel spectrogram, as `torchaudio.transforms.MelSpectrogram(...)` would make it."""
    scale = MelSpectrogramFeatures(**MEL, f_min=100.0, f_max=8000.0, norm="slaney", **options).mel_spec
    assert isinstance(scale, MelSpectrogram)
    return scale


class After(MelSpectrogramFeatures):
    """Sets its spectrogram after the parent set another."""

    def __init__(self) -> None:
        super().__init__(**MEL)
        self.mel_spec = shifted()


class Instead(MelSpectrogramFeatures):
    """Sets its spectrogram, and the parent none."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.padding = "center"
        self.mel_spec = shifted()


class Own(FeatureExtractor):
    """Has a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.mel_spec = shifted()

    def forward(self, audio: Tensor, **kwargs: Any) -> Tensor:
        return safe_log(self.mel_spec(audio))


def patched() -> MelSpectrogramFeatures:
    features = MelSpectrogramFeatures(**MEL)
    features.mel_spec = shifted()
    return features


@pytest.mark.parametrize("make", [After, Instead, Own, patched])
def test_spectrogram_of_ones_own_is_used_saved_and_loaded(make: Any) -> None:
    model, audio = built(), torch.rand(2, 3000) - 0.5
    want = safe_log(shifted()(audio))
    model.feature_extractor = make()
    torch.testing.assert_close(model.feature_extractor(audio), want)
    torch.testing.assert_close(model(audio), model.decode(want))
    state = model.state_dict()
    assert torch.equal(state["feature_extractor.mel_spec.mel_scale.fb"], shifted().mel_scale.fb)
    again = built()
    again.load_state_dict(state)  # whose filters were others
    torch.testing.assert_close(again.feature_extractor(audio), want)


def test_class_that_a_program_replaces_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(MelSpectrogramFeatures):
        def __init__(self, **options):  # type: ignore[no-untyped-def]
            super().__init__(**options)
            self.mel_spec = shifted()

    audio, want = torch.rand(1, 3000) - 0.5, built()
    want.feature_extractor = After()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.save(want.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setattr("vocos.feature_extractors.MelSpectrogramFeatures", Mine)
    model = Vocos.from_pretrained(tmp_path)
    assert isinstance(model.feature_extractor, Mine)
    torch.testing.assert_close(model(audio), want(audio))


def test_initialiser_that_a_program_replaces_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = shifted()

    def patched(self, sample_rate, n_fft, hop_length, n_mels, padding="center"):  # type: ignore[no-untyped-def]
        nn.Module.__init__(self)
        self.padding, self.mel_spec = padding, other

    monkeypatch.setattr(MelSpectrogramFeatures, "__init__", patched)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    audio = torch.rand(1, 3000) - 0.5
    model = Vocos.from_hparams(tmp_path / "config.yaml")
    torch.testing.assert_close(model.feature_extractor(audio), safe_log(other(audio)))


def test_spectrogram_without_constants_is_what_it_is() -> None:
    class Plain(nn.Module):
        hop_length, win_length = 64, 256

        def forward(self, audio: Tensor) -> Tensor:
            return audio.unfold(-1, self.win_length, self.hop_length)[..., :20].abs().mT

    for padding, frames in (("center", 43), ("same", 46)):
        features = MelSpectrogramFeatures(**{**MEL, "padding": padding})
        features.mel_spec = Plain()
        assert features(torch.rand(1, 3000)).shape == (1, 20, frames)
        assert features.state_dict() == {}


def test_spectrum_of_ones_own_is_called() -> None:
    features, audio = MelSpectrogramFeatures(**MEL), torch.rand(1, 3000) - 0.5
    before = features(audio)
    features.mel_spec.spectrogram = Spectrogram(256, 64, center=True, power=2)
    assert not torch.allclose(features(audio), before)


def test_shape_of_audio_is_that_of_features() -> None:
    features = MelSpectrogramFeatures(**MEL)
    audio = torch.rand(2, 1, 3000) - 0.5
    want = features(audio[:, 0])
    assert torch.equal(features(audio), want[:, None])
    torch.testing.assert_close(features(audio[0, 0]), want[0])
    assert features(audio, bandwidth_id=torch.tensor([0])).shape == (2, 1, 20, 47)
    with pytest.raises(InvalidInput, match=r"expected features \[batch, 20, frames\], got \[2, 1, 20, 47\]"):
        built()(audio)


# Heads of one's own


class Exported(nn.Module):
    """An inverse transform out of plain operations, as programs set it that export the network."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self.like, self.seen = like, []

    def forward(self, spectrum: Tensor) -> Tensor:
        self.seen.append(tuple(spectrum.shape))
        return self.like(torch.complex(spectrum.real, spectrum.imag))


def test_transform_of_ones_own_is_called_with_bins_first() -> None:
    model, mel = built(), torch.randn(2, 20, 30)
    want = model.decode(mel)
    model.head.istft = Exported(model.head.istft)
    torch.testing.assert_close(model.decode(mel), want)
    assert model.head.istft.seen == [(2, 129, 30)]


class Louder(ISTFTHead):
    def forward(self, x: Tensor) -> Tensor:
        magnitude, phase = self.out(x).transpose(1, 2).chunk(2, dim=1)
        return 2 * self.istft(torch.exp(magnitude).clip(max=1e2) * torch.exp(1j * phase))


def test_head_that_computes_its_spectrum() -> None:
    model, mel = built(), torch.randn(2, 20, 30)
    want, head = model.decode(mel), Louder(**HEAD)
    head.load_state_dict(model.head.state_dict())
    model.head = head
    torch.testing.assert_close(model.decode(mel), 2 * want, atol=2e-5, rtol=1e-4)


def test_backbone_in_its_steps() -> None:
    torch.manual_seed(0)
    backbone, mel = VocosBackbone(**SIZES), torch.randn(2, 20, 30)
    x = backbone.embed(mel)
    x = backbone.norm(x.transpose(1, 2)).transpose(1, 2)
    for block in backbone.convnext:
        x = block(x, cond_embedding_id=None)
    torch.testing.assert_close(backbone.final_layer_norm(x.transpose(1, 2)), backbone(mel))


def test_codebooks_may_be_trained() -> None:
    features = EncodecFeatures(train_codebooks=True, bandwidths=[1.5, 3.0])
    assert (features.num_q, features.codebook_weights.shape) == (4, (4096, 128))
    features.codes_to_features(torch.zeros(4, 5).long()).sum().backward()
    assert features.codebook_weights.grad.any()
    assert not EncodecFeatures().codebook_weights.requires_grad
    with pytest.raises(NotImplementedError, match="encodec_model 'encodec_48khz', expected encodec_24khz"):
        EncodecFeatures("encodec_48khz")
