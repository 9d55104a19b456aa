"""Files in and files out: what becomes what, and what the commands do alike with each of many."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocos.cli.lines import FAILURES, complain, reason, tell
from vocos.errors import InvalidInput
from vocos.files.places import files_in

STREAM = Path("-")  # stdin or stdout
PIECE = 1 << 20  # bytes of a pipe


@dataclass(frozen=True)
class Kind:
    """Files that a command reads or writes.

    Attributes:
        what: they are, with its verb.
        endings: of their names; what is written without a name has the first.
        flows: whether they go through pipes as they come, written in the format of the first ending; if not, a
            temporary file takes the place of a pipe.
    """

    what: str
    endings: Sequence[str]
    flows: bool = False


@dataclass(frozen=True)
class Job:
    """One file in, one file out."""

    source: Path
    target: Path

    def place(self) -> Path:
        """The target, in a folder that is made when there is something to put into it."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        return self.target


Work = Callable[[Job], tuple[str, list[str]]]  # a line about the result, and remarks on what was converted or clipped


class Batch:
    """The files of one command: each that fails gets a line of its own, and the others go on."""

    def __init__(self, arguments: argparse.Namespace, read: Kind, written: Kind) -> None:
        self._is_quiet, self._stops_at_first = arguments.quiet, arguments.stop
        self._read, self._written = read, written
        self._failed = 0
        jobs, problems = planned(arguments.inputs, arguments.output, read, written)
        self._total = len(jobs) + len(problems)
        if arguments.skip_existing:
            left = [job for job in jobs if is_pipe(job.target) or not job.target.exists()]
            if len(left) < len(jobs) and not self._is_quiet:
                complain(f"{len(jobs) - len(left)} of {len(jobs)} outputs are there already")
            jobs = left
        for problem in problems:
            self._fail(problem)
        self._jobs = [] if self._is_stopped else jobs

    @property
    def has_work(self) -> bool:
        """Whether anything is left for which a codec is to be loaded."""
        return bool(self._jobs)

    @property
    def _is_stopped(self) -> bool:
        return self._stops_at_first and self._failed > 0

    def each(self, work: Work) -> int:
        """Do the work for one file after the other. Returns the exit code."""
        from tqdm import tqdm

        for job in tqdm(self._jobs, unit="file", disable=self._is_quiet or None, leave=False):
            if self._is_stopped:
                break
            self._try(job, work)
        if self._failed and self._total > 1:
            complain(f"{self._failed} of {self._total} files failed{', stopped' if self._is_stopped else ''}")
        return int(self._failed > 0)

    def _try(self, job: Job, work: Work) -> None:
        local = job
        try:
            with _as_files(job, self._read, self._written) as local:
                what, done = work(local)
        except BrokenPipeError:  # the reader of stdout has seen enough
            raise
        except FAILURES as error:
            text = reason(error)
            for there, here in ((local.source, job.source), (local.target, job.target)):
                text = text.replace(str(there), str(here)) if there != here else text
            is_named = text.startswith((f"{job.source}:", f"{job.target}:"))
            self._fail(text if is_named else f"{job.source}: {text}")
        else:
            if not self._is_quiet:
                tell(f"{job.target}: {'; '.join([what, *done])}", sys.stderr if job.target == STREAM else sys.stdout)

    def _fail(self, text: str) -> None:
        if not self._is_stopped:
            self._failed += 1
            complain(text)


# Planning


def planned(inputs: Sequence[Path], output: str, read: Kind, written: Kind) -> tuple[list[Job], list[str]]:
    """What is to be done, checked before any work, and what cannot be.

    One input goes to a file, or like several into a folder. Of a folder the files are taken that can be read, and their
    tree is kept, below its name if there are several inputs. Names that differ in their ending only keep it:
    `a.wav.safetensors` and `a.flac.safetensors`.

    Raises:
        InvalidInput: if the outputs cannot be as asked for, or would overwrite each other or an input.
    """
    place = Path(output)
    problems: list[str] = []
    if len(inputs) == 1 and not inputs[0].is_dir() and _is_file_name(output):
        _check_name(place, written)
        found = [(inputs[0], Path())]
    elif is_pipe(place):
        raise InvalidInput(f"{place}: takes the output of one file; several, or a folder, need a folder")
    elif place.exists() and not place.is_dir():
        raise InvalidInput(f"{place}: several inputs need a folder, this is a file")
    else:
        found, problems = _found(inputs, place, read)
    problems += [f"{source}: no such file" for source, _ in found if source != STREAM and not source.exists()]
    jobs = [Job(source, target) for source, target in zip(*_targets(found, place, written.endings[0]), strict=True)]
    _check_inputs_stay(jobs)
    return [job for job in jobs if job.source == STREAM or job.source.exists()], problems


def _is_file_name(output: str) -> bool:
    """Whether the output is one file, not a folder: such as `x.wav`, `-`, or a pipe."""
    place = Path(output)
    if is_pipe(place):
        return True
    return bool(place.suffix) and not output.endswith(("/", os.sep)) and not place.is_dir()


def _check_name(place: Path, written: Kind) -> None:
    if is_pipe(place):
        return
    if place.suffix.lower() not in written.endings:
        raise InvalidInput(
            f"{place}: {written.what} written as {', '.join(written.endings)}, not as {place.suffix!r}; the name of a "
            "folder may end in /"
        )
    if not place.parent.is_dir():
        raise InvalidInput(f"{place}: the folder {place.parent} does not exist")


def _found(inputs: Sequence[Path], output: Path, read: Kind) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Files, each with where it is below the folder it was found in; and what is wrong with folders."""
    found, problems = [], []
    for path in inputs:
        if not path.is_dir():
            found.append((path, Path("stdin" if path == STREAM else path.name)))
            continue
        below = Path(path.resolve().name if len(inputs) > 1 else "")
        errors: list[OSError] = []
        files = list(files_in(path, output, read.endings, errors))
        found += [(file, below / file.relative_to(path)) for file in files]
        problems += [reason(error) for error in errors]
        if not files and not errors:
            problems.append(f"{path}: holds no files that end in {', '.join(read.endings)}")
    return found, problems


def _targets(found: list[tuple[Path, Path]], place: Path, ending: str) -> tuple[list[Path], list[Path]]:
    """Sources and their targets, no two of which are the same."""
    short = [place / name.with_name(f"{name.stem}{ending}") if name.name else place for _, name in found]
    names: dict[Path, set[str]] = {}
    for target, (_, name) in zip(short, found, strict=True):
        names.setdefault(target, set()).add(name.name)
    sources: dict[Path, Path] = {}
    for target, (source, name) in zip(short, found, strict=True):
        unique = target if len(names[target]) == 1 else place / name.with_name(f"{name.name}{ending}")
        if unique in sources:
            raise InvalidInput(f"{sources[unique]} and {source} would both become {unique}")
        sources[unique] = source
    return list(sources.values()), list(sources)


def _check_inputs_stay(jobs: list[Job]) -> None:
    """Raise InvalidInput if an output is one of the inputs, by whatever name."""
    inputs = {(status.st_dev, status.st_ino) for job in jobs if (status := _status(job.source))}
    for job in jobs:
        status = _status(job.target)
        if status and (status.st_dev, status.st_ino) in inputs:
            raise InvalidInput(f"{job.target}: is an input, which would be overwritten; choose another output")


def _status(path: Path) -> os.stat_result | None:
    """Of a regular file."""
    return path.stat() if path.is_file() else None


# Pipes


def is_pipe(path: Path) -> bool:
    """Whether it is stdin or stdout, or a pipe or device that has a name."""
    return path == STREAM or (path.exists() and not path.is_file() and not path.is_dir())


@contextmanager
def piped(path: Path, mode: str) -> Iterator[Any]:
    """The pipe of that name, open to be read ("rb") or written ("wb"); None if it is a file."""
    if not is_pipe(path):
        yield None
    elif path != STREAM:
        with path.open(mode, buffering=-1 if mode == "rb" else 0) as stream:
            yield stream
    elif mode == "rb":
        yield sys.stdin.buffer
    else:
        sys.stdout.flush()
        yield getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)  # no buffer keeps what could not be written


@contextmanager
def _as_files(job: Job, read: Kind, written: Kind) -> Iterator[Job]:
    """The job with temporary files in the place of pipes through which nothing flows: what has its length in front."""
    ending = job.target.suffix or written.endings[0]
    is_copied = is_pipe(job.source) and not read.flows
    is_copied_out = is_pipe(job.target) and not (written.flows and ending.lower() == written.endings[0])
    if not (is_copied or is_copied_out):
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="vocos-") as folder:
        source, target = job.source, job.target
        if is_copied:
            source = Path(folder, "in")
            with source.open("wb") as copy, piped(job.source, "rb") as stream:
                shutil.copyfileobj(stream, copy)
        if is_copied_out:
            target = Path(folder, f"out{ending}")
        yield Job(source, target)
        if is_copied_out:
            try:
                with target.open("rb") as copy, piped(job.target, "wb") as stream:
                    while piece := memoryview(copy.read(PIECE)):
                        while piece:
                            piece = piece[stream.write(piece) :]
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(job.target)) from error
