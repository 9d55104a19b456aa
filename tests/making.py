"""Datasets that are made, and what is in their folders."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from vocos.data import jobs
from vocos.data.settings import Settings

RATE = 24_000


def made(
    output: Path,
    *sources: Path | str,
    voco: str = "griffinlim",
    shard_seconds: float = 1.5,
    workers: int = 1,
    **options: Any,
) -> list[dict[str, Any]]:
    """Make a dataset, or go on with it; gives what the index says of its shards, in order."""
    job = jobs.begin(
        output, [str(source) for source in sources], Settings(voco, **options), shard_seconds=shard_seconds
    )
    done, left = job.split()
    return sorted([*done, *jobs.run(job, left, workers=workers)], key=lambda about: about["shard"])


def content(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
