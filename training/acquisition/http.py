"""Fetching over HTTP as a guest should: few connections, time-outs, patience between tries."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader, ReadTimeoutError

from napari_brainvae.io.progress import Stopped
from napari_brainvae.io.regular_files import regular_file

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 10
WORTH_SAYING_SECONDS = 5
LONGEST_WAIT_SECONDS = 600
"""No pause is longer, whoever asks for it."""

CHUNK_BYTES = 1 << 20


class Damaged(Exception):
    """What arrived is not what was asked for; asking again may help."""


@dataclass
class Connection:
    """How the service is asked.

    Attributes
    ----------
    connections
        Largest number of requests at a time.
    timeout
        Seconds without a single byte after which a transfer counts as stalled.
    tries
        How often something is tried before it counts as failed.
    backoff
        Seconds before the second try; doubled, with jitter, before each further one.
    received
        Told the size of every piece that arrives, from any thread.
    stop
        Once set, all transfers and waits end with `Stopped`.
    """

    connections: int = 2
    timeout: float = 60
    tries: int = 8
    backoff: float = 2
    received: Callable[[int], None] = lambda size: None
    stop: Event = field(default_factory=Event)

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        session.headers["User-Agent"] = "napari-brainvae"
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=self.connections, pool_block=True))
        return session

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def _get(self, url: str, **headers: str) -> requests.Response:
        if self.stop.is_set():
            raise Stopped("stopped")
        return self._session.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, self.timeout)
        )

    def get_json(self, url: str) -> Any:
        """Ask the Allen API once; the answer holds its records under ``msg``.

        Raises
        ------
        requests.RequestException
            If there was no answer.
        Damaged
            If the answer says that the query failed, or is none of this service.
        """
        with self._get(url) as response:
            response.raise_for_status()
            try:
                answer = response.json()
            except requests.exceptions.JSONDecodeError:
                raise
            except (ValueError, RecursionError) as error:  # a number, or a nesting, without end
                raise Damaged(f"the answer cannot be read: {error}") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("msg"), list):
            raise Damaged(f"unexpected answer: {str(answer)[:100]}")
        return answer

    def get_file(self, url: str, path: Path) -> None:
        """Fetch a file once, going on from what ``path`` holds already if the server allows.

        Whether the pieces fit together is for the reader of the file to check.

        Raises
        ------
        requests.RequestException
            If the transfer failed or stalled; what has arrived is kept.
        OSError
            If it cannot be written.
        """
        have = regular_file(path).stat().st_size if path.exists() else 0
        # "identity": ranges and lengths must be those of the file, not of a compressed transfer.
        headers = {"Accept-Encoding": "identity"}
        with self._get(url, **headers, **({"Range": f"bytes={have}-"} if have else {})) as response:
            about = response.headers.get("Content-Range", "")
            if response.status_code == requests.codes.range_not_satisfiable:
                if about == f"bytes */{have}":
                    return  # it was complete already
                path.unlink(missing_ok=True)
                about = about or "that there are no such bytes"
                raise Damaged(f"{path.name} had {have} bytes, the server says {about}")
            response.raise_for_status()
            resumed = about.startswith(f"bytes {have}-")
            if response.status_code == requests.codes.partial_content and not resumed:
                raise Damaged(f"asked for bytes from {have} on, got {about}")
            with open(path, "ab" if resumed else "wb") as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    if self.stop.is_set():
                        raise Stopped("stopped")
                    file.write(chunk)
                    self.received(len(chunk))

    def persistently(self, action: Callable[[], T]) -> T:
        """Call ``action`` until it succeeds, patiently; the last error is raised in the end."""
        retrying = Retrying(
            stop=stop_after_attempt(self.tries),
            wait=self._wait,
            retry=retry_if_exception(may_pass),
            sleep=sleep_using_event(self.stop),
            before_sleep=_say_so,
            reraise=True,
        )
        return retrying(action)

    def _wait(self, state: RetryCallState) -> float:
        """Seconds to wait: longer with every try, and what the server asked for within reason."""
        error = state.outcome.exception() if state.outcome else None
        headers = getattr(getattr(error, "response", None), "headers", {})
        try:
            asked = Retry().parse_retry_after(headers.get("Retry-After", "0"))
        except (InvalidHeader, ValueError, OverflowError):  # the latter for numbers without end
            asked = 0.0
        if asked > LONGEST_WAIT_SECONDS:
            log.warning(
                "the server asks for a pause of %.0f s; trying again after %d s",
                asked,
                LONGEST_WAIT_SECONDS,
            )
            asked = float(LONGEST_WAIT_SECONDS)
        longer = wait_exponential(self.backoff, max=LONGEST_WAIT_SECONDS)
        return max(asked, longer(state) + wait_random(0, self.backoff)(state))


def _say_so(state: RetryCallState) -> None:
    """Let nobody sit before a terminal that says nothing."""
    error = state.outcome.exception() if state.outcome else None
    seconds = state.next_action.sleep if state.next_action else 0.0
    if isinstance(error, Exception) and seconds >= WORTH_SAYING_SECONDS:
        log.warning("%s: trying again after %.0f s", reason(error), seconds)


def may_pass(error: BaseException) -> bool:
    """Whether an error may be gone at the next try."""
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        return status >= 500 or status in (
            requests.codes.request_timeout,
            requests.codes.too_many_requests,
        )
    return isinstance(
        error,
        Damaged
        | requests.ConnectionError
        | requests.Timeout
        | requests.exceptions.ChunkedEncodingError
        | requests.exceptions.ContentDecodingError
        | requests.exceptions.JSONDecodeError,
    )


def reason(error: Exception) -> str:
    """What went wrong, in one line for a person, the same for the same fault."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    stalled = isinstance(error, requests.ConnectionError) and isinstance(
        error.args[0] if error.args else None, ReadTimeoutError
    )
    if stalled or isinstance(error, requests.Timeout):
        return "the transfer stalled"
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return "the answer is no JSON"
    if isinstance(error, requests.RequestException):
        return f"the connection failed ({type(error).__name__})"
    printable = (c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    return "".join(printable)[:300]
