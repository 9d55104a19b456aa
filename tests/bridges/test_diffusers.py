"""Codecs as the VAE of pipelines of diffusers, beside the autoencoder of diffusers with the same weights."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from accelerate import cpu_offload
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from diffusers import AutoencoderOobleck, StableAudioPipeline

from vocos import CheckpointError, InvalidInput, UnsupportedOperation, get_voco
from vocos.bridges.diffusers import vae
from vocos.testing.machine import bfloat16_trusted

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning"),  # of diffusers' own autoencoder
    pytest.mark.filterwarnings("ignore:.torch_dtype. is deprecated:FutureWarning"),
]
FLOAT32 = 2e-6  # of sound up to 0.83; measured: 4.2e-7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as diffusers writes them."""
    place = tmp_path_factory.mktemp("oobleck")
    tiny.oobleck(place)
    return place


@pytest.fixture
def original(folder: Path) -> AutoencoderOobleck:
    return AutoencoderOobleck.from_pretrained(folder)


@pytest.fixture
def bridge(folder: Path) -> Any:
    return vae(get_voco("oobleck", weights=folder))


def start(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Audio to begin from, as the pipeline takes it."""
    noise = torch.randn(1, 2, 8 * tiny.FRAMES, generator=torch.Generator().manual_seed(4))
    return {"initial_audio_waveforms": (noise / 10).to(dtype), "initial_audio_sampling_rate": 800}


def test_it_is_a_view_and_loads_nothing(folder: Path) -> None:
    voco = get_voco("oobleck", weights=folder)
    pipeline = tiny.pipeline(vae(voco))
    assert pipeline.vae.voco is voco and not voco.is_loaded
    loaded = {tensor.data_ptr() for tensor in voco.parameters()}
    assert loaded == {tensor.data_ptr() for tensor in pipeline.vae.parameters()}


def test_facts_are_where_pipelines_look_for_them(original: AutoencoderOobleck, bridge: Any) -> None:
    theirs = {name: value for name, value in original.config.items() if not name.startswith("_")}
    assert theirs.items() <= {**bridge.config}.items()
    assert (bridge.hop_length, bridge.sampling_rate) == (original.hop_length, original.sampling_rate) == (8, 800)
    assert (bridge.dtype, bridge.device) == (torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("options", [{}, start()], ids=["text to audio", "audio to audio"])
def test_a_pipeline_gives_the_sound_that_it_gives_with_the_original(
    original: AutoencoderOobleck, bridge: Any, options: dict[str, Any]
) -> None:
    expected, found = (tiny.sound(tiny.pipeline(one), **options) for one in (original, bridge))
    assert found.shape == (1, 2, 8 * tiny.FRAMES) and expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, atol=FLOAT32, rtol=0)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])  # 1e-3, 8e-3 measured
def test_a_pipeline_of_half_precision_gives_the_same(
    original: AutoencoderOobleck, bridge: Any, dtype: torch.dtype, bound: float
) -> None:
    expected, found = (tiny.sound(tiny.pipeline(one).to(dtype), **start(dtype)) for one in (original, bridge))
    assert found.dtype == expected.dtype == bridge.dtype == bridge.voco.dtype == dtype
    torch.testing.assert_close(found, expected, atol=bound, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_seed_draws_the_latents_of_the_original(
    original: AutoencoderOobleck, bridge: Any, dtype: torch.dtype
) -> None:
    audio = start(dtype)["initial_audio_waveforms"]
    drawn = []
    for model in (original.to(dtype), bridge.to(dtype)):
        posterior = model.encode(audio).latent_dist
        drawn.append((posterior.sample(torch.Generator().manual_seed(5)), posterior.mode(), posterior.std))
    for found, expected in zip(drawn[1], drawn[0], strict=True):
        with bfloat16_trusted(dtype):
            torch.testing.assert_close(found, expected, atol=FLOAT32 if dtype is torch.float32 else 3e-2, rtol=0)


def test_tuples_are_given_where_they_are_asked_for(bridge: Any) -> None:
    audio = start()["initial_audio_waveforms"]
    latents = bridge.encode(audio, return_dict=False)[0].mode()
    assert torch.equal(bridge.decode(latents, return_dict=False)[0], bridge.decode(latents).sample)
    assert torch.equal(bridge(audio).sample, bridge.decode(latents).sample)  # the forward of the type


@pytest.mark.parametrize("name", ["mel", "encodec", "dac", "dacvae", "oobleck"])
def test_every_codec_with_latents_serves(weights: Path, name: str) -> None:
    voco = get_voco(name, weights=weights)
    bridge = vae(voco)
    audio = torch.randn(1, voco.channel, 4 * voco.hop_length, generator=torch.Generator().manual_seed(6)) / 10
    posterior = bridge.encode(audio).latent_dist
    options = {"sample": False} if name in ("dacvae", "oobleck") else {}
    torch.testing.assert_close(posterior.mode().transpose(1, 2), voco.encode(audio.transpose(1, 2), **options))
    drawn = posterior.sample(torch.Generator().manual_seed(7))
    assert torch.equal(drawn, posterior.mode()) != (name in ("dacvae", "oobleck"))
    assert (posterior.std > 0).any() == (name in ("dacvae", "oobleck"))
    sound = bridge.decode(drawn).sample
    assert torch.equal(sound, voco.decode(drawn.transpose(1, 2)).transpose(1, 2))
    assert math.prod(bridge.config.downsampling_ratios) == voco.hop_length  # as ACE-Step's pipeline computes it


def test_a_mono_codec_with_certain_latents_runs_in_the_pipeline(weights: Path) -> None:
    voco = get_voco("dac", weights=weights)
    pipeline = tiny.pipeline(vae(voco), voco.latent_dim)
    assert tiny.sound(pipeline).shape == (1, 1, voco.decode_length(tiny.FRAMES))


# Offloading


def test_weights_that_accelerate_keeps_elsewhere_are_there_for_each_call(bridge: Any) -> None:
    pipeline = tiny.pipeline(bridge)
    expected = tiny.sound(pipeline, **start())
    cpu_offload(pipeline.vae, torch.device("cpu"))  # as `enable_sequential_cpu_offload` does to each component
    assert {tensor.device.type for tensor in bridge.parameters()} == {"meta"}
    for _ in range(2):
        torch.testing.assert_close(tiny.sound(pipeline, **start()), expected, atol=FLOAT32, rtol=0)
        assert {tensor.device.type for tensor in bridge.parameters()} == {"meta"}
    remove_hook_from_module(pipeline.vae, recurse=True)
    assert {tensor.device.type for tensor in bridge.parameters()} == {"cpu"}
    torch.testing.assert_close(tiny.sound(pipeline, **start()), expected, atol=FLOAT32, rtol=0)


def test_weights_are_taken_away_again_after_a_call_that_fails(bridge: Any) -> None:
    cpu_offload(bridge, torch.device("cpu"))
    with pytest.raises(InvalidInput, match=r"expected audio \[batch, samples, 2\]"):
        bridge.encode(torch.zeros(1, 3, 80))
    assert {tensor.device.type for tensor in bridge.parameters()} == {"meta"}


def test_the_hook_of_model_offloading_runs_before_each_direction(bridge: Any) -> None:
    class Counted(ModelHook):
        calls = 0

        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return args, kwargs

    hook = Counted()
    add_hook_to_module(bridge, hook)
    latents = bridge.encode(start()["initial_audio_waveforms"]).latent_dist.mode()
    assert hook.calls == 1
    bridge.decode(latents)
    assert hook.calls == 2


def test_a_pipeline_that_offloads_its_models_gives_the_same(bridge: Any) -> None:
    pipeline = tiny.pipeline(bridge)
    expected = tiny.sound(pipeline)
    pipeline.enable_model_cpu_offload(device="cpu")
    torch.testing.assert_close(tiny.sound(pipeline), expected, atol=FLOAT32, rtol=0)


def test_what_would_cast_layers_behind_the_codec_is_refused(bridge: Any) -> None:
    with pytest.raises(UnsupportedOperation, match=r"enable_layerwise_casting: .*\.to\(torch.bfloat16\)"):
        bridge.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn)
    with pytest.raises(ValueError, match="does not support group offloading"):
        bridge.enable_group_offload(torch.device("cpu"))


# Files


def test_a_saved_pipeline_is_read_back(bridge: Any, tmp_path: Path) -> None:
    pipeline = tiny.pipeline(bridge)
    pipeline.save_pretrained(tmp_path)
    again = StableAudioPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    torch.testing.assert_close(tiny.sound(again), tiny.sound(pipeline), atol=FLOAT32, rtol=0)
    assert StableAudioPipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).vae.dtype == torch.bfloat16


def test_from_pretrained_takes_a_codec_and_says_nothing(
    bridge: Any, original: AutoencoderOobleck, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.pipeline(original).save_pretrained(tmp_path)
    with caplog.at_level("WARNING"):
        pipeline = StableAudioPipeline.from_pretrained(tmp_path, vae=bridge)
    assert pipeline.vae is bridge and "vae" not in caplog.text


def test_a_folder_that_names_no_codec_is_refused(bridge: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"sampling_rate": 800}))
    with pytest.raises(CheckpointError, match="names no codec"):
        type(bridge).from_pretrained(tmp_path)


def test_copies_are_independent(bridge: Any) -> None:
    latents = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(8))
    twin = copy.deepcopy(bridge)
    expected = bridge.decode(latents).sample
    twin.to(torch.bfloat16)
    assert torch.equal(bridge.decode(latents).sample, expected)


# Errors


def test_what_is_wrong_is_said_before_anything_is_loaded(bridge: Any) -> None:
    with pytest.raises(InvalidInput, match="expected audio"):
        bridge.encode(torch.zeros(1, 3, 80))
    with pytest.raises(InvalidInput, match="expected latents"):
        bridge.decode(torch.zeros(1, 3, 80))
    assert not bridge.voco.is_loaded


def test_what_is_no_codec_is_refused(original: AutoencoderOobleck) -> None:
    with pytest.raises(InvalidInput, match="expected a voco, as of get_voco, got a AutoencoderOobleck"):
        vae(original)  # type: ignore[arg-type]


def test_a_codec_of_codes_alone_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voco = get_voco("dac", weights=weights)
    monkeypatch.setattr(type(voco), "latent_dim", None)
    with pytest.raises(UnsupportedOperation, match="dac has codes alone"):
        vae(voco)


def test_without_the_package_the_error_says_how_to_get_it(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.delitem(sys.modules, "vocos.bridges.diffusers.autoencoder")
    with pytest.raises(UnsupportedOperation, match=r"pip install 'diffusers>=0\.36'.*'\.\[bridges\]'"):
        vae(get_voco("oobleck", weights=weights))
