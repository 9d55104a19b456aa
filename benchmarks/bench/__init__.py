"""`vocos bench`: our codecs beside the public implementations of the same networks, in one process, run by run.

In a checkout only, for it needs packages that nobody else does.

`cases` says what is measured and against what; the results are of random weights of the published sizes.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the command its options; nothing heavy is imported."""
    parser.add_argument(
        "--only", nargs="+", action="extend", metavar="CASE", help='such as dac, or "* decode"; default: every case'
    )
    parser.add_argument("--seconds", nargs="+", type=float, default=[10.0, 1.0], help="of audio; default: 10 1")
    parser.add_argument("--batch", type=int, default=8, help="clips at once, of the shortest length too; default: 8")
    parser.add_argument("--runs", type=int, default=5, help="timed, of each; default: 5")
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true", help="the peers under torch.compile too (minutes each)")
    parser.add_argument("--memory", action="store_true", help="peak memory of decoding 60 s, in fresh processes")
    parser.add_argument("--curves", action="store_true", help="our cost against length and batch size, as PNG")
    parser.add_argument("--longest", type=float, default=600.0, help="of the curves, in seconds; default: 600")
    parser.add_argument("--profile", action="store_true", help="what share of our time is convolution arithmetic")
    parser.add_argument("--pypi-python", metavar="PATH", help="that has PyPI's vocos; default: VOCOS_PYPI_PYTHON")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write. Returns the exit code: 1 if a result of ours is not the peer's."""
    from bench import command

    return command.run(arguments)
