"""README and docs hold what they say: every example runs, every command is one, every link leads somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from conftest import OTHERS

import vocos
import vocos.errors
from vocos import cli, registry

ROOT = Path(__file__).parent.parent
README, INDEX = ROOT / "README.md", ROOT / "docs" / "index.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
EXAMPLE = re.compile(r"(<!-- published sizes -->\n)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    f"{page}-{number}": match for page, text in TEXTS.items() for number, match in enumerate(EXAMPLE.finditer(text))
}
COMMANDS = [
    line.strip().removeprefix(".venv/bin/")
    for text in TEXTS.values()
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").replace(" | ", "\n").splitlines()
]
# Stand-ins, by the key of `conftest.folder`, for weights that a stranger gets without the names of repositories
PUBLIC = {
    "dac_44khz": "transformers-dac",
    "encodec_24khz": "transformers-encodec_24khz",
    "encodec_32khz": "transformers-encodec_32khz",
    "encodec_48khz": "transformers-encodec_48khz",
    "mimi": "mimi",
    "pocket_tts": "pocket_tts",
    "qwen3_tts": "qwen3_tts",
    "snac_24khz": "snac_24khz",
    "higgs_audio_v2": "higgs_audio_v2",
    "wavtokenizer": "wavtokenizer",
    "xcodec": "xcodec",
}
REPOSITORIES = {
    "charactr/vocos-mel-24khz": "charactr-mel",
    "charactr/vocos-encodec-24khz": "charactr-encodec",
    "ACE-Step/Ace-Step1.5": "stable-audio-oobleck",
}


@pytest.mark.parametrize("key", EXAMPLES)
def test_example_runs(
    key: str, weights: Path, folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_published_sizes, example = EXAMPLES[key].groups()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    real = registry.get_voco

    def get_voco(name: str, **options: Any) -> Any:
        """The real one, with stand-ins in the place of public weights."""
        if options.get("weights") in REPOSITORIES:
            place = folder(REPOSITORIES[options["weights"]])
            options |= {"weights": place, "subfolder": None} | (
                {"encodec_weights": place / "encodec"} if name == "encodec" else {}
            )
        elif name in PUBLIC:
            options = {"weights": folder(PUBLIC[name])} | options
        return real(name, **options)

    if not has_published_sizes:
        monkeypatch.setattr(vocos, "get_voco", get_voco, raising=False)
        monkeypatch.setenv("VOCOS_REPO", str(weights))
    shutil.copytree(weights, tmp_path / "weights")
    for name in ("mel", "encodec"):  # for PyPI's calls; a folder goes before a repository of its name
        place = tmp_path / "charactr" / f"vocos-{name}-24khz"
        place.mkdir(parents=True)
        OTHERS[f"charactr-{name}"].write(place)
    soundfile.write(tmp_path / "clip.wav", 0.1 * np.sin(np.arange(2 * 22050).reshape(-1, 2) / 20), 22050)
    example = re.sub(r"^steps = \d+$", "steps = 3", example, flags=re.MULTILINE)  # of training
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    runpy.run_path(str(tmp_path / "example.py"), run_name="docs")


@pytest.mark.parametrize("command", sorted({line for line in COMMANDS if line.startswith("vocos ")}))
def test_command_is_one_of_the_command_line(command: str) -> None:
    assert callable(cli._parser().parse_args(shlex.split(command, comments=True)[1:]).run)


def test_make_targets_named_anywhere_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    others = [ROOT / ".pre-commit-config.yaml", ROOT / ".github" / "workflows" / "ci.yml"]
    assert all(yaml.safe_load(path.read_text(encoding="utf-8")) for path in others)
    texts = [*TEXTS.values(), *(path.read_text(encoding="utf-8") for path in others)]
    named = {
        name for text in texts for name in re.findall(r"(?:`|^\s*|run: |entry: )make ([a-z]+)", text, re.MULTILINE)
    }
    assert {"lint", "quick", "test", "peers", "table"} <= named <= targets


def test_quick_tests_are_there() -> None:
    listed = re.search(
        r"^QUICK \?= (.*?[^\\])$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert listed is not None
    assert all((ROOT / name).exists() for name in listed[1].replace("\\", "").split())


def test_tables_and_pages_are_what_the_rows_of_the_codecs_say() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "make_pages.py"))
    for path, text in tool["pages"]().items():
        assert path.is_file(), f"{path.name} is missing; run `make table`"
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date; run `make table`"


@pytest.mark.parametrize("page", TEXTS)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXTS[page]):
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{page}: {target}"


def test_index_names_every_page() -> None:
    named = {(INDEX.parent / name).resolve() for name in re.findall(r"\]\(([\w/.-]+\.md)\)", INDEX.read_text("utf-8"))}
    assert named >= {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {INDEX}


def test_citation_is_of_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == vocos.__version__


def test_readme_is_short() -> None:
    assert README.stat().st_size < 11000


def test_page_of_errors_names_every_one() -> None:
    page = TEXTS["docs/errors.md"]
    assert {name for name in vocos.__all__ if f"`{name}`" in page} >= set(vocos.errors.__all__)
