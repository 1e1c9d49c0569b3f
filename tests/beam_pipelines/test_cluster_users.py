"""The batch job: which rows count, what comes out, what the store holds afterwards."""

import itertools
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from beam_pipelines.cluster_users import cluster_users, run
from beam_pipelines.histories import ACTION, NewestActions
from beam_pipelines.splits import TimeHistogram, split_of_time, time_bounds
from beam_pipelines.user_batch import read_user_batch
from beam_pipelines.vector_table import UNKNOWN, VectorTable, vector_table
from tests.beam_pipelines.user_tables import (
    CONFIG,
    ITEMS,
    expected,
    make_run,
    random_rows,
    row,
    seconds,
    stored,
    write_rows,
)
from tests.users.conftest import redis_url, store_url  # noqa: F401  (fixtures)
from tests.users.stores import vector_of
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.cli.main import main
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.users.online import Event, Outcome, update_users
from tfrs_sage.users.store import open_store

DAY = 86_400.0


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "run")


def batch(run_dir):
    return {user.user_id: user for user in read_user_batch(run_dir / "users" / "batch")}


def test_every_user_is_clustered_as_the_library_does(run_dir, tmp_path) -> None:
    rows = random_rows(40)
    config = CONFIG.model_copy(update={"window_days": 15.0, "max_actions": 30})
    result = cluster_users(run_dir, write_rows(tmp_path / "t", rows), config)
    now = max(map(seconds, rows))
    wanted = expected(rows, config, now)
    assert batch(run_dir) == wanted
    assert len(wanted) > 30 and result["as_of"] == now
    numbers = result["counts"]
    assert numbers["rows"] == len(rows)
    assert numbers["users"] == len(wanted)
    assert numbers["actions"] == sum(user.num_actions for user in wanted.values())
    assert numbers["clusters"] == sum(len(user.clusters) for user in wanted.values())
    assert numbers["capped"] > 0 and numbers["outside_window"] > 0
    assert numbers["rows"] == sum(numbers[n] for n in ("actions", "capped", "outside_window"))
    users = stored(result["store"], [f"u{number}" for number in range(40)])
    assert {name: one.batch for name, one in users.items()} == wanted


def test_worker_processes_make_the_same(run_dir, tmp_path) -> None:
    rows = random_rows(10)
    tables = write_rows(tmp_path / "t", rows)
    options = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    argv = ["--run_dir", str(run_dir), "--input", tables, *options]
    (tmp_path / "users.yaml").write_text(yaml.safe_dump(CONFIG.model_dump()))
    run([*argv, "--config", str(tmp_path / "users.yaml")])
    assert batch(run_dir) == expected(rows, CONFIG, max(map(seconds, rows)))
    assert sorted(path.name for path in (run_dir / "users").iterdir()) == [
        "batch", "store.sqlite", "vectors"
    ]  # fmt: skip


def test_what_does_not_count_is_counted(run_dir, tmp_path) -> None:
    good = [row("u", "0.1", 1000.0), row("u", "1.1", 2000.0, action="buy")]
    rows = [
        *good,
        row("u", "0.1", 1000.0),  # again
        row("u", "1.1", 2000.0),  # the same moment by a lighter word
        row("u", "0.2", None),
        row("u", "nobody", 1500.0),
        row("u", "0.3", 1500.0, action="view"),
        row("u", "0.4", 1500.0, split="test"),
        row("u", "0.5", 5000.0),
        row("u", "0.6", 1500.0, candidate_type="pin"),
        row("words", "0.7", 1500.0, query_type="search", user_id="u"),
        row("u", "", 1500.0),
        row("u", "0.8", 1500.0, action="two words"),
    ]
    config = CONFIG.model_copy(update={"action_weights": {"view": 0.0, "buy": 3.0}})
    shares = PreprocessConfig(max_reject_share=0.2)
    tables = write_rows(tmp_path / "t", rows)
    result = cluster_users(run_dir, tables, config, as_of=4000.0, shares=shares)
    assert batch(run_dir) == expected(good, config, 4000.0)
    assert result["counts"] == {
        "rows": 13, "users": 1, "actions": 2, "clusters": 2, "merged": 2, "without_time": 1,
        "unknown_item": 1, "weightless": 1, "other_splits": 1, "after_as_of": 1, "no_history": 2,
        "unreadable": 2,
    }  # fmt: skip
    result = cluster_users(
        run_dir, tables, config, ("train", "test"), 6000.0, attributed=True, shares=shares
    )
    (user,) = batch(run_dir).values()
    members = sorted(item for one in user.clusters for item in one.member_ids)
    assert members == ["0.1", "0.4", "0.5", "0.7", "1.1"]
    assert read_manifest(run_dir / "users" / "batch")["splits"] == ["train", "test"]


def test_rows_without_a_split_are_parted_as_the_examples_are(run_dir, tmp_path) -> None:
    users = [{**one, "split": None} for one in random_rows(5)]
    searches = [
        row("words", "0.1", 1_000_000 + 3600.0 * hour, query_type="search", split=None)
        for hour in range(200)
    ]
    histogram = TimeHistogram()
    for others in (searches, []):  # by what trains; by the users' own rows where nothing else is
        total = histogram.create_accumulator()
        for one in others or users:
            total = histogram.add_input(total, int(seconds(one) * 1e6))
        bounds = time_bounds(total, 0.2, 0.1)
        shares = PreprocessConfig(validation_share=0.2, test_share=0.1)
        tables = write_rows(tmp_path / "t", users + others)
        wanted = [one for one in users if split_of_time(int(seconds(one) * 1e6), bounds) == "train"]
        result = cluster_users(
            run_dir, tables, CONFIG, store=f"sqlite:///{tmp_path}/{len(others)}", shares=shares
        )
        assert 0 < len(wanted) < len(users)
        assert batch(run_dir) == expected(wanted, CONFIG, max(map(seconds, wanted)))
        assert result["counts"]["other_splits"] == len(users) - len(wanted)


def test_the_newest_actions_in_bounded_memory() -> None:
    rng = np.random.default_rng(0)
    actions = np.empty(5000, ACTION)
    actions["time"], actions["row"] = rng.integers(0, 2000, 5000), rng.integers(0, 3, 5000)
    actions["weight"] = rng.integers(1, 9, 5000)
    heaviest: dict = {}
    for time, item, weight in actions.tolist():
        heaviest[time, item] = max(weight, heaviest.get((time, item), 0))
    wanted = [(*key, heaviest[key]) for key in sorted(heaviest)[-100:]]
    combine = NewestActions(100)
    for seed in range(3):
        random.seed(seed)
        parts = []
        for part in np.array_split(rng.permutation(actions), 7):
            accumulator = combine.create_accumulator()
            for piece in np.array_split(part, 30):
                accumulator = combine.add_input(accumulator, piece.tobytes())
                assert sum(map(len, accumulator[0])) <= 200 * ACTION.itemsize
            parts.append(accumulator)
        packed, seen, merged = combine.extract_output(combine.merge_accumulators(parts))
        assert np.frombuffer(packed, ACTION).tolist() == wanted
        assert seen == 5000 and 0 < merged <= 5000 - len(heaviest)


def test_one_user_of_100_000_actions(run_dir, tmp_path) -> None:
    rng = np.random.default_rng(0)
    number = 100_000
    names = ["heavy"] * number + ["light"] * 3
    table = pa.table(
        {
            "query_type": ["user"] * len(names),
            "query": names,
            "candidate_type": ["product"] * len(names),
            "candidate": [ITEMS[one] for one in rng.integers(0, len(ITEMS), len(names))],
            "action": ["click"] * len(names),
            "timestamp": pa.array(rng.permutation(len(names)) * 1_000_000, pa.timestamp("us")),
            "split": ["train"] * len(names),
        }
    )
    (tmp_path / "t").mkdir()
    pa.parquet.write_table(table, tmp_path / "t" / "engagements.parquet")
    config = CONFIG.model_copy(update={"max_actions": 100})
    result = cluster_users(run_dir, str(tmp_path / "t"), config)
    numbers = result["counts"]
    assert numbers["capped"] == number - 100 and numbers["capped_users"] == 1
    assert {u.user_id: u.num_actions for u in batch(run_dir).values()} == {"heavy": 100, "light": 3}


def test_batch_then_online_then_batch(run_dir, tmp_path, store_url) -> None:  # noqa: F811
    """The whole line on both stores: the log is counted once, whatever was online before."""
    rows = sorted(random_rows(12, seed=3), key=seconds)
    first, second = seconds(rows[len(rows) // 3]), seconds(rows[len(rows) // 2])
    names = sorted({one["query"] for one in rows})
    tables = write_rows(tmp_path / "t", rows)
    config = CONFIG.model_copy(update={"online_actions": 200})

    def counted(upto: float) -> None:
        found = stored(store_url, names)
        for name in names:
            wanted = [one["candidate"] for one in rows if one["query"] == name]
            wanted = wanted[: sum(seconds(r) <= upto for r in rows if r["query"] == name)]
            clusters = found[name].clusters if name in found else ()
            assert sorted(item for one in clusters for item in one.member_ids) == sorted(wanted)

    cluster_users(run_dir, tables, config, as_of=first, store=store_url)
    counted(first)
    with open_store(store_url) as store:
        events = [
            Event(f"e{number}", one["query"], one["candidate"], "click", seconds(one))
            for number, one in enumerate(rows)
        ]
        random.Random(0).shuffle(events)
        update_users(store, [*events, *events[:50]], vector_of, config)
        counted(np.inf)
        result = cluster_users(run_dir, tables, config, as_of=second, store=store_url)
        counted(np.inf)
        found = store.get_many(names)
        assert {name: one.batch for name, one in found.items() if one.batch} == batch(run_dir)
        assert result["counts"]["after_as_of"] == sum(len(one.recent) for one in found.values())
        outcomes = update_users(store, events, vector_of, config)
        assert set(outcomes) == {Outcome.COVERED, Outcome.DUPLICATE}
        counted(np.inf)


def test_refusals_leave_everything_as_it_was(run_dir, tmp_path) -> None:
    rows = random_rows(5)
    tables = write_rows(tmp_path / "t", rows)
    cluster_users(run_dir, tables, CONFIG)
    before = batch(run_dir)
    with pytest.raises(InputError, match=r"must not be older .* Name another store"):
        cluster_users(run_dir, tables, CONFIG, as_of=seconds(rows[0]) - 15 * DAY)
    with pytest.raises(InputError, match=r"must be actions to cluster: .* Found: none"):
        cluster_users(run_dir, tables, CONFIG, splits=("test",))
    with pytest.raises(InputError, match=r"Splits are of train, .* Received: 'dev'"):
        cluster_users(run_dir, tables, CONFIG, splits=("dev",))
    with pytest.raises(InputError, match="must hold an engagements table"):
        cluster_users(run_dir, str(run_dir), CONFIG)
    bad = write_rows(tmp_path / "bad", [*rows, *[row("u", "", 1.0)] * 20])
    with pytest.raises(InputError, match=r"1\.00% of the engagements .* Found: 20 of"):
        cluster_users(run_dir, bad, CONFIG)
    (run_dir / "embeddings" / "product" / "part-0.parquet").unlink()
    with pytest.raises(InputError, match=r"must hold the 120 embeddings .* Found: 70 rows"):
        cluster_users(run_dir, tables, CONFIG)
    assert batch(run_dir) == before
    assert {
        user: one.batch
        for user, one in stored(f"sqlite:///{run_dir}/users/store.sqlite", list(before)).items()
    } == before


def test_vector_table(run_dir) -> None:
    folder = vector_table(run_dir)
    table = VectorTable(folder)
    assert table.ids_of(np.arange(len(ITEMS))) == sorted(ITEMS)
    for item in ITEMS:
        np.testing.assert_array_equal(table.vector_of(item), vector_of(item))
    rows = table.rows_of(["nobody", ITEMS[5], "", ITEMS[0]])
    assert (rows[[0, 2]] == UNKNOWN).all() and table.ids_of(rows[[1, 3]]) == [ITEMS[5], ITEMS[0]]
    assert table.vector_of("nobody") is None
    made = (folder / "manifest.json").stat().st_mtime_ns
    assert vector_table(run_dir) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == made  # not again for the same
    part = run_dir / "embeddings" / "product" / "part-0.parquet"
    pa.parquet.write_table(pa.parquet.read_table(part), part)
    vector_table(run_dir)
    assert (folder / "manifest.json").stat().st_mtime_ns > made
    assert table.vector_of(ITEMS[0]) is not None  # what was open stays readable


def test_the_verb(run_dir, tmp_path, capsys) -> None:
    rows = random_rows(5)
    tables = write_rows(tmp_path / "t", rows)
    settings = {"threshold": 0.25, "window_days": 30.0}
    (run_dir / "config.yaml").write_text(yaml.safe_dump({"users": settings}))
    (run_dir / "steps.json").write_text(json.dumps({"input": tables}))
    as_of = max(map(seconds, rows)) - DAY
    store = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    options = [("--dir", run_dir), ("--days", 10), ("--as-of", as_of), ("--store", store)]
    argv = [str(part) for part in itertools.chain(*options)]
    assert main(["cluster-users", *argv, "--threshold", "0.5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    config = CONFIG.model_copy(update={"window_days": 10.0})
    wanted = expected([one for one in rows if seconds(one) <= as_of], config, as_of)
    assert batch(run_dir) == wanted and result["counts"]["users"] == len(wanted)
    assert {name: one.batch for name, one in stored(store, list(wanted)).items()} == wanted
