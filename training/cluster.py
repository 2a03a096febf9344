"""Tasks on a dask cluster: a scheduler that was named, or workers on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def connected(scheduler: str | None, workers: int) -> Iterator[Client]:
    """Connect to the scheduler that was named, or start one with workers on this machine.

    Raises
    ------
    OSError
        If no scheduler answers.
    """
    from dask import config
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler)
        except (OSError, ValueError, TimeoutError) as error:
            raise OSError(f"no dask scheduler answers at {scheduler}") from error
        with client:
            yield client
        return
    # A worker that the system kills must not take a task with it for good.
    with (
        config.set({"distributed.scheduler.allowed-failures": 10}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            # What failed is said once, by who asked for it.
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
