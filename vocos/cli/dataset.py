"""The commands `vocos dataset`: whole datasets of audio to latents or codes, and what is to be known of them."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos.cli.lines import complain, tell
from vocos.errors import InvalidInput

if TYPE_CHECKING:
    from vocos.data.jobs import Part
    from vocos.data.settings import Settings

SHOWN = 20  # lines about items that failed; the index has all
DTYPES = ("float16", "bfloat16", "float32")
FORMATS = ("shards", "webdataset", "parquet")
CHANNELS = ("mix", "split", "first")
BAR = "{percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h [{elapsed}<{remaining}{postfix}]"


def plan(arguments: argparse.Namespace) -> None:
    """What a dataset will be, and its plan, if it is to be written."""
    from vocos.data import estimate as estimates
    from vocos.data.estimate import size_text, time_text
    from vocos.data.jobs import planned, workers_for
    from vocos.data.sources import items_of

    settings, part = _settings(arguments), _part(arguments)
    output = Path(arguments.output) if arguments.output else None
    if output is not None:
        made = planned(output, arguments.sources, arguments.shard_seconds, _say_changes)
        items: Any = made
    else:
        items = items_of(arguments.sources)
    found = estimates.estimate(items, settings, arguments.shard_seconds)
    devices = _devices(arguments)
    workers = arguments.workers or workers_for(devices)
    share = 1 / part.count
    hours = found.hours_of_work(workers)
    facts: dict[str, Any] = {
        "items": found.items,
        "missing": found.missing,
        "audio_hours": found.seconds / 3600,
        "audio_bytes": found.sound_bytes,
        "shards": found.shards,
        "stored_bytes": round(found.n_bytes),
        "stored_bytes_per_second": found.bytes_per_second,
        "times_real_time_of_a_worker": found.speed,
        "workers": workers,
        "hours": None if hours is None else hours * share,
        "price": None if hours is None else hours * share * arguments.price,
        "warnings": found.warnings,
        "failed_of_sample": found.failed,
    }
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    missing = f", {found.missing} of them are not there" if found.missing else ""
    tell(f"{found.items} items{missing}; {found.seconds / 3600:.2f} h of audio in {size_text(found.sound_bytes)}")
    tell(f"{found.shards} shards, {size_text(found.n_bytes)} in all, {found.bytes_per_second / 1000:.4g} kB/s")
    if hours is not None and found.speed is not None:
        each = f"a worker does {found.speed:.0f} times real time, measured on a sample"
        tell(f"{time_text(hours * share)} on this machine with {workers} workers: {each}")
        tell(f"{hours * share * arguments.price:.2f} at {arguments.price:g} for an hour of this machine")
    for line in found.warnings:
        complain(f"warning: {line}")
    for line in found.failed[:SHOWN]:
        complain(line)
    if output is not None:
        tell(f"{made.path}: written; `vocos dataset encode` with the same options goes by it")


def encode(arguments: argparse.Namespace) -> int:
    """Make a dataset, or go on with it. Returns the exit code: 1 if an item failed."""
    from vocos.data import jobs

    settings = _settings(arguments)
    job = jobs.begin(
        Path(arguments.output),
        arguments.sources,
        settings,
        part=_part(arguments),
        shard_seconds=arguments.shard_seconds,
        changed=_say_changes,
    )
    done, left = job.split(arguments.retry)
    if done and not arguments.quiet:
        complain(f"{len(done)} of {len(job.shards)} shards are finished already")
    if not done and not arguments.quiet:
        for text in job.settings.codec().restrictions:
            complain(f"{settings.voco}: {text}")
    report = _Report(job, sum(job.plan.shards[number].seconds for number in left), arguments)
    with report.shown() as progress:
        if arguments.ray is not None:
            from vocos.data.ray import run as run_on_ray

            finished = run_on_ray(job, left, address=arguments.ray or None, workers=arguments.workers)
        else:
            finished = jobs.run(job, left, devices=_devices(arguments), workers=arguments.workers, progress=progress)
        for about in finished:
            if arguments.ray is not None:
                progress(about["seconds"])
            report.finished(about)
            done.append(about)
    failed, items = sum(about["failed"] for about in done), sum(about["items"] for about in done)
    hours = sum(about["seconds"] for about in done) / 3600
    what = f"{failed} of {items} items failed" if failed else f"all {items} items are stored"
    silent = sum(about["silent"] for about in done)
    what += f", {silent} are silent" if silent else ""
    line = f"{job.folder}: {what}; {hours:.2f} h of audio in {len(done)} shards"
    tell(line, sys.stderr if arguments.json else sys.stdout)
    return int(failed > 0)


def verify(arguments: argparse.Namespace) -> int:
    """Check a dataset. Returns the exit code: 1 if something is wrong."""
    from tqdm import tqdm

    from vocos.data.verify import verify as verified

    folder: Path = arguments.folder
    with tqdm(
        total=1.0, disable=None, leave=False, bar_format="{percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    ) as bar:
        found = verified(folder, arguments.deep, bar.update)
    for line in found.problems:
        complain(line)
    compared = f", {found.compared} encoded again" if found.compared else ""
    verdict = f"{len(found.problems)} problems" if found.problems else "no problems"
    tell(f"{folder}: {found.shards} shards with {found.items} items are right{compared}; {verdict}")
    return int(bool(found.problems))


def stats(arguments: argparse.Namespace) -> None:
    """Go through the numbers of a dataset."""
    from tqdm import tqdm

    from vocos.data.dataset import Items
    from vocos.data.stats import compute

    dataset = Items(arguments.folder, partial=True)
    with tqdm(total=dataset.seconds / 3600, disable=None, leave=False, bar_format=BAR) as bar:
        found = compute(dataset, lambda seconds: bar.update(seconds / 3600))
    if arguments.json:
        print((arguments.folder / "stats.json").read_text(encoding="utf-8").rstrip())
        return
    rate = found["bytes_per_second"] / 1000
    tell(f"{found['items']} items, {found['failed']} failed; {found['hours']:.2f} h, {rate:.3g} kB/s")
    if dataset.kind == "latents":
        overall = ", ".join(f"{name} {value:.4g}" for name, value in found["overall"].items())
        tell(f"latents [{found['frames']}, {dataset.size}]: {overall}")
        off = found["correlation"] - found["correlation"].diag().diag()
        tell(
            f"std of a channel from {found['std'].min():.4g} to {found['std'].max():.4g}; the largest correlation of "
            f"two is {off.abs().max():.3f}"
        )
    else:
        for book, (use, entropy, bits) in enumerate(
            zip(found["use"].tolist(), found["entropy_bits"].tolist(), found["bits"].tolist(), strict=True)
        ):
            tell(f"codebook {book}: {use:.1%} of its entries are used, entropy {entropy:.2f} of {bits:.2f} bits")
        rates = found["bits_per_second"]
        tell(f"{rates['codes'] / 1000:.3g} kbit/s, of which {rates['entropy'] / 1000:.3g} are information")
    tell(f"{arguments.folder / 'stats.json'} and stats.safetensors: written")


def merge(arguments: argparse.Namespace) -> int:
    """Parts of a plan into one dataset. Returns the exit code: 1 if shards are missing or items failed."""
    from vocos.data.merge import merge as merged

    found = merged(arguments.folders)
    first = arguments.folders[0]
    if found.missing:
        complain(f"{first}: {len(found.missing)} shards are in none of the folders, the first is {found.missing[0]}")
    what = f"{found.failed} of {found.items} items failed" if found.failed else f"all {found.items} items are stored"
    tell(f"{first}: {found.taken} shards more; {what}; {found.seconds / 3600:.2f} h of audio")
    return int(bool(found.missing or found.failed))


class _Report:
    """What is told while a dataset is made: a bar, a line of JSON for each shard, a line for each item that failed."""

    def __init__(self, job: Any, seconds: float, arguments: argparse.Namespace) -> None:
        self._job, self._arguments = job, arguments
        self._total, self._done, self._failed, self._start = seconds, 0.0, 0, time.monotonic()
        self._bar: Any = None

    @contextmanager
    def shown(self) -> Iterator[Callable[[float], None]]:
        """The bar; gives what is told seconds of audio that are done."""
        from tqdm import tqdm

        disable = True if self._arguments.quiet else None
        with tqdm(total=self._total / 3600, bar_format=BAR, disable=disable, leave=False, file=sys.stderr) as self._bar:
            yield self._progress

    def _progress(self, seconds: float) -> None:
        self._done += seconds
        speed = self._done / max(1e-9, time.monotonic() - self._start)
        self._bar.total = max(self._bar.total, self._bar.n + seconds / 3600)  # the plan may have estimated too little
        self._bar.set_postfix_str(f"{speed:.0f} x real time, {self._failed} failed", refresh=False)
        self._bar.update(seconds / 3600)

    def finished(self, about: dict[str, Any]) -> None:
        """A shard is."""
        from vocos.data.shard import index_path, read_index

        if about["failed"]:
            lines = read_index(index_path(self._job.folder, about["shard"]))
            errors = (line["error"] for line, _ in lines if "error" in line)
            room = max(0, SHOWN - self._failed)
            for text in itertools.islice(errors, room):
                self._bar.clear()
                complain(text)
            if self._failed <= SHOWN < self._failed + about["failed"]:
                complain(f"more items failed; {self._job.folder / 'index'} says which")
            self._failed += about["failed"]
        if self._arguments.json:
            spent = time.monotonic() - self._start
            speed = self._done / max(1e-9, spent)
            left = max(0.0, self._total - self._done)
            told = {key: about[key] for key in ("shard", "file", "bytes", "sha256", "items", "failed", "seconds")}
            told |= {"done_hours": self._done / 3600, "times_real_time": speed, "spent_seconds": spent}
            print(json.dumps({**told, "left_seconds": left / speed if speed else None}), flush=True)


def _say_changes(lines: Iterator[str]) -> None:
    """The first few of what has changed, and how many more there are."""
    for line in itertools.islice(lines, SHOWN):
        complain(f"warning: {line}")
    if more := sum(1 for _ in lines):
        complain(f"warning: {more} more differences between the sources and the plan")


def _settings(arguments: argparse.Namespace) -> Settings:
    from vocos.data.settings import Settings

    if arguments.workers is not None and arguments.workers < 1:
        raise InvalidInput(f"--workers: expected 1 or more, got {arguments.workers}")
    if not arguments.codes and (arguments.n_codebooks is not None or arguments.bandwidth is not None):
        raise InvalidInput("dataset: --n-codebooks and --bandwidth are for --codes")
    if arguments.codes and (arguments.draw is not None or arguments.dtype is not None):
        raise InvalidInput("dataset: --mean, --draw and --dtype are for --latents")
    return Settings(
        voco=arguments.voco,
        weights=arguments.weights,
        kind="codes" if arguments.codes else "latents",
        dtype=arguments.dtype or DTYPES[0],
        n_codebooks=arguments.n_codebooks,
        bandwidth=arguments.bandwidth,
        draw=arguments.draw,
        channels=arguments.channels,
        seed=arguments.seed,
        to=arguments.to,
        device=_devices(arguments)[0].partition(":")[0],
    )


def _devices(arguments: argparse.Namespace) -> list[str]:
    found = [name.strip() for name in arguments.devices.split(",")]
    if not all(found) or len({name.partition(":")[0] for name in found}) > 1:
        raise InvalidInput(f"--devices: expected devices of one kind, such as cuda:0,cuda:1, got {arguments.devices!r}")
    return found


def _part(arguments: argparse.Namespace) -> Part:
    from vocos.data.jobs import Part

    return Part() if arguments.part is None else Part.of(arguments.part)


# Arguments


def add_arguments(parser: argparse.ArgumentParser, path: Callable[[str], Path], seed: Callable[[str], int]) -> None:
    """The commands below `vocos dataset`; `path` and `seed` read their arguments."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int | None], name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command(plan, "plan", "What a dataset will be: hours, bytes, time and price. Encodes a sample.")
    _add_making(sub, path, seed)
    sub.add_argument("-o", "--output", type=path, metavar="OUT", help="write the plan there, for encode")
    sub.add_argument("--price", type=float, default=2.0, metavar="P", help="of an hour of this machine; default: 2")
    sub.add_argument("--json", action="store_true", help="print as JSON")

    sub = command(encode, "encode", "Audio to latents or codes, in shards; goes on where it was interrupted.")
    _add_making(sub, path, seed)
    sub.add_argument("-o", "--output", type=path, required=True, metavar="OUT", help="folder of the dataset")
    sub.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help="on a Ray cluster; default: one made here")
    sub.add_argument("--retry", action="store_true", help="make shards again that have items that failed")
    sub.add_argument("--json", action="store_true", help="a line of JSON for each shard")
    sub.add_argument("--quiet", action="store_true", help="no bar, and no lines but of what fails and the last")

    sub = command(verify, "verify", "Whether all checksums of a dataset are right.")
    sub.add_argument("folder", type=path, metavar="OUT")
    sub.add_argument("--deep", type=float, default=0.0, metavar="SHARE", help="encode a share of it again, from 0 to 1")

    sub = command(stats, "stats", "Mean and spread of latents, use and entropy of codes; written beside the data.")
    sub.add_argument("folder", type=path, metavar="OUT")
    sub.add_argument("--json", action="store_true", help="print as JSON")

    sub = command(merge, "merge", "Parts of one plan, made in several folders, into the first.")
    sub.add_argument("folders", nargs="+", type=path, metavar="OUT")


def _add_making(parser: argparse.ArgumentParser, path: Callable[[str], Path], seed: Callable[[str], int]) -> None:
    text = "audio files, folders, lists (.txt, .jsonl, .csv with path, id, start, stop), or tars of audio"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=text)
    parser.add_argument("--voco", "--codec", required=True, metavar="NAME", help="one of `vocos list`")
    parser.add_argument("--weights", help="Hub repository, folder or file; default: those of the codec")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--latents", action="store_true", help="continuous latents; the default")
    what.add_argument("--codes", action="store_true", help="codes, as the smallest integers that hold them")
    parser.add_argument("--n-codebooks", type=int, metavar="K", help="codes of a frame; default: all")
    parser.add_argument("--bandwidth", type=float, metavar="B", help="or the rate in kbps, for codecs that have rates")
    parser.add_argument("--dtype", choices=DTYPES, help=f"of stored latents; default: {DTYPES[0]}")
    chance = parser.add_mutually_exclusive_group()
    chance.add_argument("--mean", dest="draw", action="store_false", default=None, help="the mean of a posterior")
    chance.add_argument("--draw", dest="draw", action="store_true", default=None, help="a sample of it")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of what is drawn; default: 0")
    parser.add_argument("--channels", choices=CHANNELS, default=CHANNELS[0], help="of files; default: mix")
    parser.add_argument("--to", choices=FORMATS, default=FORMATS[0], help="format; default: safetensors shards")
    parser.add_argument("--devices", default="cpu", metavar="D,...", help="such as cuda:0,cuda:1; default: cpu")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; default: one for each core or GPU")
    parser.add_argument("--part", metavar="K/N", help="only each N-th shard, for schedulers")
    parser.add_argument(
        "--shard-seconds", type=float, default=20_000.0, metavar="S", help="audio in a shard, about; default: 20000"
    )
