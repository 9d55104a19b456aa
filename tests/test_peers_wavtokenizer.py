"""WavTokenizer and Higgs Audio v2 against transformers itself, at small random sizes."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vocos import Voco, get_voco
from vocos.nn.resample import resampled

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
SMALL = {
    "num_filters": 4,
    "upsampling_ratios": [4, 2],
    "hidden_size": 16,
    "codebook_dim": 16,
    "codebook_size": 64,
    "decoder_hidden_size": 32,
    "decoder_intermediate_size": 48,
    "decoder_num_layers": 2,
    "decoder_attention_num_groups": 8,
}
HOP = 8


def noise(samples: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, samples, 1, generator=torch.Generator().manual_seed(samples)) - 0.5


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Voco[Any]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.WavTokenizerModel(transformers.WavTokenizerConfig(**SMALL))
    for name, tensor in theirs.state_dict().items():
        if name.endswith(("embed", "scale.weight", "shift.weight")) or "gamma" in name:
            tensor.copy_(torch.randn(tensor.shape))
        elif name.endswith("inited"):
            tensor.fill_(1)
    folder = tmp_path_factory.mktemp("wavtokenizer")
    theirs.eval().requires_grad_(False).save_pretrained(folder)
    return theirs, get_voco("wavtokenizer", weights=folder)


@pytest.mark.parametrize("samples", [1, 5, HOP, HOP + 1, 2 * HOP, 3 * HOP, 20 * HOP + 3])
def test_wavtokenizer_is_that_of_transformers(samples: int, pair: tuple[Any, Voco[Any]]) -> None:
    theirs, ours = pair
    audio = noise(samples, 2)
    codes = theirs.encode(audio.mT).audio_codes
    found = ours.encode_codes(audio)
    assert torch.equal(found, codes.mT)
    sound = theirs.decode(codes).audio_values
    torch.testing.assert_close(ours.decode_codes(found), sound.mT, atol=1e-5, rtol=1e-4)


def test_transformers_reads_what_is_exported(pair: tuple[Any, Voco[Any]], tmp_path: Path) -> None:
    import transformers

    _, ours = pair
    ours.export(tmp_path, "transformers")
    again, info = transformers.WavTokenizerModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not [name for name in info["missing_keys"] if not name.endswith(("inited", "cluster_size", "embed_avg"))]
    assert not info["unexpected_keys"]
    audio = noise(100)
    codes = ours.encode_codes(audio)
    assert torch.equal(again.eval().encode(audio.mT).audio_codes.mT, codes)
    sound = again.decode(codes.mT).audio_values
    torch.testing.assert_close(ours.decode_codes(codes), sound.mT, atol=1e-5, rtol=1e-4)


# Higgs Audio v2

SEMANTIC = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
}
ACOUSTIC = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": [8, 5, 4, 2, 3],
    "upsampling_ratios": [8, 5, 4, 2, 3],
    "decoder_hidden_size": 32,
    "hidden_size": 16,
}


@pytest.fixture
def higgs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the port, with our resampler in the place of torchaudio's, which has no build for every torch.

    That it is the same is for the goldens to show.
    """
    stub: Any = types.ModuleType("torchaudio")
    stub.functional = types.SimpleNamespace(resample=resampled)
    stub.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio", stub)
    return importlib.import_module("transformers.models.higgs_audio_v2_tokenizer.modeling_higgs_audio_v2_tokenizer")


def test_higgs_audio_is_that_of_transformers(tmp_path: Path, higgs: Any) -> None:
    """Where the audio fills its frames; else the port loses samples, or moves the frames of one encoder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.HiggsAudioV2TokenizerConfig(
        acoustic_model_config=transformers.DacConfig(**ACOUSTIC),
        semantic_model_config=transformers.HubertConfig(**SEMANTIC),
        target_bandwidths=[0.5, 1, 1.5, 2],
        codebook_size=1024,
        codebook_dim=12,
    )
    theirs: nn.Module = higgs.HiggsAudioV2TokenizerModel(config).eval().requires_grad_(False)
    for name, tensor in theirs.state_dict().items():
        if name.endswith("codebook.embed"):
            tensor.copy_(0.3 * torch.randn(tensor.shape))
    theirs.save_pretrained(tmp_path)  # type: ignore[operator]
    ours = get_voco("higgs_audio_v2", weights=tmp_path)
    for hops in (1, 2, 3):
        audio = noise(960 * hops)
        codes = theirs.encode(audio.mT).audio_codes  # type: ignore[operator]
        assert torch.equal(ours.encode_codes(audio), codes.mT)
        sound = theirs.decode(codes).audio_values  # type: ignore[operator]
        torch.testing.assert_close(ours.decode_codes(codes.mT), sound.mT, atol=1e-5, rtol=1e-4)
