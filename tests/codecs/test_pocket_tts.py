"""Pocket TTS' tokenizer: its two activations, the older model, and the file of the whole model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import golden
from safetensors.torch import load_file, save_file

from vocos import CheckpointError, UnsupportedOperation, get_voco


def rewritten(folder: Path, place: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), place / "model.safetensors")
    (place / "config.json").write_text((folder / "config.json").read_text())
    return place


def test_activation_is_that_of_the_layout() -> None:
    """The original code computes GELU by the error function, the config of transformers asks for a tanh."""
    voco = get_voco("pocket_tts")
    tanh, erf = (voco.parse(golden(f"pocket_tts-{kind}small")[0]["config"]) for kind in ("", "original-"))
    assert (tanh.transformer.activation, erf.transformer.activation) == ("gelu_tanh", "gelu")


def test_tensors_of_the_language_model_are_left_alone(folder: Callable[[str], Path], tmp_path: Path) -> None:
    given = folder("original-pocket_tts")
    whole = rewritten(given, tmp_path, lambda tensors: tensors | {"flow_lm.emb_mean": torch.zeros(32)})
    audio = torch.rand(1, 4000, 1) - 0.5
    first, second = (get_voco("pocket_tts", weights=place) for place in (given, whole))
    assert torch.equal(first.encode(audio), second.encode(audio))


def test_older_model_is_refused(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Its encoder gives the language model what its decoder does not take."""

    def older(tensors: dict[str, Any]) -> dict[str, Any]:
        return tensors | {"mimi.downsample.conv.conv.weight": torch.zeros(32, 32, 32)}

    place = rewritten(folder("original-pocket_tts"), tmp_path, older)
    with pytest.raises(CheckpointError, match=r"downsample.conv.conv.weight \[32, 32, 32\] instead of \[8, 32, 32\]"):
        get_voco("pocket_tts", weights=place).load()


def test_there_are_no_codes() -> None:
    with pytest.raises(UnsupportedOperation, match="pocket_tts has no codes"):
        get_voco("pocket_tts").encode_codes(torch.zeros(1, 1920, 1))


def test_config_for_the_whole_model_is_read() -> None:
    mimi = golden("pocket_tts-original-small")[0]["config"]
    voco = get_voco("pocket_tts")
    assert voco.parse(json.loads(json.dumps({"flow_lm": {}, "mimi": mimi}))) == voco.parse(mimi)
    with pytest.raises(CheckpointError, match="frame_rate"):
        voco.parse(mimi | {"frame_rate": 25})
