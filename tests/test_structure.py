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
TRAINING = ["dataset", "discriminators", "experiment", "helpers", "loss"]  # of PyPI's vocos; importing them raises
# Imports point from a later layer to an earlier one; modules of one layer do not import each other.
LAYERS = [
    ["_version", "errors"],
    [
        "config",
        "files.places",
        "kernels",
        "weights.atomic",
        "weights.empty",
        "weights.rules",
        "weights.source",
        "weights.location",
        "weights.intact",
        "weights.refusals",
        "weights.opcodes",
        "voco.arrangements",
        "voco.codes",
        "voco.facts",
        "voco.rows",
    ],
    ["weights.configs", "weights.pickles", "weights.download"],
    ["weights.shards"],
    ["weights.hub", "weights.tensors"],
    ["nn", "voco.offload", "weights.formats"],
    ["weights.export", "voco.checks", "voco.lazy", "pypi.checks", "pypi.training"],
    ["weights", "weights.weights", "pypi.modules", "pypi.spectral_ops"],
    ["pypi.heads", "pypi.models", "pypi.spectrograms"],
    ["voco.codec"],
    ["voco.batches"],
    ["voco.streams"],
    ["voco.interface", "voco.joining"],
    ["voco"],
    ["voco.variational", "voco.flow"],
    ["codecs"],
    ["registry", "files.audio", "files.latents", "pypi.feature_extractors"],
    ["files.codes", "selftest", "testing.codes", "testing.streams", "testing.machine", "pypi.pretrained", "bridges"],
    ["files", "pypi", "testing", "cli.bench", "cli.picture", "cli.lines"],
    ["data.items", "data.durable", "data.containers"],
    ["data.lists", "data.tars", "data.reading"],
    ["data.sources"],
    ["data.sound"],
    ["data.plan"],
    ["data.settings"],
    ["data.encoder"],
    ["data.shard"],
    ["data.pool"],
    ["data.jobs"],
    ["data.worker"],
    ["data.estimate", "data.ray", "data.merge", "data.stream"],
    ["data.crops"],
    ["data.dataset"],
    ["data.stats", "data.verify"],
    ["data"],
    ["cli.jobs"],
    ["cli.blocks"],
    ["cli.dataset", "cli.sound", "cli.weights"],
    ["feature_extractors", "heads", "models", "modules", "pretrained", "ray", "spectral_ops"],
    TRAINING,
    ["cli"],
    ["__main__", "__init__"],
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
FILES = sorted(PACKAGE.rglob("*.py"))
OWNERS = {
    "huggingface_hub": "weights/download weights/refusals",
    "soundfile": "files/audio/reader files/audio/writer",
    "soxr": "files/audio/converter",
    "safetensors": "weights/tensors weights/formats weights/export data/stats data/reading",
    "triton": "kernels",
    "yaml": "weights/configs weights/export",
    "transformers": "nn/semantic bridges/transformers",
    "diffusers": "bridges/diffusers",
    "pyarrow": "data/containers",
    "ray": "data/ray",
}


def imports(path: Path, with_types: bool = True) -> set[str]:
    """Dotted names that a file imports, wherever in it; those for type checkers too, or left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    skipped = {id(inner) for block in typing_only for inner in ast.walk(block)} if not with_types else set()
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
    """The module of a file, as dotted names below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def layer_of(module: str) -> str | None:
    """The name in `LEVEL` of a module, or of the nearest package that it is in."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in LEVEL), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    mine = module_of(path)
    layer = layer_of(mine)
    assert layer is not None, f"{mine} is in no layer"
    for name in imports(path):
        if not name.startswith("vocos."):
            continue
        other = layer_of(name.removeprefix("vocos."))
        if other is None:  # a public name of the package, resolved on use
            continue
        if other == layer:
            codecs = {module.split(".")[1] for module in (mine, name.removeprefix("vocos.")) if module.count(".")}
            assert layer != "codecs" or len(codecs) < 2, f"{path.name} imports another codec: {name}"
        else:
            assert LEVEL[other] < LEVEL[layer], f"{mine} imports {name}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_outside_world_has_one_door(path: Path) -> None:
    for name in imports(path, with_types=False):
        owner = OWNERS.get(name.split(".")[0])
        assert owner != "kernels" or path.name.startswith("triton_"), f"{path.name} imports {name}"
        place = path.relative_to(PACKAGE).with_suffix("")
        places = {folder.as_posix() for folder in (place, *place.parents)}
        assert owner is None or places & set(owner.split()), f"{path.name} imports {name}"


def test_every_layer_is_of_modules_that_exist() -> None:
    assert {layer_of(module_of(path)) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize(
    "path",
    [
        "vocos.testing.VocoContract",
        "vocos.config.Config",
        "vocos.voco.Facts",
        "vocos.voco.Voco",
        "vocos.pretrained.Vocos",
        "vocos.feature_extractors.EncodecFeatures",
        "vocos.cli.main",
    ],
)
def test_names_that_programs_import_stay_where_they_are(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name)


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
    assert lines <= (400 if {"codecs", "testing"} & set(path.parts) else 350)


def test_public_functions_have_docstrings() -> None:
    for path in FILES:
        if (
            path.name == "__main__.py"
            or path.stem in TRAINING
            or (path.name.startswith("triton_") and not importlib.util.find_spec("triton"))
        ):
            continue
        module = importlib.import_module(
            "vocos" if path.parent == PACKAGE and path.stem == "__init__" else f"vocos.{module_of(path)}"
        )
        assert module.__doc__, path
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node) or "overload" in ast.unparse(node.decorator_list), f"{path}: {node.name}"
