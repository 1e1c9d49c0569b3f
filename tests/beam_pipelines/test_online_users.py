"""The streaming job: late, doubled and disordered events, and a replay beside the batch job."""

import json
import math
import random
from collections import Counter
from dataclasses import asdict, replace

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline as BeamPipeline
from apache_beam.testing.test_stream import TestStream as EventStream
from apache_beam.testing.util import assert_that

from beam_pipelines import online_users
from beam_pipelines.cluster_users import cluster_users
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.online_users import UpdateUsers, replay, run
from beam_pipelines.vector_table import vector_table
from tests.beam_pipelines.user_tables import (
    CONFIG,
    make_run,
    random_rows,
    seconds,
    stored,
    write_rows,
)
from tests.users.conftest import redis_url, store_url  # noqa: F401  (fixtures)
from tests.users.stores import vector_of
from tfrs_sage.errors import InputError
from tfrs_sage.users.clusters import UserClusters
from tfrs_sage.users.online import Event, apply_events
from tfrs_sage.users.store import open_store


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "run")


def event(number: int, time: float, user_id: str = "u", item: str = "") -> Event:
    return Event(f"e{number}", user_id, item or f"{number % 3}.{number}", "click", time)


def line(one: Event) -> str:
    return json.dumps(asdict(one))


def events_of(rows) -> list[Event]:
    return [
        Event(f"e{number}", one["query"], one["candidate"], one["action"], seconds(one))
        for number, one in enumerate(rows)
    ]


def direct(events: list[Event], config=CONFIG):
    """Every user by one call of the library."""
    users = {one.user_id for one in events}
    return {
        user: apply_events(None, [e for e in events if e.user_id == user], vector_of, config)[0]
        for user in users
    }


def test_a_stream_of_late_doubled_and_disordered_events(run_dir, store_url) -> None:  # noqa: F811
    with open_store(store_url) as store:
        batch = UserClusters("u", (), 100.0, 0)
        store.write_batch([batch], lambda user: user)
    stream = (
        EventStream()
        .advance_watermark_to(200)
        .add_elements([line(event(3, 203.0)), line(event(1, 201.0)), line(event(1, 201.0))])
        .advance_watermark_to(300)
        .add_elements([line(event(2, 202.0)), "no event"])  # late: the watermark has passed it
        .add_elements([line(event(9, 100.0)), line(event(8, 99.0))])  # before the batch
        .add_elements([line(event(3, 203.0)), line(event(5, 310.0, item="nobody"))])
        .add_elements([line(event(4, 304.0, "v")), line(event(7, 307.0, "v"))])
        .advance_watermark_to(400)
        .advance_watermark_to_infinity()
    )

    def check(outputs) -> None:
        total: Counter = Counter()
        for _, outcomes in outputs:
            total.update(outcomes)
        assert total == {"applied": 5, "duplicate": 2, "covered": 2, "unknown_item": 1}
        # The first three were one change of the store.
        assert ("u", {"applied": 2, "duplicate": 1}) in outputs
        assert ("v", {"applied": 2}) in outputs

    options = PipelineOptions(["--streaming", "--runner=DirectRunner"])
    with BeamPipeline(options=options) as pipeline:
        changed = pipeline | stream | UpdateUsers(store_url, vector_table(run_dir), CONFIG)
        assert_that(changed, check)
    wanted = direct(
        [event(n, 200.0 + n) for n in (1, 2, 3)] + [event(n, 300.0 + n, "v") for n in (4, 7)]
    )
    found = stored(store_url, ["u", "v"])
    assert found["u"].batch == batch
    assert found["u"].online == wanted["u"].online
    assert found["u"].recent == wanted["u"].recent
    assert found["v"] == wanted["v"]


def test_a_user_who_never_rests_is_written_all_the_same(run_dir, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(online_users, "HELD_EVENTS", 10)
    url = f"sqlite:///{tmp_path}/users.sqlite"
    events = [event(number, 1000.0 + number) for number in range(25)]

    def check(outputs) -> None:
        assert [sum(outcomes.values()) for _, outcomes in outputs] == [10, 10, 5]

    with BeamPipeline(options=pipeline_options([])) as pipeline:
        messages = pipeline | beam.Create([line(one) for one in events], reshuffle=False)
        assert_that(messages | UpdateUsers(url, vector_table(run_dir), CONFIG), check)
    assert stored(url, ["u"]) == direct(events)


def test_a_replay_is_what_the_batch_makes_of_the_same_events(run_dir, tmp_path, store_url) -> None:  # noqa: F811
    rows = random_rows(30, seed=5)
    events = events_of(rows)
    lines = [line(one) for one in events]
    lines += random.Random(0).sample(lines, 100)  # delivered twice
    random.Random(1).shuffle(lines)
    for number in range(2):
        (tmp_path / f"events-{number}.jsonl").write_text("\n".join(lines[number::2]) + "\n")
    result = replay(run_dir, f"{tmp_path}/events-*.jsonl", CONFIG, store_url)
    names = sorted({one.user_id for one in events})
    found = stored(store_url, names)
    assert found == direct(events)
    assert result["changes"] == len(names)
    assert sum(result["events"].values()) == len(lines)

    # The batch job over the newest `online_actions` rows of each user: the same clusters. Its
    # importances are as of one moment for all, so a user's differ by one factor.
    newest = CONFIG.model_copy(update={"max_actions": CONFIG.online_actions})
    batch_url = f"sqlite:///{tmp_path}/batch.sqlite"
    job = cluster_users(run_dir, write_rows(tmp_path / "t", rows), newest, store=batch_url)
    assert job["counts"]["capped_users"] > 0
    in_batch = stored(batch_url, names)
    for name in names:
        batch, online = in_batch[name].batch.clusters, found[name].online
        age = (job["as_of"] - found[name].recent[-1].time) / 86_400
        assert [one.importance for one in batch] == pytest.approx(
            [one.importance * math.exp(-CONFIG.decay * age) for one in online]
        )
        assert [replace(one, importance=0.0) for one in batch] == [
            replace(one, importance=0.0) for one in online
        ]


def test_a_replay_after_the_batch_adds_only_what_is_newer(run_dir, tmp_path) -> None:
    rows = sorted(random_rows(10), key=seconds)
    as_of = seconds(rows[len(rows) // 2])
    tables = write_rows(tmp_path / "t", rows)
    cluster_users(run_dir, tables, CONFIG, as_of=as_of)
    (tmp_path / "e.jsonl").write_text("\n".join(line(one) for one in events_of(rows)) + "\n")
    (tmp_path / "users.yaml").write_text(json.dumps(CONFIG.model_dump()))
    argv = [
        "--run_dir",
        run_dir,
        "--events",
        tmp_path / "e.jsonl",
        "--config",
        tmp_path / "users.yaml",
    ]
    result = run([str(one) for one in argv])
    users = [f"u{number}" for number in range(10)]
    found = stored(result["store"], users)
    late = [one for one in events_of(rows) if one.time > as_of]
    assert result["events"]["applied"] + result["events"]["outdated"] == len(late)
    for name, one in direct(late).items():
        assert found[name].recent == one.recent and found[name].online == one.online
    again = run([str(one) for one in argv])
    assert again["events"]["applied"] == 0
    assert stored(result["store"], users) == found


def test_refusals(run_dir, tmp_path) -> None:
    with pytest.raises(InputError, match=r"--events must name files .* Found: none"):
        replay(run_dir, f"{tmp_path}/none-*.jsonl")
    (tmp_path / "e.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="A user store is written"):
        replay(run_dir, f"{tmp_path}/e.jsonl", store="here")
