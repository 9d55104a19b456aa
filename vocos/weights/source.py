"""Facts of public checkpoints as plain data: where each is, its licence, size and paper."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, TypeVar

DEFAULT_REPOSITORY = "optimizerai/vocos"  # private: strangers have no access
REPOSITORY_VARIABLE = "VOCOS_REPO"

ConfigT_co = TypeVar("ConfigT_co", covariant=True)


@dataclass(frozen=True)
class Source:
    """Where a public checkpoint is, and what its user must know.

    Attributes:
        repository: on the Hub.
        subfolder: of the repository.
        license: identifier of the licence of the weights, None if none is stated.
        license_url: page with the text of the licence.
        paper: arXiv identifier.
        revision: commit that is fetched; None for the newest, where no commit is known.
        sha256: of the file of weights, in hexadecimal, where it is known.
        size_mb: megabytes (10^6 bytes) of the file of weights, where they are known.
        is_gated: whether the Hub asks for a token; None if that is not known.
        is_commercial: whether the licence allows commercial use; None if it does not say.
    """

    repository: str
    subfolder: str | None = None
    license: str | None = None
    license_url: str | None = None
    paper: str | None = None
    revision: str | None = None
    sha256: str | None = None
    size_mb: float | None = None
    is_gated: bool | None = None
    is_commercial: bool | None = None

    def restrictions(self) -> list[str]:
        """Restrictions that a user must know before downloading, such as that the repository is gated."""
        gated = f"gated: accept the licence at https://huggingface.co/{self.repository}"
        rules = [gated] if self.is_gated else []
        return rules + (
            [f"not for commercial use ({self.license or self.license_url})"] if self.is_commercial is False else []
        )

    def keywords(self) -> str:
        """The arguments of `get_voco` that choose this checkpoint."""
        return f"weights={self.repository!r}" + (f", subfolder={self.subfolder!r}" if self.subfolder else "")

    def terms(self) -> str:
        """The licence and the restrictions, for a message."""
        return "; ".join([self.license or self.license_url or "licence not stated", *self.restrictions()])

    def replacement(self) -> str | None:
        """The repository that the environment variable `VOCOS_REPO` names instead of the default one, None if unset."""
        return os.environ.get(REPOSITORY_VARIABLE) or None if self.repository == DEFAULT_REPOSITORY else None


@dataclass(frozen=True)
class Checkpoint(Generic[ConfigT_co]):
    """A registered checkpoint: its config, where its weights are, and what it is for.

    Attributes:
        config: the hyperparameters, built in, so that facts and lengths need no file.
        source: where the weights are; None for a codec that has none.
        about: what it is good for, in a few words.
    """

    config: ConfigT_co
    source: Source | None = None
    about: str = ""
