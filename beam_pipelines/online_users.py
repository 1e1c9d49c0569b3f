"""Events to the user store as they happen: a stream, or a replay of one.

    python -m beam_pipelines.online_users --run_dir RUN --events 'events-*.jsonl'

`UpdateUsers` takes messages of any source, bounded or not, e.g.
`pipeline | ReadFromKafka(...) | beam.Values() | UpdateUsers(...)`. It holds a user's events until
the watermark has passed them, so that a burst is one change of the store, and applies them with
the same function as the server does. That function depends on neither order nor repetition: after
a crash Beam may deliver and flush again.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    ReadModifyWriteStateSpec,
    TimerSpec,
    on_timer,
)

from beam_pipelines import options
from beam_pipelines.command_line import run_job
from beam_pipelines.counters import count, job_counts
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.vector_table import VectorTable, vector_table
from tfrs_sage.errors import InputError
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.online import Event, Outcome, update_users
from tfrs_sage.users.store import open_store

_LOG = logging.getLogger(__name__)
# Events of one user that are held at most, whatever the watermark does.
HELD_EVENTS = 500
CLOCK_SKEW_SECONDS = 300.0  # an event may be so far in the future, by its sender's clock
# An event as it travels: `(user, (event id, item, action, time))`.
Keyed = tuple[str, tuple[str, str, str, float]]


class UpdateUsers(beam.PTransform):
    """Messages (JSON of `Event`) -> `(user, {outcome: events})`, once the store has them.

    Messages that cannot be read are counted, logged and left out. No event is too late: what is
    too old is the business of `apply_events`.

    Args:
        store: as `open_store` takes it; every worker must reach it.
        table: folder of the `VectorTable`.
        config: settings.
        delay_seconds: how long, in event time, a user's events are gathered.
    """

    def __init__(
        self, store: str, table: str | Path, config: ClusterConfig, delay_seconds: float = 1.0
    ) -> None:
        super().__init__()
        self._update = UpdateUser(store, str(table), config, delay_seconds)

    def expand(self, messages: beam.PCollection) -> beam.PCollection:
        return (
            messages
            | "ParseEvents" >> beam.FlatMap(parse_event).with_output_types(Keyed)
            # One window for all time: nothing is dropped for being late.
            | "OneWindow" >> beam.WindowInto(beam.window.GlobalWindows())
            | "UpdateUser" >> beam.ParDo(self._update)
        )


def parse_event(message: str | bytes) -> Iterator[Any]:
    """The event of a message, keyed by its user, at its own time."""
    try:
        event = Event.from_json(message)
    except InputError as error:
        count("events/unreadable")
        _LOG.warning("%s", error)
        return
    values = (event.event_id, event.item_id, event.action, event.time)
    yield beam.window.TimestampedValue((event.user_id, values), event.time)


class UpdateUser(beam.DoFn):
    """`Keyed` -> `(user, {outcome: events})`: gathers a user's events, then changes the store."""

    EVENTS = BagStateSpec("events", FastPrimitivesCoder())
    HELD = ReadModifyWriteStateSpec("held", FastPrimitivesCoder())  # (events, when to flush)
    FLUSH = TimerSpec("flush", TimeDomain.WATERMARK)
    # How Beam is asked to pass them to a method.
    THE_EVENTS = beam.DoFn.StateParam(EVENTS)
    THE_HELD = beam.DoFn.StateParam(HELD)
    THE_TIMER = beam.DoFn.TimerParam(FLUSH)

    def __init__(self, store: str, table: str, config: ClusterConfig, delay_seconds: float) -> None:
        self._address = store
        self._folder = table
        self._config = config
        self._delay = delay_seconds

    def setup(self) -> None:
        self._store = open_store(self._address)
        self._table = VectorTable(self._folder)

    def teardown(self) -> None:
        self._store.close()

    def process(
        self,
        element: Keyed,
        events: Any = THE_EVENTS,
        held: Any = THE_HELD,
        flush: Any = THE_TIMER,
    ) -> Iterator[Any]:
        user_id, event = element
        number, due = held.read() or (0, math.inf)
        events.add(event)
        if number + 1 >= HELD_EVENTS:
            flush.clear()
            yield self._apply(user_id, events, held)
            return
        # By the earliest event that is held: a user who goes on acting does not put it off.
        if event[3] + self._delay < due:
            due = event[3] + self._delay
            flush.set(due)
        held.write((number + 1, due))

    @on_timer(FLUSH)
    def flush_now(
        self,
        user_id: str = beam.DoFn.KeyParam,
        events: Any = THE_EVENTS,
        held: Any = THE_HELD,
    ) -> Iterator[Any]:
        yield self._apply(user_id, events, held)

    def _apply(self, user_id: str, events: Any, held: Any) -> tuple[str, dict[str, int]]:
        gathered = [
            Event(event_id, user_id, item_id, action, when)
            for event_id, item_id, action, when in events.read()
        ]
        latest = time.time() + CLOCK_SKEW_SECONDS
        outcomes = update_users(self._store, gathered, self._table.vector_of, self._config, latest)
        events.clear()
        held.clear()
        count("events/changes")
        for outcome, number in outcomes.items():
            count(f"events/{outcome}", number)
        return user_id, {str(outcome): number for outcome, number in outcomes.items()}


def replay(
    run_dir: str | Path,
    files: str,
    config: ClusterConfig | None = None,
    store: str | None = None,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Applies the events of JSON Lines files, in whatever order they stand there.

    Args:
        run_dir: run folder with `embeddings/product`.
        files: path or pattern, any that Beam's filesystems read; a line is the JSON of an `Event`.
        config: settings.
        store: as `open_store` takes it. Default: `RUN/users/store.sqlite`.
        pipeline_args: options of Beam.

    Returns:
        `events`: how many came to what (`Outcome`, and `unreadable`); `changes` of the store;
        `store`; `seconds`.

    Raises:
        InputError: no such files, no embeddings, or no store there.
    """
    started = time.monotonic()
    if not any(match.metadata_list for match in FileSystems.match([files])):
        raise InputError(f"--events must name files of events. Found: none for {files}.")
    address = store or f"sqlite:///{Path(run_dir) / 'users' / 'store.sqlite'}"
    table = vector_table(run_dir)
    open_store(address).close()  # what is wrong with it is told before any work
    pipeline = beam.Pipeline(options=pipeline_options(pipeline_args))
    _ = (
        pipeline
        | "ReadEvents" >> beam.io.ReadFromText(files)
        | "UpdateUsers" >> UpdateUsers(address, table, config or ClusterConfig())
    )
    result = pipeline.run()
    result.wait_until_finish()
    counts = {key.removeprefix("events/"): n for key, n in job_counts(result).items()}
    names: Iterable[str] = (*map(str, Outcome), "unreadable")
    return {
        "events": {name: counts.get(name, 0) for name in names},
        "changes": counts.get("changes", 0),
        "store": address,
        "seconds": round(time.monotonic() - started, 1),
    }


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The replay from its command line; options that it does not know go to Beam."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_pipelines.online_users",
        description="Replays events into the user store. Further options go to Beam.",
    )
    parser.add_argument("--run_dir", required=True, help="run folder with embeddings/product")
    parser.add_argument("--events", required=True, help="JSON Lines files, a path or pattern")
    parser.add_argument("--config", help="YAML file of the section `users`")
    parser.add_argument("--store", help="default: sqlite:///RUN/users/store.sqlite")
    known, pipeline_args = parser.parse_known_args(argv)
    config = options.users_section(known.config)
    return replay(known.run_dir, known.events, config, known.store, pipeline_args)


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import online_users as module

    sys.exit(run_job(module.run))
