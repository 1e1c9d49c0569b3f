"""Histories as the job writes them: the moment, the window, who is left out."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_sage.report.users_histories import SCHEMA, Histories
from tfrs_sage.users.config import ClusterConfig

DAY = 86_400
ITEMS = [f"i{row}" for row in range(10)]
VECTORS = np.random.default_rng(0).normal(size=(10, 4)).astype("f4")


def side(name, actions):
    """`(day, row, weight)` of each action as columns."""
    columns = list(zip(*actions, strict=True)) if actions else ((), (), ())
    return {
        f"{name}_time": [int(day * DAY * 1e6) for day in columns[0]],
        f"{name}_row": list(columns[1]),
        f"{name}_weight": [float(one) for one in columns[2]],
    }


def write(folder, users, files=2):
    """`user: (past, future)`; dealt out to some files."""
    folder.mkdir(exist_ok=True)
    rows = [{"user": u, **side("past", p), **side("future", f)} for u, (p, f) in users.items()]
    for number in range(files):
        table = pa.Table.from_pylist(rows[number::files], SCHEMA)
        pq.write_table(table, folder / f"part-{number}.parquet")
    return folder


def test_the_moment_is_that_of_the_first_future_action(tmp_path) -> None:
    past = [(1.0, 1, 1.0), (90.5, 2, 3.0), (100.0, 3, 1.0), (101.0, 4, 1.0)]
    users = {"u": (past, [(100.0, 5, 1.0), (103.0, 6, 2.0)])}
    histories = Histories(write(tmp_path, users), ITEMS, VECTORS, ClusterConfig(window_days=90))
    (user,) = histories
    assert (user.user_id, user.now) == ("u", 100.0 * DAY)
    # Day 1 is out of the window, day 101 after the moment.
    assert user.past.item_ids == ("i2", "i3") and user.past.weights.tolist() == [3.0, 1.0]
    assert user.future.item_ids == ("i5", "i6")
    np.testing.assert_array_equal(user.past.vectors, VECTORS[[2, 3]])
    assert (histories.num_users, histories.num_past, histories.num_future) == (1, 2, 2)
    assert next(iter(histories)).past.item_ids == ("i2", "i3")  # a second time


def test_who_is_left_out(tmp_path) -> None:
    one = [(1.0, 1, 1.0)]
    users = {
        "only past": (one, []), "only future": ([], one), "both": (one, [(2.0, 2, 1.0)]),
        "long ago": (one, [(200.0, 2, 1.0)]),
    }  # fmt: skip
    histories = Histories(write(tmp_path, users), ITEMS, VECTORS, ClusterConfig())
    assert [user.user_id for user in histories] == ["both"]
    assert (histories.num_users, histories.num_left_out) == (1, 3)
    nobody = Histories(tmp_path / "none", ITEMS, VECTORS, ClusterConfig())
    assert list(nobody) == [] and nobody.num_users == 0


def test_the_order_of_the_files_does_not_matter(tmp_path) -> None:
    users = {f"u{n}": ([(1.0, n % 10, 1.0)], [(2.0, 0, 1.0)]) for n in range(40)}
    turned = dict(reversed(users.items()))
    config = ClusterConfig()
    first = Histories(write(tmp_path / "a", users), ITEMS, VECTORS, config, max_users=15)
    again = Histories(write(tmp_path / "b", turned, 3), ITEMS, VECTORS, config, max_users=15)
    names = [user.user_id for user in first]
    assert names == [user.user_id for user in again] == sorted(names)
    assert len(names) == first.num_users == first.num_past == 15 and first.num_left_out == 0
    assert names != sorted(users)[:15]
    # Fewer are some of the same.
    fewer = Histories(tmp_path / "a", ITEMS, VECTORS, config, max_users=5)
    assert {user.user_id for user in fewer} < set(names)
    everyone = Histories(tmp_path / "a", ITEMS, VECTORS, config, max_users=99)
    assert [user.user_id for user in everyone] == sorted(users)
