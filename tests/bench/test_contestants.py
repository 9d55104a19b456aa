"""PyPI's vocos in an interpreter of its own, played by one that answers as it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import yaml
from bench.contestants import Local, Remote

from vocos import InvalidInput, VocoError

FAKE = """
import torch
class Vocos(torch.nn.Module):
    @classmethod
    def from_hparams(cls, path):
        self = cls()
        self.scale = torch.nn.Parameter(torch.zeros(1))
        assert path.endswith("config.yaml")
        return self
    def decode(self, latents):
        print("a message of the model")
        if latents.shape[1] == 7:
            raise ValueError("seven channels")
        return latents.sum(dim=1) * self.scale
"""


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter that has another package of the name vocos."""
    package = tmp_path / "site" / "vocos"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE)
    info = tmp_path / "site" / "vocos-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vocos\nVersion: 0.1.0\n")
    start = tmp_path / "start.py"
    start.write_text(
        f"import sys, runpy; sys.path.insert(0, {str(tmp_path / 'site')!r}); assert sys.argv[1] == '-I'\n"
        "runpy.run_path(sys.argv[2], run_name='__main__')\n"
    )
    command = tmp_path / "python"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -I {start} "$@"\n')
    command.chmod(0o755)
    return str(command)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Public files of weights: the scale is 3."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({}))
    torch.save({"scale": torch.full((1,), 3.0)}, tmp_path / "pytorch_model.bin")
    return tmp_path


def test_other_interpreter_loads_decodes_and_is_timed(python: str, folder: Path) -> None:
    remote = Remote(python, folder)
    latents = torch.randn(2, 5, 11)
    remote.prepare(latents)
    assert 0.0 < remote.run() < 60.0
    assert torch.allclose(remote.output(), 3.0 * latents.sum(dim=1, keepdim=True))
    assert remote.peak() >= 0
    assert remote.name.startswith("PyPI vocos 0.1.0, torch ")
    remote.close()
    assert remote._process.poll() == 0


def test_error_in_the_other_interpreter_is_ours(python: str, folder: Path) -> None:
    remote = Remote(python, folder)
    remote.prepare(torch.zeros(1, 7, 3))
    with pytest.raises(VocoError, match="PyPI's vocos in .*: ValueError: seven channels"):
        remote.run()
    remote._process.kill()
    with pytest.raises(VocoError, match="it ended with code -9"):
        remote.run()
    remote.close()


def test_interpreter_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="'/nowhere/python', for PyPI's vocos, cannot be run"):
        Remote("/nowhere/python", folder)


def test_peak_is_what_the_call_needs() -> None:
    local = Local(lambda x: (x.expand(10_000_000, 4) + 1).sum())  # 160 MB
    local.prepare(torch.zeros(1, 1))
    local.run()
    assert 120e6 < local.peak() < 400e6
