"""The shape of the library: what may import what, and what an import costs."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import vocos

PACKAGE = Path(vocos.__file__).parent
# Imports point from a later layer to an earlier one; modules of one layer do not import each other.
LAYERS = [
    ["errors"],
    ["atomic", "codes", "config", "hub", "kernels", "tensors"],
    ["nn", "checkpoint"],
    ["export", "inputs", "lazy", "rows"],
    ["batches", "halves"],
    ["loading"],
    ["facts"],
    ["discrete"],
    ["voco"],
    ["variational", "latents"],
    ["codecs"],
    ["registry", "audio", "picture", "feature_extractors"],
    ["codes_contract", "diagnosis", "tokens"],
    ["bench", "testing", "catalogue", "commands", "pretrained"],
    ["cli"],
    ["__main__"],
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
OWNERS = {
    "huggingface_hub": "hub",
    "soundfile": "audio",
    "soxr": "audio",
    "safetensors": "tensors checkpoint export latents",
    "triton": "kernels",
    "yaml": "checkpoint export",
    "transformers": "nn/semantic",
}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it; those for type checkers left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    skipped = {id(inner) for block in typing_only for inner in ast.walk(block)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    mine = module_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "vocos" or len(parts) < 2 or parts[1] not in LEVEL:
            continue
        if parts[1] == mine:
            assert mine != "codecs", f"{path.name} imports another codec: {name}"
        else:
            assert LEVEL[parts[1]] < LEVEL[mine], f"{mine} imports {name}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_outside_world_has_one_door(path: Path) -> None:
    for name in imports(path):
        owner = OWNERS.get(name.split(".")[0])
        assert owner != "kernels" or path.name.startswith("triton_"), f"{path.name} imports {name}"
        places = {module_of(path), path.relative_to(PACKAGE).with_suffix("").as_posix()}
        assert owner is None or places & set(owner.split()), f"{path.name} imports {name}"


def test_every_module_is_in_a_layer() -> None:
    assert {module_of(path) for path in FILES} == set(LEVEL)


def test_importing_the_package_does_not_import_torch() -> None:
    program = (
        "import sys, vocos; dir(vocos); print(sorted(m for m in sys.modules if m in ('torch', 'numpy', 'einops')))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_public_names_resolve_and_no_others_do() -> None:
    for name in vocos.__all__:
        assert getattr(vocos, name) is not None
    assert set(dir(vocos)) == set(vocos.__all__)
    with pytest.raises(AttributeError, match="module 'vocos' has no attribute 'nothing'"):
        vocos.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_one_room(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (400 if path.parent.name == "codecs" or path.name == "testing.py" else 300)


def test_public_functions_have_docstrings() -> None:
    for path in FILES:
        if path.name == "__main__.py" or (path.name.startswith("triton_") and not importlib.util.find_spec("triton")):
            continue
        module = importlib.import_module("vocos." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
        assert module.__doc__, path
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node) or "overload" in ast.unparse(node.decorator_list), f"{path}: {node.name}"
