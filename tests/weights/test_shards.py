"""What `save_pretrained` writes, by the packages themselves: variants, pickles, shards with an index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback_hub import LoopbackHub
from safetensors.torch import load_file, save_file

from vocos import CheckpointError, WeightsUnavailable, get_voco
from vocos.weights.shards import other_names


def split(folder: Path, name: str, variant: str = "", ending: str = ".safetensors") -> Path:
    """Cut the weights in a folder in two shards beside an index, as the packages lay them out."""
    path = folder / name
    tensors = load_file(path)
    path.unlink()
    halves = sorted(tensors)[::2], sorted(tensors)[1::2]
    places = {}
    for i, names in enumerate(halves):
        part = f"{path.stem}{variant and '.'}{variant}-{i + 1:05}-of-00002{ending}"
        places |= dict.fromkeys(names, part)
        held = {tensor: tensors[tensor] for tensor in names}
        if ending == ".bin":
            torch.save(held, folder / part)
        else:
            save_file(held, folder / part)
    index = folder / f"{path.stem}{ending}.index{variant and '.'}{variant}.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.fixture
def whole(folder: Any, tmp_path: Path) -> Path:
    """EnCodec as transformers lays it out, to be changed."""
    return Path(shutil.copytree(folder("transformers-encodec_24khz"), tmp_path / "whole"))


def same(folder: Path, expected: dict[str, torch.Tensor], name: str = "encodec_24khz") -> None:
    state = get_voco(name, weights=folder).load().state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
@pytest.mark.parametrize("variant", ["", "fp16", "bf16"])
def test_shards_are_one_file(variant: str, ending: str, whole: Path) -> None:
    expected = get_voco("encodec_24khz", weights=whole).state_dict()
    index = split(whole, "model.safetensors", variant, ending)
    if ending == ".bin":
        shutil.move(index, whole / index.name.replace("model", "pytorch_model", 1))
    same(whole, expected)


def test_index_itself_is_a_file_of_weights(whole: Path) -> None:
    expected = get_voco("encodec_24khz", weights=whole).state_dict()
    same(split(whole, "model.safetensors"), expected)


def test_half_reads_the_same_from_shards(whole: Path) -> None:
    expected = get_voco("encodec_24khz", weights=whole, part="decoder").state_dict()
    split(whole, "model.safetensors")
    state = get_voco("encodec_24khz", weights=whole, part="decoder").state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "model.bf16.safetensors", "pytorch_model.bin"])
def test_other_names_of_one_file(name: str, whole: Path) -> None:
    expected = get_voco("encodec_24khz", weights=whole).state_dict()
    if name.endswith(".bin"):
        torch.save(load_file(whole / "model.safetensors"), whole / name)
        (whole / "model.safetensors").unlink()
    else:
        (whole / "model.safetensors").rename(whole / name)
    same(whole, expected)


def test_plain_name_comes_before_a_variant(whole: Path) -> None:
    expected = get_voco("encodec_24khz", weights=whole).state_dict()
    (whole / "model.fp16.safetensors").write_bytes(b"not this one")
    same(whole, expected)


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "a/b.bin", "a\\b.bin", "..", "", 3, "x.json"])
def test_index_that_names_files_elsewhere_is_refused(name: Any, whole: Path) -> None:
    index = split(whole, "model.safetensors")
    index.write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(CheckpointError, match="is not the name of a file beside it|is not a file of tensors"):
        get_voco("encodec_24khz", weights=whole).load()


@pytest.mark.parametrize("text", ["{}", '{"weight_map": {}}', '{"weight_map": [1]}', "[", "[]"])
def test_index_that_is_none_is_refused(text: str, whole: Path) -> None:
    index = split(whole, "model.safetensors")
    index.write_text(text)
    with pytest.raises(CheckpointError, match="no weight_map|not a readable config|expected a mapping") as caught:
        get_voco("encodec_24khz", weights=whole).load()
    assert str(index) in str(caught.value)


def test_shard_that_is_missing_is_named(whole: Path) -> None:
    index = split(whole, "model.safetensors")
    (whole / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match=r"has no model-00002-of-00002.safetensors.*; it holds config.json, "):
        get_voco("encodec_24khz", weights=whole).load()
    with pytest.raises(CheckpointError, match="there is no model-00002-of-00002.safetensors beside it"):
        get_voco("encodec_24khz", weights=index).load()


def test_tensors_and_index_must_agree(whole: Path) -> None:
    index = split(whole, "model.safetensors")
    places = json.loads(index.read_text())["weight_map"]
    first = sorted(places)[0]
    index.write_text(json.dumps({"weight_map": {**places, "other": places[first]}}))
    with pytest.raises(CheckpointError, match="other is not in model-00001"):
        get_voco("encodec_24khz", weights=whole).load()
    index.write_text(json.dumps({"weight_map": {k: v for k, v in places.items() if k != first}}))
    with pytest.raises(CheckpointError, match=f"does not list {first}"):
        get_voco("encodec_24khz", weights=whole).load()


def test_folder_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="has none of .*; it is empty"):
        get_voco("dac", weights=tmp_path).load()
    for name in ("mine.ckpt", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "logs").mkdir()
    with pytest.raises(WeightsUnavailable, match="has none of .*; it holds logs/, mine.ckpt, notes.txt"):
        get_voco("dac", weights=tmp_path).load()


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options", [{"variant": "fp16"}, {"max_shard_size": "2KB"}, {"variant": "fp16", "max_shard_size": "2KB"}]
)
def test_what_transformers_writes(options: dict[str, Any], whole: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    expected = get_voco("encodec_24khz", weights=whole).state_dict()
    transformers.EncodecModel.from_pretrained(whole).save_pretrained(tmp_path / "theirs", **options)
    assert not (tmp_path / "theirs" / "model.safetensors").exists()
    same(tmp_path / "theirs", expected)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [
        {"variant": "fp16"},
        {"safe_serialization": False},
        {"max_shard_size": "20KB"},
        {"variant": "fp16", "max_shard_size": "20KB"},
        {"safe_serialization": False, "variant": "fp16", "max_shard_size": "20KB"},
    ],
)
def test_what_diffusers_writes(options: dict[str, Any], tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 8, "decoder_channels": 8, "decoder_input_channels": 4, "audio_channels": 2}
    sizes |= {"downsampling_ratios": [2, 4], "channel_multiples": [1, 2]}
    theirs = diffusers.AutoencoderOobleck(**sizes).eval()
    theirs.save_pretrained(tmp_path, **options)
    assert not (tmp_path / "diffusion_pytorch_model.safetensors").exists()
    latents = torch.randn(1, 5, 4)
    sound = get_voco("oobleck", weights=tmp_path).decode(latents)
    torch.testing.assert_close(sound, theirs.decode(latents.mT).sample.mT, atol=1e-5, rtol=1e-4)


def test_names_of_other_programs_have_no_others() -> None:
    assert other_names(["mel.safetensors", "weights.pth"]) == []
    assert other_names(["vae/diffusion_pytorch_model.safetensors"])[1] == "vae/diffusion_pytorch_model.fp16.safetensors"


@pytest.mark.parametrize("variant", ["", "fp16"])
@pytest.mark.parametrize("subfolder", [None, "vae"])
def test_shards_of_a_repository_are_all_fetched(
    subfolder: str | None, variant: str, whole: Path, tmp_path: Path
) -> None:
    expected = get_voco("encodec_24khz", weights=whole).decode(torch.ones(1, 3, 16))
    split(whole, "model.safetensors", variant)
    shutil.copytree(whole, tmp_path / "root" / "org" / "mine" / (subfolder or ""), dirs_exist_ok=True)
    program = f"""
import torch
from vocos import get_voco
voco = get_voco("encodec_24khz", weights="org/mine", subfolder={subfolder!r})
print(voco.decode(torch.ones(1, 3, 16)).sum().item())
"""
    with LoopbackHub(tmp_path / "root") as hub:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "VOCOS_"))}
        environment = {**inherited, **hub.environment(tmp_path / "cache"), "PYTHONWARNINGS": "ignore"}
        call = [sys.executable, "-c", program]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        fetched = [request.file for request in hub.matching() if request.method == "GET"]
    assert float(done.stdout) == pytest.approx(float(expected.sum()), rel=1e-4)
    assert len(fetched) == 4  # the config, the index and both shards
