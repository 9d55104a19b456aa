"""Codecs of another distribution: that they are found, keep the contract, and need nothing but public names."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vocos import PluginError, Voco, cli, get_voco, list_vocos, load_codes, registry, save_codes
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
class TestBlocksKeepTheContract(VocoContract):
    """What the author of the plugin would write."""

    def make(self) -> Voco[Any]:
        return get_voco("blocks")


class Original(nn.Module):
    """The program that trained the weights of `tiny`, as its author would have it."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            weight_norm(nn.Conv1d(1, 6, 7, padding=3)), nn.ELU(), weight_norm(nn.Conv1d(6, 4, 8, 8))
        )
        up = weight_norm(nn.ConvTranspose1d(4, 6, 8, 8))
        self.dec = nn.Sequential(up, nn.ELU(), weight_norm(nn.Conv1d(6, 1, 7, padding=3)))
        self.codebooks = nn.ParameterList(0.2 * torch.randn(16, 4) for _ in range(4))


@pytest.fixture(scope="module")
def original() -> Original:
    """A model with small weights, frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Original().requires_grad_(False)


@pytest.fixture(scope="module")
def trained(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that it would publish."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.save({**original.state_dict(), "discriminator.weight": torch.zeros(3)}, folder / "checkpoint.pt")
    (folder / "config.json").write_text(json.dumps({"sampling_rate": 16000, "hop_length": 8, "n_codebooks": 4}))
    return folder


@pytest.mark.usefixtures("plugin")
class TestTinyKeepsTheContract(VocoContract):
    """The codec that shows everything which an author can give."""

    @pytest.fixture(autouse=True)
    def _folder(self, trained: Path) -> None:
        self.weights = trained

    def make(self) -> Voco[Any]:
        return get_voco("tiny", weights=self.weights)


@pytest.mark.usefixtures("plugin")
class TestTiny:
    """What the contract cannot know."""

    @pytest.fixture
    def audio(self) -> Tensor:
        return torch.rand(1, 83, 1, generator=torch.Generator().manual_seed(1)) - 0.5

    def test_numbers_are_those_of_the_original(self, trained: Path, original: Original, audio: Tensor) -> None:
        voco = get_voco("tiny", weights=trained)
        latents = original.enc(nn.functional.pad(audio.mT, (0, 5)))
        torch.testing.assert_close(voco.encode(audio), latents.mT, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(voco.decode(latents.mT), original.dec(latents).mT, atol=1e-6, rtol=1e-5)
        nearest = torch.cdist(latents.mT[0], original.codebooks[0]).argmin(dim=1)
        assert torch.equal(voco.encode_codes(audio, n_codebooks=1)[0, :, 0], nearest)

    def test_facts_of_its_row_need_no_file(self) -> None:
        voco = get_voco("tiny")
        assert (voco.n_codebooks, voco.codebook_size, voco.bandwidths) == (4, 16, (8.0, 16.0, 32.0))
        assert (voco.source, voco.license) == ("vocos-example/tiny", "mit")
        assert not voco.is_loaded

    def test_training_format_comes_back_as_the_original_wrote_it(
        self, trained: Path, original: Original, audio: Tensor, tmp_path: Path
    ) -> None:
        voco = get_voco("tiny", weights=trained)
        assert [path.name for path in voco.export(tmp_path, "training")] == ["config.json", "checkpoint.pt"]
        again = Original()
        again.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
        torch.testing.assert_close(
            again.enc(audio.mT[..., :80]), original.enc(audio.mT[..., :80]), atol=1e-6, rtol=1e-5
        )
        assert torch.equal(get_voco("tiny", weights=tmp_path).encode(audio), voco.encode(audio))

    @pytest.mark.parametrize("layout", ["vocos", "training"])
    def test_command_converts_it(self, layout: str, trained: Path, audio: Tensor, tmp_path: Path) -> None:
        assert cli.main(["convert", str(trained), "-o", str(tmp_path), "--to", layout, "--voco", "tiny"]) == 0
        given = get_voco("tiny", weights=tmp_path).encode(audio)
        assert torch.equal(given, get_voco("tiny", weights=trained).encode(audio))

    def test_file_of_codes_knows_it(self, trained: Path, audio: Tensor, tmp_path: Path) -> None:
        voco = get_voco("tiny", weights=trained)
        codes = voco.encode_codes(audio, bandwidth=16.0)
        save_codes(tmp_path / "clip.codes", codes, voco, length=83)
        found = load_codes(tmp_path / "clip.codes", voco)
        assert (found.codec, found.samples) == ("tiny", 83)
        assert torch.equal(found.codes, codes)
        assert torch.equal(found.decode(voco), voco.decode_codes(codes, length=83))


@pytest.mark.parametrize("path", sorted((PLUGIN / "src").glob("*.py")), ids=lambda path: path.stem)
def test_plugins_use_no_private_names(path: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {part for alias in node.names for part in alias.name.split(".")}
    assert not {name for name in names if name.startswith("_") and not name.endswith("__")}
