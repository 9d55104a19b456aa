"""Finding files of weights and configs, on this machine or on the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vocos.errors import WeightsUnavailable
from vocos.weights import intact
from vocos.weights.download import cached_commits, download
from vocos.weights.location import Location
from vocos.weights.refusals import NotReached
from vocos.weights.shards import listing, other_names, parts_of

# Pairs of config and weights, as files in a folder or repository, the likelier first; the config may be inside.
Layouts = tuple[tuple[str | None, str], ...]


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
    unreachable: NotReached | None = None
    for name in names:
        try:
            # Once the Hub did not answer, only the cache is asked: every further request would wait as long.
            path = download(replace(location, local_files_only=True) if unreachable else location, name)
        except NotReached as error:
            unreachable = unreachable or error
            continue
        if path is not None:
            return path
    if unreachable:
        raise WeightsUnavailable(f"{unreachable}{cached_commits(location, names)}") from unreachable.__cause__
    return None


def find_config(location: Location, layouts: Layouts) -> Path | None:
    """Path of the config file that belongs to the weights at a location, None if there is none.

    Beside a single file of weights it is the JSON of its name, or the first that one of the layouts names.
    """
    path = location.path
    names = list(dict.fromkeys(config for config, _ in layouts if config))
    if path is not None and path.is_file():
        beside = [name for name in (f"{path.stem}.json", *names) if name != path.name]
        return find(Location(str(path.parent)), *beside)
    return find(location, *names)


def find_weights(location: Location, layouts: Layouts, config: Path | None = None) -> Path:
    """Path of the file of weights at a location, in the layout whose config `find_config` found, if it found one.

    It is of the same commit as the config, whatever has been pushed to the repository since.

    Raises:
        WeightsUnavailable: if there is none.
    """
    location = at_commit_of(location, config)
    path = location.path
    if path is not None and path.is_file():
        return path
    fitting = [weights for name, weights in layouts if name and config and config.as_posix().endswith(f"/{name}")]
    names = dict.fromkeys([*fitting, *(weights for _, weights in layouts)])
    candidates = [*names, *other_names(names)]
    found = find(location, *candidates)
    if found is None:
        raise WeightsUnavailable(f"weights: {location} has none of {', '.join(names)}{listing(path)}")
    for part in parts_of(found):
        folders = dict.fromkeys(Path(name).parent for name in candidates if found.as_posix().endswith(f"/{name}"))
        if find(location, *((folder / part).as_posix() for folder in folders)) is None:
            raise WeightsUnavailable(f"weights: {location} has no {part}, which {found.name} names{listing(path)}")
    return found


def at_commit_of(location: Location, path: Path | None) -> Location:
    """The same place at the commit of a file found there: files that are read together were written together."""
    commit = commit_of(location, path) if path else None
    return replace(location, revision=commit, is_known=True) if commit else location


def commit_of(location: Location, path: Path) -> str | None:
    """The commit that a file of a Hub repository is of, as the client's cache has it in the path; None if unknown."""
    return intact.commit_in(path) if location.path is None else None
