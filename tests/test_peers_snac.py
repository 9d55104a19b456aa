"""SNAC against PyPI's package snac itself, at small random sizes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vocos import Voco, arrange_codes, get_voco

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
SPEECH = {
    "sampling_rate": 24000,
    "encoder_dim": 6,
    "encoder_rates": [2, 4],
    "latent_dim": None,
    "decoder_dim": 24,
    "decoder_rates": [4, 2],
    "attn_window_size": None,
    "codebook_size": 32,
    "codebook_dim": 4,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "speech": SPEECH,
    "music": SPEECH
    | {"attn_window_size": 8, "encoder_dim": 16, "decoder_dim": 64, "vq_strides": [8, 4, 2, 1], "sampling_rate": 32000},
    "odd strides": SPEECH | {"encoder_rates": [2, 3], "decoder_rates": [3, 2]},
    "no depthwise layers": SPEECH | {"depthwise": False},
    "no noise": SPEECH | {"noise": False},
}


def pair(folder: Path, **config: Any) -> tuple[Any, Voco[Any]]:
    if importlib.util.find_spec("snac") is None:
        pytest.skip("snac is not installed")
    from snac import SNAC

    torch.manual_seed(0)
    theirs = SNAC(**config)
    for name, tensor in theirs.state_dict().items():
        if name.endswith("alpha"):
            tensor.copy_(0.5 + torch.rand(tensor.shape))
        elif name.endswith("bias"):
            tensor.copy_(0.1 * torch.randn(tensor.shape))
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(theirs.state_dict(), folder / "pytorch_model.bin")
    return theirs.eval().requires_grad_(False), get_voco("snac_24khz", weights=folder)


def noise(samples: int) -> Tensor:
    return torch.rand(2, samples, 1, generator=torch.Generator().manual_seed(samples)) - 0.5


@pytest.mark.parametrize("key", CONFIGS)
def test_snac_is_that_of_the_package(key: str, tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, **CONFIGS[key])
    hop = ours.hop_length
    for samples in (1, hop, 2 * hop + 1, 3 * hop, 20 * hop + 5):
        audio = noise(samples)
        codes = theirs.encode(audio.mT)
        found = ours.encode_codes(audio)
        assert torch.equal(found, arrange_codes(codes, "snac"))
        torch.manual_seed(5)
        sound = theirs.decode(codes).mT
        again = ours.decode_codes(found, generator=torch.Generator().manual_seed(5))
        torch.testing.assert_close(again, sound, atol=1e-5, rtol=1e-4)


def test_package_reads_what_is_exported(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, **SPEECH)
    (tmp_path / "to").mkdir()
    ours.export(tmp_path / "to", "snac")
    again = type(theirs)(**json.loads((tmp_path / "to" / "config.json").read_text()))
    again.load_state_dict(torch.load(tmp_path / "to" / "pytorch_model.bin", weights_only=True))
    audio = noise(300)
    for first, second in zip(again.eval().encode(audio.mT), theirs.encode(audio.mT), strict=True):
        assert torch.equal(first, second)
