"""The examples of the README, as they stand there, with stand-in weights in the place of the published ones."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
from conftest import OTHERS

import vocos
import vocos.errors
from vocos import registry

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_runs(example: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    shutil.copytree(weights, tmp_path / "weights")
    for name in ("mel", "encodec") if "charactr/" in example else ():  # a folder goes before a repository of its name
        folder = tmp_path / "charactr" / f"vocos-{name}-24khz"
        folder.mkdir(parents=True)
        OTHERS[f"charactr-{name}"].write(folder)
    if "encode_length(44100) == 22" not in example:  # that one is about the published sizes, and loads nothing
        monkeypatch.setenv("VOCOS_REPO", str(weights))
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    runpy.run_path(str(tmp_path / "example.py"), run_name="readme")


def test_table_of_codecs_is_what_the_registry_says() -> None:
    section = README.split("## The codecs")[1].split("\n## ")[0]
    rows = {cells[0].strip("`"): cells[1:] for cells in re.findall(r"^\| (`\w+`) \| (.*) \|$", section, re.MULTILINE)}
    table = {name: [cell.strip() for cell in cells[0].split("|")] for name, cells in rows.items()}
    assert set(table) == set(registry.BUILT_IN)
    for name, known in registry.BUILT_IN.items():
        numbers = [known.sampling_rate, known.channel, known.latent_dim, known.hop_length]
        rate = f"{known.sampling_rate / known.hop_length:.2f}"
        voco = vocos.get_voco(name)
        codes = "" if voco.n_codebooks is None else f"{voco.n_codebooks} x {voco.codebook_size}"
        licence = known.license or ("not stated" if known.source else "")
        assert table[name] == [*map(str, numbers), rate, codes, known.source or "none needed", licence]


def test_errors_named_in_the_readme_are_public() -> None:
    section = README.split("## Errors")[1].split("## Develop")[0]
    named = {name for name in vocos.__all__ if f"`{name}`" in section or f"`vocos.{name}`" in section}
    assert named == set(vocos.errors.__all__)


def test_layouts_named_in_the_readme_are_those_that_are_read() -> None:
    section = README.split("## Weights")[1].split("\n## ")[0]
    found = re.findall(r"^\| (`\w+`.*) \| (.*) \|$", section, re.MULTILINE)
    rows = {name: layouts for names, layouts in found for name in re.findall(r"`(\w+)`", names)}
    for name, layouts in rows.items():
        for target in type(vocos.get_voco(name)).targets:
            assert target.name in layouts, (name, target.name)
    assert set(rows) == {name for name, known in registry.BUILT_IN.items() if known.source}
