"""Where a file is: on this machine, or on the Hugging Face Hub. The only module that talks to the Hub."""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from vocos._version import __version__
from vocos.errors import CheckpointError, InvalidInput, WeightsUnavailable

logger = logging.getLogger("vocos.hub")

MAX_DOWNLOADS = 2  # of one file, for a transfer may spoil it once
_REPOSITORY_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_WEIGHT_ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".th")
_FILE_ENDINGS = (*_WEIGHT_ENDINGS, ".json", ".yaml")
_DISK_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR}

# Pairs of config and weights, as files in a folder or repository, the likelier first; the config may be inside.
Layouts = tuple[tuple[str | None, str], ...]


@dataclass(frozen=True)
class Location:
    """Where to look for weights; the fields are the keywords of `get_voco`.

    Attributes:
        weights: a Hub repository `org/name`, or the path of a folder or file; None for a codec's default.
        subfolder: of the repository or folder.
        revision: branch, tag or commit of the repository.
        token: for the Hub; kept out of `repr`, so that it reaches no log.
        cache_dir: of the Hub's client.
        local_files_only: make no request.
        is_known: `weights` is a repository of ours, whatever folders there are.
        sha256: that a download of the file of weights must have, where it is known.
        notice: warning that is logged after the download of the file of weights.
        name: registered name of the codec, whose row says what its default checkpoint is; None for the first row.
    """

    weights: str | None = None
    subfolder: str | None = None
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | None = None
    local_files_only: bool = False
    is_known: bool = False
    sha256: str | None = None
    notice: str = ""
    name: str | None = None

    def __post_init__(self) -> None:
        if self.subfolder is not None and (".." in Path(self.subfolder).parts or Path(self.subfolder).is_absolute()):
            raise InvalidInput(f"weights: subfolder {self.subfolder!r} leaves the place that it is a folder of")

    @functools.cached_property
    def path(self) -> Path | None:
        """The local folder or file, None for a Hub repository. The first use decides which it is, for good."""
        if self.weights is None:
            return None
        path = Path(self.weights).expanduser().absolute()
        is_repository = _REPOSITORY_ID.fullmatch(self.weights) and not self.weights.endswith(_FILE_ENDINGS)
        if self.is_known or (is_repository and not path.exists()):
            return None
        return path / self.subfolder if self.subfolder else path

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        place = f"{self.weights}/{self.subfolder}" if self.subfolder else str(self.weights)
        return f"{place}@{self.revision}" if self.revision else place


def find(location: Location, *names: str) -> Path | None:
    """Path on this machine of the first of these files that exists, downloaded first if it is on the Hub.

    Returns:
        The path, or None if the place can be reached and has none of them.

    Raises:
        WeightsUnavailable: if the place cannot be reached; the message says what to do.
    """
    folder = location.path
    if folder is None:
        return _find_on_hub(location, names)
    if not folder.exists():
        raise WeightsUnavailable(
            f"weights: there is no file or folder {str(folder)!r}; give one that exists, or a Hub repository 'org/name'"
        )
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _find_on_hub(location: Location, names: tuple[str, ...]) -> Path | None:
    unreachable: WeightsUnavailable | None = None
    for name in names:
        try:
            # Once the Hub has not answered, only the cache is asked: every other try would wait as long.
            path = _download(replace(location, local_files_only=True) if unreachable else location, name)
        except _NotReached as error:
            unreachable = unreachable or error
            continue
        if path is not None:
            return path
    if unreachable:
        raise WeightsUnavailable(str(unreachable)) from unreachable.__cause__
    return None


def find_config(location: Location, layouts: Layouts) -> Path | None:
    """Path of the config of the weights at a place, None if the weights come without one.

    Beside a single file of weights it is the JSON of its name, or the first that one of the layouts names.
    """
    path = location.path
    names = list(dict.fromkeys(config for config, _ in layouts if config))
    if path is not None and path.is_file():
        return find(Location(str(path.parent)), f"{path.stem}.json", *names)
    return find(location, *names)


def find_weights(location: Location, layouts: Layouts, config: Path | None = None) -> Path:
    """Path of the file of weights at a place, of the layout whose config `find_config` found, if it found one.

    Raises:
        WeightsUnavailable: if there is none.
    """
    path = location.path
    if path is not None and path.is_file():
        return path
    fitting = [weights for name, weights in layouts if name and config and config.as_posix().endswith(f"/{name}")]
    names = dict.fromkeys([*fitting, *(weights for _, weights in layouts)])
    found = find(location, *names)
    if found is None:
        raise WeightsUnavailable(f"weights: {location} has none of {', '.join(names)}")
    return found


def commit_of(location: Location, path: Path) -> str | None:
    """The commit that a file of a Hub repository is of, as the client's cache has it in the path; None if unknown."""
    found = re.search(r"/snapshots/([0-9a-f]{40})/", path.as_posix()) if location.path is None else None
    return found[1] if found else None


class _NotReached(WeightsUnavailable):
    """The Hub did not answer, or was not asked, and the file is not in the cache."""


def _download(location: Location, name: str) -> Path | None:
    # Imported here: the client reads HF_HOME, HF_ENDPOINT and the like once, at import, and a program may still
    # want to set them.
    import huggingface_hub

    before = huggingface_hub.try_to_load_from_cache(
        str(location.weights), f"{location.subfolder}/{name}" if location.subfolder else name,
        cache_dir=location.cache_dir, revision=location.revision,
    )  # fmt: skip
    expected = location.sha256 if name.endswith(_WEIGHT_ENDINGS) else None
    for _ in range(MAX_DOWNLOADS):
        path = _request(location, name)
        if path is None or (isinstance(before, str) and Path(before).resolve() == path.resolve()):
            return path
        logger.info("downloaded %s of %s", name, location)
        if _is_intact(path, expected):
            if location.notice and name.endswith(_WEIGHT_ENDINGS):
                logger.warning("the weights of %s are %s", location, location.notice)
            return path
        # Out of the cache, where it would be taken for good from now on, by every program of this user.
        for file in (path.resolve(), path):
            file.unlink(missing_ok=True)
    raise CheckpointError(
        f"{path}: not the file that {location} announces (its SHA-256 differs), twice in a row; a proxy or mirror may "
        "alter it: try again later, or pass weights= a local folder"
    )


def _is_intact(path: Path, sha256: str | None) -> bool:
    """Whether a download has the hash known, or else the one that the Hub names large files by."""
    name = path.resolve().name
    expected = sha256 or (name if re.fullmatch(r"[0-9a-f]{64}", name) else None)
    if expected is None:
        return True
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == expected


def _request(location: Location, name: str) -> Path | None:
    """Path in the cache of the Hub's client, which downloads what is not there; None if the place has no such file."""
    import huggingface_hub
    from huggingface_hub import errors

    repository = str(location.weights)
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                repository,
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
    except errors.RemoteEntryNotFoundError:
        return None
    except errors.GatedRepoError as error:  # before RepositoryNotFoundError, which it is a kind of
        raise WeightsUnavailable(
            f"weights: {repository!r} is gated; accept its licence at https://huggingface.co/{repository}, then log in "
            "with `hf auth login`, set HF_TOKEN, or pass token="
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsUnavailable(
            f"weights: {repository!r} does not exist on the Hub, or is private; check the name, and for a private one "
            "log in with `hf auth login`, set HF_TOKEN, or pass token= (weights= also takes a local folder or file)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsUnavailable(
            f"weights: {repository!r} has no revision {location.revision!r}; leave revision= out for the newest"
        ) from error
    except errors.HFValidationError as error:
        raise WeightsUnavailable(f"weights: {repository!r} is not a repository name: {error}") from error
    except errors.LocalEntryNotFoundError as error:
        raise _NotReached(
            f"weights: {name!r} of {repository!r} is not in the cache and the Hub was not reached (no network, "
            "HF_HUB_OFFLINE, or local_files_only=True); connect once to download it, or pass weights= a local folder"
        ) from error
    except Exception as error:  # the client lets errors of its HTTP library through, which differ between its versions
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise WeightsUnavailable(
                f"weights: {name!r} of {repository!r} cannot be written to the cache ({error}); make room or choose "
                "another folder with HF_HOME or cache_dir="
            ) from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())  # some of the client's have several lines
        raise WeightsUnavailable(
            f"weights: downloading {name!r} of {repository!r} failed: {reason}; try again, or pass weights= a local "
            "folder"
        ) from error
