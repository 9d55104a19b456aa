"""Names, plugins, and what happens when two want the same one."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from vocos import CheckpointError, InvalidInput, get_voco, list_vocos, register_voco, registry
from vocos.codecs.griffinlim import GriffinLim


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def test_the_table_is_what_the_rows_of_the_codecs_make() -> None:
    """If not: `make table`."""
    tool = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "make_table.py"))
    assert json.loads(registry.TABLE.read_text(encoding="utf-8")) == tool["table"]()


def test_a_name_is_of_the_row_that_has_it() -> None:
    for name in registry.BUILT_IN:
        voco = get_voco(name)
        assert repr(voco).startswith(f"{type(voco).__name__}({name!r}, ")
        assert voco.config == type(voco).checkpoints[name].config.as_dict()


@pytest.mark.parametrize("key", ["n_codebooks", "sample_rate"])
def test_a_file_has_the_same_facts_under_every_name(key: str, tmp_path: Path) -> None:
    config = get_voco("dac_16khz").config
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    assert [get_voco(name, weights=tmp_path).config for name in list_vocos("dac*hz")] == [config] * 3
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != key}))
    for name in list_vocos("dac*hz"):
        with pytest.raises(CheckpointError, match=f"config: {key} is missing"):
            get_voco(name, weights=tmp_path)


def test_facts_of_all() -> None:
    facts = {n: (v.sampling_rate, v.channel, v.latent_dim, v.hop_length) for n in list_vocos() for v in [get_voco(n)]}
    assert facts == {
        "mel": (24000, 1, 100, 256),
        "encodec": (24000, 1, 128, 320),
        "encodec_24khz": (24000, 1, 128, 320),
        "encodec_32khz": (32000, 1, 128, 640),
        "encodec_48khz": (48000, 2, 129, 320),
        "dac": (44100, 1, 128, 512),
        "dac_44khz": (44100, 1, 1024, 512),
        "dac_24khz": (24000, 1, 1024, 320),
        "dac_16khz": (16000, 1, 1024, 320),
        "dacvae": (48000, 2, 2048, 2048),
        "oobleck": (44100, 2, 64, 2048),
        "griffinlim": (24000, 1, 100, 256),
        "mimi": (24000, 1, 512, 1920),
        "pocket_tts": (24000, 1, 32, 1920),
        "qwen3_tts": (24000, 1, 512, 1920),
        "higgs_audio_v2": (24000, 1, 1024, 960),
        "wavtokenizer": (24000, 1, 512, 600),
        "wavtokenizer_large_unify_40token": (24000, 1, 512, 600),
        "wavtokenizer_small_speech_40token": (24000, 1, 512, 600),
        **dict.fromkeys(list_vocos("wavtokenizer_*_75token*"), (24000, 1, 512, 320)),
        "snac_24khz": (24000, 1, 768, 512),
        "snac_32khz": (32000, 1, 1024, 384),
        "snac_44khz": (44100, 1, 1024, 384),
    } | dict.fromkeys(list_vocos("xcodec*"), (16000, 1, 1024, 320))
    assert len(list_vocos("xcodec*")) == 6


def test_codes_of_all() -> None:
    """Codebooks, entries, bits per second, and codebooks at each bandwidth."""
    codes = {
        n: (v.n_codebooks, v.codebook_size, v.bits_per_second, [v.codebooks_for(b) for b in v.bandwidths])
        for n in list_vocos()
        if (v := get_voco(n)).n_codebooks
    }
    assert codes == {
        "encodec": (8, 1024, 6000, [2, 4, 8, 16]),
        "encodec_24khz": (32, 1024, 24000, [2, 4, 8, 16, 32]),
        "encodec_32khz": (4, 2048, 2200, [4]),
        "encodec_48khz": (16, 1024, 24000, [2, 4, 8, 16]),
        "dac": (18, 1024, 18 * 10 * 44100 / 512, []),
        "dac_44khz": (9, 1024, 9 * 10 * 44100 / 512, []),
        "dac_24khz": (32, 1024, 24000, []),
        "dac_16khz": (12, 1024, 6000, []),
        "mimi": (32, 2048, 4400, []),
        "qwen3_tts": (16, 2048, 2200, []),
        "higgs_audio_v2": (8, 1024, 2000, [2, 4, 6, 8]),
        "wavtokenizer": (1, 4096, 480, []),
        "wavtokenizer_large_unify_40token": (1, 4096, 480, []),
        "wavtokenizer_small_speech_40token": (1, 4096, 480, []),
        **dict.fromkeys(list_vocos("wavtokenizer_*_75token*"), (1, 4096, 900, [])),
        "snac_24khz": (3, 4096, 984.375, []),
        "snac_32khz": (4, 4096, 1875, []),
        "snac_44khz": (4, 4096, 15 * 12 * 44100 / 3072, []),
    } | dict.fromkeys(list_vocos("xcodec*"), (8, 1024, 4000, [1, 2, 3, 4, 8]))


def test_list_filters_by_pattern() -> None:
    assert list_vocos("dac*") == ["dac", "dac_16khz", "dac_24khz", "dac_44khz", "dacvae"]
    assert list_vocos("nothing*") == []
    assert list_vocos() == sorted(list_vocos())


def test_listing_imports_no_codec_and_no_torch() -> None:
    program = "import sys, vocos; vocos.list_vocos(); print([m for m in ('torch', 'vocos.codecs') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_registered_class_is_found_and_named() -> None:
    assert register_voco("mine", GriffinLim) is GriffinLim
    assert get_voco("mine").name == "mine"
    assert "mine" in list_vocos()


def test_register_is_a_decorator_too() -> None:
    @register_voco("decorated")
    class Mine(GriffinLim):
        pass

    assert type(get_voco("decorated")) is Mine


def test_taken_name_needs_replace() -> None:
    register_voco("mine", GriffinLim)
    for name in ("mine", "mel"):
        with pytest.raises(InvalidInput, match=f"'{name}' is taken; pass replace=True"):
            register_voco(name, GriffinLim)
        register_voco(name, GriffinLim, replace=True)
        assert type(get_voco(name)) is GriffinLim


def test_only_vocos_are_registered() -> None:
    with pytest.raises(InvalidInput, match="must be a subclass of vocos.Voco, got <class 'int'>"):
        register_voco("mine", int)  # type: ignore[type-var]
