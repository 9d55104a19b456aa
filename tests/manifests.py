"""Names and shapes of the tensors of public checkpoints, as stored."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

from conftest import GOLDEN

from vocos.weights.tensors import TensorFile


@functools.cache
def manifests() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in GOLDEN.glob("manifests*.json.gz"):
        with gzip.open(path, "rt") as stream:
            found |= json.load(stream)
    return found


class Listing(TensorFile):
    """A file of which only the names and shapes are known."""

    def __init__(self, name: str) -> None:
        self.path, self.metadata = Path(name), {}
        self.shapes = {tensor: tuple(shape) for tensor, shape in manifests()[name]["shapes"].items()}
