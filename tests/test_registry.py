"""Names, plugins, and what happens when two want the same one."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from vocos import CheckpointError, InvalidInput, PluginError, Voco, get_voco, list_vocos, register_voco, registry
from vocos.codecs.griffinlim import GriffinLim
from vocos.testing import VocoContract

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the plugin's distribution."""
    target = tmp_path_factory.mktemp("site")
    copy = tmp_path_factory.mktemp("copy") / "plugin"  # setuptools writes beside the sources
    shutil.copytree(PLUGIN, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(copy)], check=True)
    return target


@pytest.fixture
def plugin(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin installed in this process."""
    monkeypatch.syspath_prepend(site)


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


@pytest.mark.usefixtures("plugin")
class TestPlugin:
    """A codec from another distribution, installed by pip."""

    def test_is_listed_without_being_imported(self) -> None:
        assert {"blocks", "blocks-broken"} <= set(list_vocos())
        assert "vocos_blocks_that_is_not_there" not in sys.modules

    def test_is_found_by_name(self) -> None:
        voco = get_voco("blocks")
        audio = torch.rand(2, 45, 1)
        assert voco.name == "blocks"
        assert torch.equal(voco.decode(voco.encode(audio), length=45), audio)

    def test_cannot_take_a_built_in_name(self) -> None:
        assert type(get_voco("mel")).__module__ == "vocos.codecs.vocos_mel"

    def test_broken_one_breaks_only_its_own_name(self) -> None:
        assert get_voco("blocks").channel == 1
        with pytest.raises(
            PluginError, match="'blocks-broken' comes from the distribution vocos-blocks, which"
        ) as caught:
            get_voco("blocks-broken")
        assert isinstance(caught.value, ImportError)
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)

    def test_two_with_one_name_are_both_named_at_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points = [EntryPoint("twice", f"package_{x}:Mine", registry.GROUP) for x in "ab"]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        assert "twice" in list_vocos()
        with pytest.raises(PluginError, match="'twice' is registered by package_a:Mine and by package_b:Mine"):
            get_voco("twice")

    def test_one_that_is_no_voco_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        point = EntryPoint("strange", "collections:OrderedDict", registry.GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda group: [point])
        with pytest.raises(PluginError, match=r"must be a subclass of vocos\.Voco"):
            get_voco("strange")

    def test_options_are_checked(self) -> None:
        with pytest.raises(TypeError, match="blocks has no option 'size'; it has none"):
            get_voco("blocks", size=3)


@pytest.mark.usefixtures("plugin")
class TestPluginKeepsTheContract(VocoContract):
    """What the author of the plugin would write."""

    def make(self) -> Voco[Any]:
        return get_voco("blocks")
