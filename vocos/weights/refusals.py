"""Errors of the Hub and of its client, explained to the user; and a limit on how long the Hub may make us wait."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from vocos.errors import WeightsUnavailable

MAX_WAIT_SECONDS = 30  # that the Hub may ask for during one download; the client would wait for hours
_DISK_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR}
_LOG_IN = "log in with `hf auth login`, set HF_TOKEN, or pass token="
_ADVICE = {
    401: f"the token is not accepted: {_LOG_IN}",
    403: "the token may lack the right to read this repository, or something on the way forbids it",
    429: f"try again later; those who {_LOG_IN} may ask more often",
}
_FAULT = "the fault is the Hub's: try again later"
_waited = threading.local()


class NotReached(WeightsUnavailable):
    """The file is not in the cache, and the Hub was not asked or did not say whether it has the file."""


class AskedToWait(Exception):
    """The Hub asks for a longer wait than `MAX_WAIT_SECONDS`."""

    def __init__(self, response: Any, seconds: int) -> None:
        super().__init__(f"wait {seconds} s")
        self.response, self.seconds = response, seconds


@contextmanager
def patience() -> Iterator[None]:
    """Within it, and in this thread alone, an answer that asks for too long a wait raises `AskedToWait`."""
    from huggingface_hub import get_session

    hooks = get_session().event_hooks["response"]  # of the client's HTTP library; every request of a process shares it
    if _refuse_to_wait not in hooks:
        hooks.append(_refuse_to_wait)
    _waited.seconds = 0
    try:
        yield
    finally:
        del _waited.seconds


def _refuse_to_wait(response: Any) -> None:
    before = getattr(_waited, "seconds", None)
    if before is None or response.status_code < 400:
        return
    limit = re.search(r"\bt=(\d+)", response.headers.get("ratelimit", "")) if response.status_code == 429 else None
    asked = limit[1] if limit else response.headers.get("retry-after", "")
    _waited.seconds += int(asked) if re.fullmatch(r"\d{1,9}", asked) else 0
    if _waited.seconds > MAX_WAIT_SECONDS:
        raise AskedToWait(response, int(asked))


def explained(
    error: Exception, name: str, repository: str, revision: str | None, token: str | bool | None, instead: str
) -> WeightsUnavailable:
    """The exception that explains an error of the client, whose classes differ between its versions.

    Args:
        error: as caught.
        name: of the file.
        repository: on the Hub.
        revision: asked for.
        token: kept out of the message.
        instead: what else can be used where access is refused, as the end of a sentence.
    """
    from huggingface_hub import errors

    file, kind = f"{name!r} of {repository!r}", WeightsUnavailable
    if isinstance(error, errors.GatedRepoError):  # before RepositoryNotFoundError, which it is a kind of
        kind = NotReached
        reason = f"{repository!r} is gated; accept its licence at https://huggingface.co/{repository}, then {_LOG_IN}"
        reason += instead
    elif isinstance(error, errors.RepositoryNotFoundError):
        kind = NotReached
        reason = f"{repository!r} does not exist on the Hub, or is private; check the name, and for a private one "
        reason += f"{_LOG_IN} (weights= also takes a local folder or file){instead}"
    elif isinstance(error, errors.RevisionNotFoundError):
        reason = f"{repository!r} has no revision {revision!r}; leave revision= out for the newest"
    elif isinstance(error, errors.HFValidationError):
        reason = f"{repository!r} is not a repository name: {_line(error)}"
    elif refusal := _refusal(error):
        kind = NotReached
        reason = f"{file}: {_answer(refusal, error)}{instead if refusal.status_code in (401, 403) else ''}"
    elif isinstance(error, errors.LocalEntryNotFoundError):
        kind = NotReached
        reason = f"{file} is not in the cache and the Hub was not reached (no network, HF_HUB_OFFLINE, or "
        reason += "local_files_only=True); connect once to download it, or pass weights= a local folder"
    elif isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        reason = f"{file} cannot be written to the cache ({error}); make room or choose another folder with HF_HOME or "
        reason += "cache_dir="
    else:
        problem = f"{type(error).__name__}: {_line(error)}"
        if isinstance(token, str) and token.strip():  # HTTP libraries show a header that they cannot send
            problem = problem.replace(token, "***").replace(repr(token)[1:-1], "***")
        reason = f"downloading {file} failed: {problem}; try again, or pass weights= a local folder"
    return kind(f"weights: {reason}")


def _refusal(error: BaseException) -> Any:
    """The HTTP response that an error comes from; None if there was none, or if its status is below 400."""
    while error is not None:
        response = getattr(error, "response", None)
        if getattr(response, "status_code", 0) >= 400:
            return response
        error = error.__cause__  # type: ignore[assignment]
    return None


def _answer(response: Any, error: Exception) -> str:
    status = response.status_code
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    said = response.headers.get("x-error-message", "")[:200]
    wait = f", and asks to wait {error.seconds} s" if isinstance(error, AskedToWait) else ""
    advice = _ADVICE.get(status, _FAULT if status >= 500 else "try again later")
    return (
        f"the Hub answered {status} {phrase}".rstrip()
        + (f" ({_line(said)})" if said else "")
        + f"{wait}; {advice}, or pass weights= a local folder"
    )


def _line(text: object) -> str:
    return " ".join(str(text).split())
