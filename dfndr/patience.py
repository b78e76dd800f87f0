"""Patience with what is elsewhere: what may pass is tried again, a bounded number of times, after waits that grow.

The waits vary at random, so that many processes that were refused together do not come back together; a server that
asks for a longer one by `Retry-After` is given it. What no try can mend (a wrong name, no permission, a mistake in the
arguments) is raised at once.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from dfndr.errors import DfndrError

__all__ = ["ATTEMPTS", "GaveUp", "may_pass", "patiently", "status_of", "tries", "words_of"]

ATTEMPTS = 8
"""How often a request is made at most: where one in five fails by chance, one in 400,000 fails so often."""

FIRST_WAIT_S, VARIED_S, LONGEST_WAIT_S = 0.1, 0.5, 8.0
"""A wait is the first one doubled after each failure, and up to VARIED_S more: 13 to 17 s in all."""

_LONGEST_ASKED_S = 60.0
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_AGAIN_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
"""Codes of S3 under which a request came to harm on its way, or met another one; their status alone does not say so."""

_FINAL = (
    FileExistsError,
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class GaveUp(OSError):
    """What may pass did not, however often it was tried; the last failure is its cause."""


def patiently(work: Callable[[], _Result]) -> _Result:
    """Return what the work gives, tried again while it fails in a way that may pass; then raises its last error."""
    for attempt in tries():
        with attempt:
            return work()
    raise GaveUp("no try was made")  # not reached: the last try raises


def tries() -> Any:  # noqa: ANN401  an iterator, and an asynchronous one
    """Return stamina's attempts, to be gone through by `for` or `async for`: each is a context to make a try in."""
    import stamina

    logging.getLogger("stamina").setLevel(logging.ERROR)  # else a line of its own for each try
    return stamina.retry_context(
        on=_told,
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=FIRST_WAIT_S,
        wait_jitter=VARIED_S,
        wait_max=LONGEST_WAIT_S,
    )


def _told(error: Exception) -> bool | float:
    """Say whether another try makes sense, or after how long; and tell the log of it."""
    if not may_pass(error):
        return False
    _log.info("%s; this may pass, and is tried again", words_of(error))
    asked = getattr(getattr(error, "response", None), "headers", None) or {}
    given = str(asked.get("Retry-After", "0"))
    return min(float(given), _LONGEST_ASKED_S) if given.isdigit() and float(given) else True


def may_pass(error: BaseException) -> bool:
    """Say whether the same request may succeed a little later."""
    if isinstance(error, (DfndrError, GaveUp)):
        return False
    status, code = status_of(error), _code_of(error)
    if status is not None or code:
        return status in _AGAIN or code in _AGAIN_CODES
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError"):
        return False  # of botocore, which is not loaded here
    return not isinstance(error, _FINAL) or isinstance(error, http.client.HTTPException)


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error, None where there was no answer."""
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, dict):  # of botocore
            status: object = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(answer, "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None


def _code_of(error: BaseException | None) -> str:
    """Return the code that S3 gave an error, "" where there is none."""
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, dict):
            return str(answer.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def words_of(error: BaseException) -> str:
    """Return what went wrong in one line, without what follows the question mark of an address: it may be secret."""
    import re

    if isinstance(error, GaveUp) and error.__cause__ is not None:
        return f"{words_of(error.__cause__)}, {error}"
    status, code = status_of(error), _code_of(error)
    told = getattr(error, "server_message", None) or ("" if status is not None and not code else str(error))
    text = re.sub(r"\?\S*|^\[Errno -?\d+\] ", "", " ".join(str(told).split()))[:200].rstrip(".")
    if status is not None:
        return f"status {status}" + (f" ({text})" if text else "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
