"""Downloading one file of a Hub repository, and checking that it is whole. The only module that makes requests."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from vocos._version import __version__
from vocos.errors import CheckpointError, WeightsUnavailable
from vocos.weights import intact, refusals
from vocos.weights.location import WEIGHT_ENDINGS, Location
from vocos.weights.refusals import NotReached

logger = logging.getLogger("vocos.hub")

MAX_DOWNLOADS = 2  # attempts for one file, for a transfer may damage it once
_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(location: Location, name: str) -> Path | None:
    """Path of a file in the cache, downloaded and checked if need be; None if the repository has no such file."""
    is_weights = name.endswith(WEIGHT_ENDINGS)
    before = _cached(location, name)
    removed: list[Path] = []
    while len(removed) < MAX_DOWNLOADS + (before is not None):
        try:
            path = _request(location, name, before if not removed else None)
        except WeightsUnavailable as error:
            lost = f"{removed[-1]} was damaged and has been removed; " if removed else ""
            raise type(error)(f"{lost}{error}") from error.__cause__
        if path is None:
            return None
        try:
            damage = intact.damage(
                path, location.sha256 if is_weights else None, functools.partial(_etag, location, name, path)
            )
        except FileNotFoundError:
            continue
        if damage is None:
            if before is None or removed:
                logger.info("downloaded %s of %s", name, location)
            if before is None and is_weights and location.notice:
                logger.warning("the weights of %s are %s", replace(location, revision=None), location.notice)
            return path
        problem = f"{path}: damaged, its content is not what {location} announces (its hash differs)"
        if _is_offline(location):
            raise CheckpointError(f"{problem}; connect once, and it is fetched again, or delete it and copy it anew")
        try:
            intact.remove(path, damage)
        except FileNotFoundError:  # somebody else has
            continue
        except OSError as error:
            raise CheckpointError(f"{problem}, and cannot be removed ({error}); delete it") from error
        removed.append(path)
    raise CheckpointError(
        f"{path}: not the file that {location} announces (its hash differs), {MAX_DOWNLOADS} times in a row; it was "
        "removed and is fetched again next time, but a proxy or mirror may alter it: try later, or pass weights= a "
        "local folder"
    )


def _is_offline(location: Location) -> bool:
    import huggingface_hub

    return location.local_files_only or huggingface_hub.constants.HF_HUB_OFFLINE


def _inside(location: Location, name: str) -> str:
    return f"{location.subfolder}/{name}" if location.subfolder else name


def _cached(location: Location, name: str) -> Path | None:
    """Path of a file that is in the cache already, at the commit that the cache last knew for the revision."""
    # Imported here, as everywhere: the client reads HF_HOME, HF_ENDPOINT and the like once, at import, and a program
    # may still want to set them.
    import huggingface_hub

    with _our_errors(location, name):
        found = huggingface_hub.try_to_load_from_cache(
            str(location.weights), _inside(location, name), cache_dir=location.cache_dir, revision=location.revision
        )
    return Path(found) if isinstance(found, str) else None


def _request(location: Location, name: str, before: Path | None) -> Path | None:
    """Path in the cache, into which the client downloads a missing file; None if the repository has no such file."""
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if before is not None and _COMMIT.fullmatch(location.revision or ""):
        return before  # what is in a commit does not change
    try:
        with _our_errors(location, name), nullcontext() if _is_offline(location) else refusals.patience():
            return Path(
                huggingface_hub.hf_hub_download(
                    str(location.weights),
                    name,
                    subfolder=location.subfolder,
                    revision=location.revision,
                    token=location.token,
                    cache_dir=location.cache_dir,
                    local_files_only=location.local_files_only,
                    library_name="vocos",
                    library_version=__version__,
                )
            )
    except RemoteEntryNotFoundError:
        return None
    except NotReached as error:
        if before is not None and isinstance(error.__cause__, refusals.AskedToWait):
            return before  # as the client does when the Hub answers with an error
        raise


def _etag(location: Location, name: str, path: Path) -> str | None:
    """The ETag that the Hub gives a file, or None if the Hub does not answer: then the file is used unchecked."""
    import huggingface_hub

    if _is_offline(location):
        return None
    try:
        with refusals.patience():
            url = huggingface_hub.hf_hub_url(
                str(location.weights), _inside(location, name), revision=intact.commit_in(path)
            )
            return huggingface_hub.get_hf_file_metadata(url, token=location.token).etag
    except Exception:  # of the client's HTTP library
        return None


@contextmanager
def _our_errors(location: Location, name: str) -> Iterator[None]:
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        yield
    except RemoteEntryNotFoundError:
        raise
    except Exception as error:  # the client lets errors of its HTTP library through, which differ between its versions
        raise refusals.explained(
            error, name, str(location.weights), location.revision, location.token, location.instead
        ) from error


def cached_commits(location: Location, names: tuple[str, ...]) -> str:
    """A hint at commits in the cache, for a file that was fetched by its commit is not found by a branch's name."""
    import huggingface_hub

    cache = Path(location.cache_dir or huggingface_hub.constants.HF_HUB_CACHE)
    folder = cache / f"models--{str(location.weights).replace('/', '--')}" / "snapshots"
    inside = [Path(location.subfolder or "", name) for name in names]
    commits = sorted(commit.name for commit in folder.glob("*") if any((commit / name).is_file() for name in inside))
    return f"; the cache has it with revision={' or '.join(map(repr, commits[:3]))}" if commits else ""
