"""Where the user says that weights are: the keywords of `get_voco`."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path

from vocos.errors import InvalidInput

WEIGHT_ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".th")
_REPOSITORY_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILE_ENDINGS = (*WEIGHT_ENDINGS, ".json", ".yaml")


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
        is_known: whether `weights` is certainly a Hub repository, even if a local folder has the same name.
        sha256: SHA-256 that the downloaded file of weights must have, where it is known.
        notice: restrictions of the licence, logged as a warning after the file of weights has been downloaded.
        name: registered name of the codec, which picks the default checkpoint; None for the first of the class.
        instead: end of the error message where access is refused, which names public checkpoints to use instead.
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
    instead: str = ""

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
