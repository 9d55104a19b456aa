"""What pip installs, from each of the places it may be installed from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import vocos

ROOT = Path(__file__).parent.parent
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({out!r}))"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a checkout, without what is built or ignored."""
    target = tmp_path_factory.mktemp("checkout") / "vocos"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "demo", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, target, ignore=ignored)
    return target


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a wheel or sdist with this environment's setuptools; no network is needed."""
    program = BUILD.format(kind=kind, out=str(out))
    run = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=True)
    return out / run.stdout.splitlines()[-1]


def installed(source: Path, target: Path) -> Path:
    """Install with pip into a folder, dependencies left out."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True)
    return target


def works(site: Path) -> None:
    """Run the installed package, and nothing of the checkout."""
    program = (
        "import vocos, torch, sys\n"
        "assert vocos.__file__.startswith(sys.argv[1]), vocos.__file__\n"
        "from vocos.cli import main\n"
        "assert vocos.get_voco('griffinlim').encode(torch.rand(1, 5000, 1)).shape == (1, 20, 100)\n"
        "sys.exit(main(['demo', '-o', sys.argv[1] + '/demo']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run(
        [sys.executable, "-c", program, str(site)], cwd=site, env=environment, check=True, capture_output=True
    )


def test_wheel_from_the_sdist_from_the_checkout(checkout: Path, tmp_path: Path) -> None:
    sdist = build("sdist", checkout, tmp_path)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "unpacked", filter="data")
    tracked = {
        "LICENSE",
        "Makefile",
        "README.md",
        "CHANGELOG.md",
        "docs/index.md",
        "docs/codecs/dac.md",
        ".github/workflows/ci.yml",
        "constraints.txt",
        "setup.cfg",
        "tests/conftest.py",
        "vocos/py.typed",
    }
    assert tracked <= names
    assert any(name.startswith("tests/golden/") and name.endswith(".npz") for name in names)
    (source,) = (tmp_path / "unpacked").iterdir()
    wheel = build("wheel", source, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {"vocos/py.typed", "vocos/assets/sample.flac", "vocos/codecs/vocos_mel.py", "vocos/nn/blocks.py"} <= names
    assert {name.partition("/")[0] for name in names} == {"vocos", f"vocos-{vocos.__version__}.dist-info"}
    assert wheel.stat().st_size < 800_000
    assert wheel.name == "vocos-1.0.0.dev0-py3-none-any.whl"
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    works(installed(wheel, tmp_path / "site"))


def test_folder_of_the_hub_repository_without_its_weights(checkout: Path, tmp_path: Path) -> None:
    """The code lies beside the configs of the weights there, and there is no git."""
    folder = shutil.copytree(checkout, tmp_path / "repository")
    for stem in ("mel", "encodec", "dac", "dac-vae-small", "oobleck"):
        (folder / f"{stem}.json").write_text("{}")
    works(installed(folder, tmp_path / "site"))


def test_every_source_file_is_packaged(checkout: Path, tmp_path: Path) -> None:
    wheel = build("wheel", checkout, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        packaged = {name for name in archive.namelist() if name.endswith(".py")}
    assert packaged == {str(path.relative_to(ROOT)) for path in (ROOT / "vocos").rglob("*.py")}
