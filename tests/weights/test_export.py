"""Weights written in a public layout hold exactly what they held before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CAUSALS, ENCODECS, OTHERS, SNACS, STAND_INS, WAVTOKENIZERS, StandIn
from safetensors import safe_open
from torch import Tensor

from vocos import InvalidInput, Voco, cli, get_voco

ITEMS = STAND_INS | OTHERS | ENCODECS | CAUSALS | SNACS | WAVTOKENIZERS
TARGETS = {
    "mel": ["charactr", "optimizerai", "transformers"],
    "encodec": ["charactr", "transformers"],
    "dac": ["descript", "optimizerai", "transformers"],
    "encodec_24khz": ["transformers"],
    "encodec_32khz": ["transformers"],
    "encodec_48khz": ["transformers"],
    "dacvae": ["optimizerai", "facebook"],
    "mimi": ["transformers", "moshi"],
    "pocket_tts": ["transformers"],
    "qwen3_tts": [],
    "snac_24khz": ["snac"],
    "wavtokenizer": ["transformers"],
    "wavtokenizer_large_speech_75token_v2": ["transformers"],
    "snac_32khz": ["snac"],
    "oobleck": ["diffusers", "stable-audio-tools"],
}
CASES = [(key, target) for key, item in ITEMS.items() for target in ["vocos", *TARGETS[item.name]]]


def read(item: StandIn, folder: Path, companion: Path | None = None) -> Voco[Any]:
    options = {"encodec_weights": companion} if companion else {}
    return get_voco(item.name, weights=folder, **options)


def equal(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return given.keys() == wanted.keys() and all(torch.equal(given[name], wanted[name]) for name in wanted)


def test_every_target_is_tested() -> None:
    for name, targets in TARGETS.items():
        assert [target.name for target in type(get_voco(name)).targets] == targets


@pytest.mark.parametrize(("key", "target"), CASES, ids=["-to-".join(case) for case in CASES])
def test_round_trip_is_exact(key: str, target: str, tmp_path: Path) -> None:
    """From each public layout to each other, and back: the same bits of every weight, the same facts."""
    item = ITEMS[key]
    (tmp_path / "from").mkdir()
    item.write(tmp_path / "from")
    companion = tmp_path / "from" / "encodec" if item.companion else None
    voco = read(item, tmp_path / "from", companion)
    wanted = {name: tensor.clone() for name, tensor in voco.state_dict().items()}
    theirs = ("vocos", "facebook" if key == "facebook-dacvae" else "optimizerai")
    if target == "moshi" or (item.name == "dacvae" and target not in theirs):
        with pytest.raises(InvalidInput, match="cannot hold these weights: (they are|its file has)"):
            voco.export(tmp_path / "to", target)
        assert not (tmp_path / "to").exists()
        return
    paths = voco.export(tmp_path / "to", target)
    assert sorted(path for path in (tmp_path / "to").rglob("*") if path.is_file()) == sorted(paths)
    if item.name == "encodec" and target != "vocos":  # these hold the vocoder alone
        companion = companion or tmp_path / "from" / item.weights
    again = read(item, tmp_path / "to", companion)
    assert equal(again.state_dict(), wanted)
    for fact in ("sampling_rate", "channel", "latent_dim", "hop_length", "n_codebooks", "minimum_samples"):
        assert getattr(again, fact) == getattr(voco, fact)
    again.export(tmp_path / "own", "vocos")
    assert equal(read(item, tmp_path / "own").state_dict(), wanted)


def test_row_of_zeros_has_a_weight_norm_too(weights: Path, tmp_path: Path) -> None:
    voco = get_voco("oobleck", weights=weights)
    with torch.no_grad():
        voco.network.encoder.conv_in.weight[1] = 0
    voco.export(tmp_path, "diffusers")
    assert equal(get_voco("oobleck", weights=tmp_path).state_dict(), voco.state_dict())


def test_unknown_target_names_those_there_are(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="oobleck: no layout 'onnx'; there are vocos, diffusers, stable-audio-tools"):
        get_voco("oobleck", weights=weights).export(tmp_path / "to", "onnx")
    assert not (tmp_path / "to").exists()


def test_origin_goes_along(weights: Path, tmp_path: Path) -> None:
    voco = get_voco("oobleck", weights=weights)
    voco.weights.license = "mit"
    voco.save(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    config = json.loads((tmp_path / "config.json").read_text())
    for place in (metadata, config):
        assert (place["license"], place["source"], place["voco"]) == ("mit", str(weights), "oobleck")
    assert get_voco("oobleck", weights=tmp_path).license == "mit"


def test_known_repositories_have_their_licences() -> None:
    assert get_voco("dac", weights="descript/dac_44khz").license == "mit"
    gated = get_voco("oobleck", weights="stabilityai/stable-audio-open-1.0", subfolder="vae")
    assert gated.license == "stabilityai-ai-community"
    assert gated.restrictions == [
        "gated: accept the licence at https://huggingface.co/stabilityai/stable-audio-open-1.0"
    ]
    assert get_voco("mel", weights="somebody/else").license is None


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("vae/config.json", "vae/diffusion_pytorch_model.safetensors"), "oobleck"),
        (("config.json", "diffusion_pytorch_model.safetensors"), "oobleck"),
        (("model_config.json", "model.ckpt"), "stable-audio-oobleck"),
        ((None, "weights_24khz.pth"), "descript-dac"),
    ],
)
def test_public_file_names_are_found(names: tuple[str | None, str], key: str, tmp_path: Path) -> None:
    item = ITEMS[key]
    item.write(tmp_path)
    for old, new in zip((item.config, item.weights), names, strict=True):
        if old and new:
            (tmp_path / new).parent.mkdir(exist_ok=True)
            (tmp_path / old).rename(tmp_path / new)
    if names[1].endswith(".ckpt"):
        from safetensors.torch import load_file

        tensors = {name: tensor.clone() for name, tensor in load_file(tmp_path / names[1]).items()}
        torch.save({"state_dict": tensors}, tmp_path / names[1])
    voco = get_voco(item.name, weights=tmp_path)
    assert voco.load().sampling_rate == 16000


def test_larger_checkpoint_is_read_for_its_codec_alone(tmp_path: Path) -> None:
    """What is not under the prefix is neither checked nor read."""
    from safetensors.torch import load_file, save_file

    item = OTHERS["stable-audio-oobleck"]
    item.write(tmp_path)
    tensors = {name: tensor.clone() for name, tensor in load_file(tmp_path / item.weights).items()}
    expected = get_voco("oobleck", weights=tmp_path).decode(torch.ones(1, 3, 8))
    save_file({**tensors, "model.model.huge": torch.zeros(4, dtype=torch.int64)}, tmp_path / item.weights)
    assert torch.equal(get_voco("oobleck", weights=tmp_path).decode(torch.ones(1, 3, 8)), expected)


class TestCommands:
    """convert and fetch."""

    def test_convert_finds_the_codec_by_trying(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for key, item in OTHERS.items():
            if item.companion:
                continue
            source = tmp_path / key
            source.mkdir()
            item.write(source)
            assert cli.main(["convert", str(source), "-o", str(tmp_path / f"{key}-out")]) == 0
            out = capsys.readouterr().out.splitlines()
            assert out == [str(tmp_path / f"{key}-out" / name) for name in ("config.json", "model.safetensors")]
            assert json.loads((tmp_path / f"{key}-out" / "config.json").read_text())["voco"] == item.name

    def test_convert_asks_when_there_are_several(
        self, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["convert", str(weights), "-o", str(tmp_path / "out")]) == 1
        assert "holds weights of dac, dacvae, encodec, mel, oobleck; choose with --voco" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        assert (
            cli.main(["convert", str(weights), "-o", str(tmp_path / "out"), "--voco", "dac", "--to", "descript"]) == 0
        )
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["weights.pth"]

    def test_convert_says_what_nobody_can_read(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "x.safetensors").write_bytes(b"nothing")
        assert cli.main(["convert", str(tmp_path / "x.safetensors"), "-o", str(tmp_path / "out")]) == 1
        err = capsys.readouterr().err
        assert "no codec can read this" in err
        assert len(err.splitlines()) == 1

    def test_fetch_prints_the_paths(
        self, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VOCOS_REPO", str(weights))
        assert cli.main(["fetch", "mel", "griffinlim"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            str(weights / "mel.json"),
            str(weights / "mel.safetensors"),
            "griffinlim: no weights needed",
        ]
