"""The users' RPCs, beside TF Serving's: what to show a user, and what a user has just done.

Service `tfrs_sage.users.v1.UserService`; a message is one JSON object in UTF-8, so any gRPC client
can call it without generated code:

    Recommend    {"user_id", "k"?, "seed"?} -> {"user_id", "source", "items", "medoids", ...}
    RecordEvent  {"event_id", "user_id", "item_id", "action", "time"} -> {"outcome"}
    Status       {} -> {"index_version", "num_items", "num_popular", "batch_as_of", "cache"}

Fields may be added to answers within `v1`; what would break a client is a `v2` beside it.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import grpc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ServingError, invalid_argument
from serving.service import answer
from serving.wire_messages import USER_SERVICE
from tfrs_sage.errors import InputError
from tfrs_sage.users.online import Event, VectorOf, update_users
from tfrs_sage.users.recommend import Recommendation, Recommender, checked_k
from tfrs_sage.users.store import UserStore

CLOCK_SKEW_S = 300.0  # an event may be so far in the future, by its sender's clock
_SHOWN = 120  # characters of a refused message that the error repeats

Json = dict[str, Any]
_Request = TypeVar("_Request", bound=BaseModel)


class RecommendRequest(BaseModel):
    """Who is asked for, how many items at most, and the seed of the draw."""

    model_config = ConfigDict(strict=True, extra="forbid")
    user_id: Annotated[str, Field(min_length=1)]
    k: int | None = None
    seed: Annotated[int, Field(ge=0)] | None = None


class StatusRequest(BaseModel):
    """Nothing to say."""

    model_config = ConfigDict(strict=True, extra="forbid")


class UserService:
    """Answers for users, on every thread of the server.

    Args:
        recommender: with the store that events go to; also an attribute.
        vector_of: the embedding of an item, the same that the batch clusters.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        recommender: Recommender,
        vector_of: VectorOf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.recommender, self._vector_of, self._clock = recommender, vector_of, clock

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given with `add_generic_rpc_handlers`."""
        calls = {
            "Recommend": self.recommend,
            "RecordEvent": self.record_event,
            "Status": self.status,
        }
        return grpc.method_handlers_generic_handler(
            USER_SERVICE,
            {name: _unary(call, self.recommender.store) for name, call in calls.items()},
        )

    def cache_counts(self) -> Json:
        """What the medoid cache has done."""
        return dataclasses.asdict(self.recommender.cache.counts())

    def recommend(self, message: bytes) -> Json:
        """Items for a user, each with the medoid that it is from.

        Raises:
            ServingError: INVALID_ARGUMENT, not a request.
        """
        example = '{"user_id": "user7", "k": 10}'
        request = _parsed(RecommendRequest, message, "user_id and, if wanted, k and seed", example)
        try:
            k = checked_k(request.k, self.recommender.config)
        except InputError as error:
            raise invalid_argument(str(error)) from error
        return as_json(self.recommender.recommend(request.user_id, k, request.seed))

    def record_event(self, message: bytes) -> Json:
        """Applies an event, as the streaming job does; again does nothing.

        Raises:
            ServingError: INVALID_ARGUMENT, not an event.
        """
        try:
            event = Event.from_json(message)
        except InputError as error:
            example = (
                '{"event_id": "e1", "user_id": "user7", "item_id": "item9", "action": "click", '
                '"time": "2026-01-31T12:00:00Z"}'
            )
            raise invalid_argument(f"{error} For example {example}.") from error
        latest = self._clock() + CLOCK_SKEW_S
        recommender = self.recommender
        (outcome,) = update_users(
            recommender.store, [event], self._vector_of, recommender.config, latest
        )
        return {"outcome": str(outcome)}

    def status(self, message: bytes) -> Json:
        """What is served from, and what the cache has done.

        Raises:
            ServingError: INVALID_ARGUMENT, anything but an empty object.
        """
        _parsed(StatusRequest, message, "no fields", "{}")
        recommender = self.recommender
        return {
            "index_version": recommender.candidates.version,
            "num_items": len(recommender.candidates),
            "num_popular": len(recommender.popular),
            "batch_as_of": recommender.store.batch_as_of(),
            "cache": self.cache_counts(),
        }


def as_json(found: Recommendation) -> Json:
    """The answer as its message has it: members of clusters are not told."""
    medoids = [dataclasses.asdict(cluster) for cluster in found.medoids]
    for one in medoids:
        del one["member_ids"]
    return {**dataclasses.asdict(found), "medoids": medoids}


def _parsed(kind: type[_Request], message: bytes, fields: str, example: str) -> _Request:
    try:
        return kind.model_validate_json(message)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        wrong = f"{place}: {first['msg']}" if place else first["msg"]
        raise invalid_argument(
            f"The message must be a JSON object of {fields}. Received: {message[:_SHOWN]!r} "
            f"({wrong}). For example {example}."
        ) from error


@contextmanager
def store_errors(store: UserStore) -> Iterator[None]:
    """Around what reads or writes the store for a request that is right.

    What is wrong on the server's side is FAILED_PRECONDITION; a store that cannot be reached is
    UNAVAILABLE, so that clients try again.
    """
    try:
        yield
    except InputError as error:  # the request was right: the store or the index is not
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from error
    except store.outages as error:
        text = f"The user store must be reachable. Found: {error}. Try again later."
        raise ServingError(grpc.StatusCode.UNAVAILABLE, text) from error


def _unary(call: Callable[[bytes], Json], store: UserStore) -> grpc.RpcMethodHandler:
    """A method of bytes and bytes."""

    def work(message: bytes) -> Json:
        with store_errors(store):
            return call(message)

    return grpc.unary_unary_rpc_method_handler(
        lambda message, context: answer(work, message, context), response_serializer=_to_bytes
    )


def _to_bytes(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
