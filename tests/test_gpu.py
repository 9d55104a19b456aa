"""Every codec on a GPU against itself on the CPU; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import OTHERS

from vocos import Voco, Vocos

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-3), (torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_both_directions_agree_with_the_cpu(small: Voco[Any], dtype: torch.dtype, error: float) -> None:
    options: dict[str, Any] = {"sample": False} if small.name == "oobleck" else {}
    audio = torch.rand(2, 3001, small.channel) - 0.5
    latents = small.encode(audio, **options)
    sound = small.decode(latents)
    small.to("cuda", dtype)
    given = small.encode(audio.cuda(), **options)
    assert (given.device.type, given.dtype) == ("cuda", dtype)
    if small.name != "mel":  # whose quietest bands are rounding
        assert (given.cpu().float() - latents).abs().max() < error * max(1.0, float(latents.abs().max()))
    heard = small.decode(latents.cuda())
    assert (heard.cpu().float() - sound).abs().max() < error * max(1.0, float(sound.abs().max()))


def test_vocos_of_pypi_agrees_with_the_cpu(tmp_path: Path) -> None:
    item = OTHERS["charactr-encodec"]
    item.write(tmp_path)
    vocos, audio = Vocos.from_pretrained(tmp_path, encodec_weights=tmp_path / "encodec"), torch.rand(2, 3001) - 0.5
    sound = vocos(audio, bandwidth_id=torch.tensor([2]))
    late = Vocos.from_pretrained(tmp_path, encodec_weights=tmp_path / "encodec").to("cuda")  # EnCodec is not there yet
    for given in (late, vocos.to("cuda")):
        heard = given(audio.cuda(), bandwidth_id=torch.tensor([2]).cuda())
        assert (heard.cpu() - sound).abs().max() < 1e-3 * max(1.0, float(sound.abs().max()))
