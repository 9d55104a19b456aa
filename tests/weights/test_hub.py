"""The plain path of a download, by the real client over real HTTP to a Hub in miniature."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub

from vocos import InvalidInput, WeightsUnavailable, get_voco
from vocos.weights.location import Location
from vocos.weights.source import DEFAULT_REPOSITORY


@pytest.fixture
def hub(weights: Path, tmp_path: Path) -> Iterator[LoopbackHub]:
    shutil.copytree(weights, tmp_path / "root" / DEFAULT_REPOSITORY)
    shutil.copytree(weights, tmp_path / "root" / "org" / "nested" / "vae")
    with LoopbackHub(tmp_path / "root") as server:
        yield server


def run(hub: LoopbackHub, cache: Path, program: str, **variables: str) -> list[str]:
    """Lines that a program prints in a process of its own, whose Hub is the miniature."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "VOCOS_"))}
    environment = {**inherited, **hub.environment(cache), "PYTHONWARNINGS": "ignore", **variables}
    program = f"import torch\nfrom vocos import *\n{program}"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_default_weights_are_fetched_once_and_only_on_need(hub: LoopbackHub, tmp_path: Path) -> None:
    program = """
voco = get_voco("oobleck")
print(voco.sampling_rate, voco.encode_length(44100), voco)
try:
    voco.encode(torch.zeros(1, 9, 9))
except InvalidInput:
    print("refused")
import sys
print("huggingface_hub" in sys.modules)
"""
    assert run(hub, tmp_path / "cache", program)[1:] == ["refused", "False"]
    assert hub.count() == 0

    decode = 'voco = get_voco("oobleck"); voco.load(); print(voco.decode(torch.ones(1, 3, 8)).sum().item())'
    first = run(hub, tmp_path / "cache", decode)
    fetched = [(request.method, request.file) for request in hub.matching()]
    assert fetched == [(method, f"oobleck.{end}") for end in ("json", "safetensors") for method in ("HEAD", "GET")]
    assert all("vocos/1" in request.headers["user-agent"] for request in hub.matching())

    run(hub, tmp_path / "cache", decode)
    assert hub.count("GET") == 2  # not again

    hub.reset()
    assert run(hub, tmp_path / "cache", decode, HF_HUB_OFFLINE="1") == first
    assert hub.count() == 0


def test_repository_with_a_subfolder_and_a_config_of_its_own(hub: LoopbackHub, tmp_path: Path) -> None:
    program = """
voco = get_voco("dac", weights="org/nested", subfolder="vae", revision="main")
print(voco)
print(voco.latent_dim, voco.sampling_rate, voco.source, voco.is_loaded)
print(voco)
print(voco.encode(torch.zeros(1, 100, 1)).shape[2])
"""
    assert run(hub, tmp_path / "cache", program) == [
        "Dac('dac', source='org/nested/vae@main', is_loaded=False)",
        "16 16000 org/nested/vae@main False",
        "Dac('dac', sampling_rate=16000, channel=1, latent_dim=16, hop_length=40, source='org/nested/vae@main', "
        "is_loaded=False)",
        "16",
    ]
    assert hub.count("GET") == 2


def test_saved_layout_is_read_from_a_repository_too(hub: LoopbackHub, tmp_path: Path, weights: Path) -> None:
    get_voco("mel", weights=weights).save(tmp_path / "root" / "org" / "saved")
    program = 'print(get_voco("mel", weights="org/saved").load().config["n_mels"])'
    assert run(hub, tmp_path / "cache", program) == ["20"]
    assert run(hub, tmp_path / "cache", program, HF_HUB_OFFLINE="1") == ["20"]


def test_vocos_repo_takes_the_place_of_the_default(hub: LoopbackHub, tmp_path: Path) -> None:
    shutil.move(tmp_path / "root" / DEFAULT_REPOSITORY, tmp_path / "root" / "org" / "mirror")
    program = 'voco = get_voco("mel").load(); print(voco.source, voco.config["n_mels"])'
    assert run(hub, tmp_path / "cache", program, VOCOS_REPO="org/mirror") == ["org/mirror 20"]


def test_config_that_is_not_the_one_built_in_is_followed_with_a_warning(hub: LoopbackHub, tmp_path: Path) -> None:
    program = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    voco = get_voco("mel").load()
print(voco.latent_dim, [str(w.message)[:42] for w in caught])
"""
    assert run(hub, tmp_path / "cache", program) == ["20 ['mel: optimizerai/vocos holds MelConfig(sam']"]


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ('weights="org/absent"', {}, "'org/absent' does not exist on the Hub, or is private; check the name"),
        ('revision="v9"', {}, "'optimizerai/vocos' has no revision 'v9'; leave revision= out"),
        ('weights="org/nested"', {}, "org/nested has none of mel.safetensors, "),
        ("local_files_only=True", {}, "is not in the cache and the Hub was not reached"),
        ("", {"HF_HUB_OFFLINE": "1"}, "is not in the cache and the Hub was not reached"),
    ],
)
def test_what_cannot_be_fetched_says_what_to_do(
    arguments: str, variables: dict[str, str], message: str, hub: LoopbackHub, tmp_path: Path
) -> None:
    program = f"""
try:
    get_voco("mel", {arguments}).load()
except WeightsUnavailable as error:
    print(isinstance(error, OSError), error)
"""
    (line,) = run(hub, tmp_path / "cache", program, **variables)
    assert line.startswith("True weights: ")
    assert message in line


def test_gated_repository_names_the_page_of_its_licence(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.gated.add(DEFAULT_REPOSITORY)
    hub.granted.add("secret")
    program = """
try:
    get_voco("mel").load()
except WeightsUnavailable as error:
    print(error)
voco = get_voco("mel", token="secret")
print("secret" in repr(voco), "secret" in repr(voco.weights.location), voco.load().is_loaded)
"""
    refused, loaded = run(hub, tmp_path / "cache", program)
    assert refused.startswith(
        "weights: 'optimizerai/vocos' is gated; accept its licence at https://huggingface.co/optimizerai/vocos, then "
        "log in with `hf auth login`, set HF_TOKEN, or pass token=. Public checkpoints of the same codec: get_voco("
    )
    assert loaded == "False False True"


def test_restrictions_are_said_once_when_the_weights_are_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    repository = "stabilityai/stable-audio-open-1.0"
    shutil.copytree(tmp_path / "root" / "org" / "nested", tmp_path / "root" / repository)
    program = f"""
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s")
voco = get_voco("oobleck", weights="{repository}", subfolder="vae")
print(voco.restrictions == ["gated: accept the licence at https://huggingface.co/{repository}"])
voco.load()
"""
    said = f"vocos.hub: the weights of {repository}/vae are gated: accept the licence at https://huggingface.co/{repository}"
    assert run(hub, tmp_path / "cache", program) == ["True", said]
    assert run(hub, tmp_path / "cache", program) == ["True"]


class TestLocalPlaces:
    """Folders and files, read at once."""

    def test_single_file_takes_the_config_beside_it(self, weights: Path) -> None:
        voco = get_voco("oobleck", weights=weights / "oobleck.safetensors")
        assert voco.latent_dim == 8
        assert voco.load().is_loaded

    def test_subfolder_of_a_folder(self, weights: Path) -> None:
        assert get_voco("mel", weights=weights.parent, subfolder=weights.name).latent_dim == 20

    def test_place_does_not_move_with_the_working_directory(
        self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(weights.parent)
        voco = get_voco("mel", weights=weights.name)
        monkeypatch.chdir(tmp_path)
        assert voco.load().is_loaded

    def test_folder_of_the_name_of_the_default_repository_is_not_taken_for_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / DEFAULT_REPOSITORY).mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(WeightsUnavailable, match="is not in the cache and the Hub was not reached"):
            get_voco("mel").load()

    @pytest.mark.parametrize("place", ["absent", "./absent", "a/b/c", "org/absent.safetensors", "~/absent-9"])
    def test_missing_path_is_refused_at_once(self, place: str) -> None:
        with pytest.raises(WeightsUnavailable, match="there is no file or folder .*(absent|a.b.c)"):
            get_voco("mel", weights=place)

    def test_folder_without_weights_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsUnavailable, match="has none of mel.safetensors, "):
            get_voco("mel", weights=tmp_path)

    def test_folder_without_config_has_the_default_one(self, weights: Path, tmp_path: Path) -> None:
        shutil.copy(weights / "mel.safetensors", tmp_path)
        assert get_voco("mel", weights=tmp_path).latent_dim == 100

    def test_licence_and_source_of_saved_weights_are_kept(self, weights: Path, tmp_path: Path) -> None:
        get_voco("mel", weights=weights).save(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["source"] == str(weights)
        (tmp_path / "config.json").write_text(json.dumps({**config, "license": "cc0-1.0"}))
        voco = get_voco("mel", weights=tmp_path)
        assert voco.license == "cc0-1.0"
        assert voco.source == str(tmp_path)

    def test_codec_without_weights_takes_none(self) -> None:
        with pytest.raises(InvalidInput, match="has no weights"):
            get_voco("griffinlim", weights="org/name")


def test_location_tells_repositories_from_paths() -> None:
    assert Location("org/name").path is None
    assert str(Location("org/name", subfolder="vae", revision="v1")) == "org/name/vae@v1"
    for path in ("./org/name", "/org/name", "name", "org/name/deep", "org/name.safetensors", "../x"):
        assert Location(path).path is not None, path
