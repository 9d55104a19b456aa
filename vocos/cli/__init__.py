"""The command `vocos`. Results go to stdout, progress and errors to stderr.

Exit codes: 0, 1 for an error of ours (one line, no traceback) or a check that fails, 2 for wrong usage, 130 when
interrupted.

`sound` has the commands that read or write audio, `dataset` those about many files as one, `weights` those about codecs
and their weights. `jobs` plans which file becomes which, `lines` prints, `picture` draws spectrograms, `bench` says
where the benchmarks are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from vocos._version import __version__
from vocos.cli import bench, dataset, sound, weights
from vocos.cli.lines import FAILURES, complain, reason

DEFAULT = "griffinlim"  # the codec that needs no weights
FORMATS = ("codes", "ecdc", "dac")  # of files of codes
DTYPES = ("float32", "float16", "bfloat16")


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of stdout has seen enough
        sys.stderr.close()
        return 1
    except FAILURES as error:
        return _fail(reason(error), 1)


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vocos", description="Neural audio codecs: audio to latents and back.")
    parser.add_argument("--version", action="version", version=f"vocos {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int | None], name: str, text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command(weights.list_codecs, "list", "The codecs, with what is known of each without its weights.")
    sub.add_argument("pattern", nargs="?", help='such as "dac*"')
    sub.add_argument("--json", action="store_true", help="print as JSON")

    sub = command(weights.info, "info", "What is known of one codec. Downloads no weights.")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--weights", help="Hub repository, folder or file; default: those of the codec")
    sub.add_argument("--json", action="store_true", help="print as JSON")

    sub = command(sound.encode, "encode", "Audio files to latents, one .safetensors each.")
    _add_codec(sub)
    _add_files(sub, "audio file of any sampling rate")

    sub = command(sound.decode, "decode", "Latents, as encode writes them, to audio files.")
    _add_codec(sub, default=None, told="default: the one that made the latents")
    _add_files(sub, ".safetensors file")

    sub = command(sound.tokenize, "tokenize", "Audio files to codes, for language models; one file each.")
    _add_codec(sub, default=None, told="a codec with codes", required=True)
    sub.add_argument("--n-codebooks", type=int, metavar="K", help="codes of a frame; default: all that the codec has")
    sub.add_argument("--bandwidth", type=float, metavar="KBPS", help="or the rate, for codecs that have rates")
    sub.add_argument("--to", choices=FORMATS, default=FORMATS[0], help="format in a folder; default: codes")
    _add_files(sub, "audio file of any sampling rate")

    sub = command(sound.detokenize, "detokenize", "Codes, also of EnCodec (.ecdc) and Descript (.dac), to audio files.")
    _add_codec(sub, default=None, told="default: the one that made the codes")
    sub.add_argument("--damaged", action="store_true", help="decode what is left of damaged files, the rest is silence")
    _add_files(sub, "file of codes")

    sub = command(sound.roundtrip, "roundtrip", "Audio files to latents and back, to hear what the codec keeps.")
    _add_codec(sub)
    _add_files(sub, "audio file of any sampling rate")

    text = "Whole datasets: folders and lists of audio to latents or codes, in shards."
    sub = subparsers.add_parser("dataset", help=text, description=text)
    dataset.add_arguments(sub, _path, _seed)

    sub = command(weights.fetch, "fetch", "Download weights into the Hub's cache, and print where they are.")
    sub.add_argument("names", nargs="+", metavar="NAME", help="one of `vocos list`")

    sub = command(weights.convert, "convert", "Write weights in another layout.")
    sub.add_argument("source", metavar="SOURCE", help="Hub repository, folder or file, or a name of `vocos list`")
    sub.add_argument("-o", "--output", type=_path, required=True, metavar="FOLDER")
    sub.add_argument("--to", default="vocos", metavar="FORMAT", help='layout; default: ours, "vocos"')
    sub.add_argument("--voco", "--codec", metavar="NAME", help="codec of the weights; default: found by trying")

    sub = command(
        sound.demo, "demo", "Reconstruct a sample that comes with the package; write the audio and a picture."
    )
    _add_codec(sub)
    sub.add_argument("-o", "--output", type=_path, default=Path("demo"), metavar="FOLDER", help="default: demo")
    sub.add_argument("--stream", action="store_true", help="decode frame by frame, and compare with the whole")

    _add_check(command(weights.check, "check", "Whether a device computes what it should, codec by codec."))
    bench.add_arguments(command(bench.run, "bench", "Our codecs beside other implementations, in time and memory."))
    return parser


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="such as cuda; default: cpu, fast kernels beside plain ones")
    parser.add_argument("--voco", "--codec", nargs="+", metavar="NAME", help="default: those whose weights are here")
    parser.add_argument("--fetch", action="store_true", help="download weights that are not")


def _add_files(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "inputs", nargs="+", type=_path, metavar="IN", help=f"{what}; or a folder of such, or - for stdin"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=_name,
        required=True,
        metavar="OUT",
        help="file, folder for several (made if absent), or - for stdout",
    )
    parser.add_argument("--skip-existing", action="store_true", help="leave out what has its output already")
    parser.add_argument("--stop", action="store_true", help="at the first file that fails; default: the others go on")
    parser.add_argument("--quiet", action="store_true", help="no lines but those of what fails")


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an empty name")
    return text


def _path(text: str) -> Path:
    return Path(_name(text))


def _seed(text: str) -> int:
    number = int(text)
    if not -(1 << 63) <= number < 1 << 64:  # what torch takes
        raise argparse.ArgumentTypeError(f"{text} does not fit into 64 bits")
    return number


def _add_codec(
    parser: argparse.ArgumentParser, default: str | None = DEFAULT, told: str = "", required: bool = False
) -> None:
    text = f"one of `vocos list`; {told or f'default: {default}'}"
    parser.add_argument("--voco", "--codec", default=default, required=required, metavar="NAME", help=text)
    parser.add_argument("--weights", help="Hub repository, folder or file; default: those of the codec")
    parser.add_argument("--device", help="such as cuda; default: cpu")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="default: float32")
    parser.add_argument("--seed", type=_seed, metavar="N", help="of codecs that draw their latents")


if __name__ == "__main__":
    sys.exit(main())
