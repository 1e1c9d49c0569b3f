"""A bounded number of requests at work, a bounded number that wait, and the rest refused at once.

A queue without a bound answers overload with memory, and in the end everybody too late.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from serving.errors import ServingError


class Admission:
    """Lets requests in; for all threads.

    Args:
        num_running: requests that compute at a time.
        num_waiting: further requests that may be in the house.
    """

    def __init__(self, num_running: int, num_waiting: int) -> None:
        self._size = num_running + num_waiting
        self._places = threading.BoundedSemaphore(self._size)
        self._turns = threading.BoundedSemaphore(num_running)
        self._closed = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Around a whole request, from its body to its answer.

        Raises:
            ServingError: RESOURCE_EXHAUSTED, the house is full; UNAVAILABLE, it is closed.
        """
        if self._closed:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
        if not self._places.acquire(blocking=False):
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The server answers at most {self._size} requests at a time, and has as many. "
                "Try again later.",
            )
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def turn(self, deadline: float) -> Iterator[None]:
        """Around the work of a request that has a place.

        Args:
            deadline: `time.monotonic()` after which nobody wants the answer.

        Raises:
            ServingError: DEADLINE_EXCEEDED, its turn did not come before.
        """
        if not self._turns.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "The request's turn did not come in its time."
            )
        try:
            yield
        finally:
            self._turns.release()

    def close(self, drain_s: float) -> None:
        """Lets nobody in any more; returns when everybody has left, or after `drain_s`."""
        self._closed = True
        end = time.monotonic() + drain_s
        for _ in range(self._size):
            if not self._places.acquire(timeout=max(0.0, end - time.monotonic())):
                return
