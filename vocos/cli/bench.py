"""`vocos bench`: the benchmarks need other packages beside this one, so they live in the repository, not the wheel."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from vocos.errors import UnsupportedOperation

FOLDER = Path(__file__).parents[2] / "benchmarks"  # of a checkout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the benchmarks where they are there; elsewhere any, for the message that says where they are."""
    if (FOLDER / "bench" / "cases.py").is_file():
        sys.path.insert(0, str(FOLDER))
        importlib.import_module("bench").add_arguments(parser)
    else:
        parser.add_argument("options", nargs="*")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write. Returns the exit code: 1 if a result of ours is not the peer's."""
    if "options" in arguments:
        raise UnsupportedOperation(
            "bench: the benchmarks are not part of the installed package; run `make bench` in a checkout of the "
            "repository"
        )
    code: int = importlib.import_module("bench").run(arguments)
    return code
