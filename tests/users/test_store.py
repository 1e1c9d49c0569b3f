"""One suite over both stores: what is kept, what a batch replaces, what concurrency may not do."""

import multiprocessing
import threading
import time
from dataclasses import replace

import pytest

from tests.users.stores import CONFIG, cluster, user, vector_of
from tfrs_sage.errors import InputError
from tfrs_sage.users import online, store
from tfrs_sage.users.sqlite_store import SqliteStore
from tfrs_sage.users.store import OnlineAction, StoredUser, open_store

SPAWN = multiprocessing.get_context("spawn")


def refresh(stored: StoredUser) -> StoredUser:
    return online.refresh(stored, vector_of, CONFIG)


@pytest.fixture
def users(store_url):
    with open_store(store_url) as opened:
        yield opened


def action(number: int, when: float) -> OnlineAction:
    return OnlineAction(f"e{number}", f"{number % 3}.{number}", "click", when)


def with_recent(user_id: str, *times: float) -> StoredUser:
    recent = tuple(action(number, when) for number, when in enumerate(times))
    return refresh(StoredUser(user_id, None, recent))


def test_what_is_written_is_read_again(users) -> None:
    full = replace(with_recent("ü/1 :*", 5.0, 6.5), batch=user("ü/1 :*", 1.0, cluster("ö", 3)))
    assert users.update("ü/1 :*", lambda stored: full if stored is None else None) == full
    assert users.get("ü/1 :*") == full
    assert users.get_many(["nobody", "ü/1 :*"]) == {"ü/1 :*": full}
    assert users.get("nobody") is None
    assert users.get_many([]) == {}


def test_empty_users_are_removed(users) -> None:
    users.update("a", lambda _: with_recent("a", 1.0))
    assert users.update("a", lambda stored: StoredUser("a")) is None
    assert users.get("a") is None
    users.update("a", lambda _: with_recent("a", 1.0))
    assert users.update("a", lambda stored: None) is None
    assert users.get("a") is None


def test_a_failed_change_changes_nothing(users) -> None:
    users.update("a", lambda _: with_recent("a", 1.0))

    def fails(user_id, stored):
        if user_id == "b":
            raise RuntimeError("on purpose")
        return with_recent(user_id, 2.0)

    with pytest.raises(RuntimeError, match="on purpose"):
        users.update_many(["a", "b"], fails)
    assert users.get("a") == with_recent("a", 1.0)
    users.update("a", lambda _: with_recent("a", 3.0))  # and no lock is left behind
    assert users.get("a") == with_recent("a", 3.0)


def test_batch_takes_over_what_it_saw_and_leaves_the_newer(users) -> None:
    users.update("a", lambda _: with_recent("a", 10.0, 20.0, 30.0))
    users.update("b", lambda _: with_recent("b", 10.0))
    batch = user("a", 20.0, cluster("m", 4, 20.0))
    assert users.write_batch([batch, user("c", 20.0, cluster("n"))], refresh) == 2
    found = users.get("a")
    assert found.batch == batch
    assert found.recent == (action(2, 30.0),)  # 20.0 is as_of itself: the batch saw it
    assert [one.medoid_id for one in found.online] == ["2.2"]
    assert found.online[0].size == 1
    assert users.get("c").batch.clusters == (cluster("n"),)
    assert users.get("b") == with_recent("b", 10.0)  # not yet: the run goes on
    assert users.batch_as_of() is None
    assert users.finish_batch(20.0, refresh) == 1
    assert users.get("b") is None  # the run saw nothing of b up to 20, and b did nothing since
    assert users.batch_as_of() == 20.0
    assert users.get("a") == found


def test_users_that_the_next_batch_does_not_find_lose_their_old_clusters(users) -> None:
    users.write_batch([user(name, 20.0, cluster("m")) for name in "abc"], refresh)
    users.finish_batch(20.0, refresh)
    online_b = with_recent("b", 50.0)
    users.update("b", lambda stored: replace(stored, recent=online_b.recent))
    users.write_batch([user("a", 40.0, cluster("m"))], refresh)
    assert users.finish_batch(40.0, refresh) == 1
    assert users.get("a").batch.as_of == 40.0
    assert users.get("b") == online_b
    assert users.get("c") is None


def test_an_older_batch_does_not_undo_a_newer_one(users) -> None:
    users.write_batch([user("a", 40.0, cluster("new"))], refresh)
    users.write_batch([user("a", 20.0, cluster("old"))], refresh)
    users.finish_batch(20.0, refresh)
    assert users.get("a").batch == user("a", 40.0, cluster("new"))


def test_more_users_than_are_written_at_once(users) -> None:
    number = store.USERS_AT_ONCE * 2 + 1
    batch = [user(f"u{one}", 1.0, cluster(str(one))) for one in range(number)]
    assert users.write_batch(iter(batch), refresh) == number
    found = users.get_many(one.user_id for one in batch)
    assert {name: one.batch for name, one in found.items()} == {u.user_id: u for u in batch}
    assert users.finish_batch(2.0, refresh) == number
    assert users.get_many(one.user_id for one in batch) == {}


def test_threads_share_a_store_and_lose_nothing(users) -> None:
    def add(first: int) -> None:
        for number in range(first, first + 25):
            users.update("a", lambda stored, n=number: _added(stored, n))

    threads = [threading.Thread(target=add, args=(100 * one,)) for one in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {one.event_id for one in users.get("a").recent}
    assert ids == {f"e{100 * one + number}" for one in range(4) for number in range(25)}


def test_processes_lose_nothing(store_url) -> None:
    with SPAWN.Pool(2) as pool:  # they open it at once, the first time too
        pool.starmap(_add_actions, [(store_url, 100 * one) for one in range(2)])
    with open_store(store_url) as users:
        ids = {one.event_id for one in users.get("a").recent}
    assert ids == {f"e{100 * one + number}" for one in range(2) for number in range(50)}


def test_readers_never_see_half(store_url) -> None:
    with open_store(store_url) as users, SPAWN.Pool(2) as pool:
        users.write_batch(_batch(0), refresh)
        reading = pool.apply_async(_read_runs, (store_url, 10))
        writing = pool.apply_async(_add_actions, (store_url, 0, "u3"))
        run = 0
        while not (reading.ready() and writing.ready()):
            run += 1
            users.write_batch(_batch(run), refresh)
        reading.get()
        writing.get()
        last = users.get("u3")
    assert last.batch == _batch(run)[3]
    # The writer's actions are all newer than the batches: none is lost to them.
    assert {one.event_id for one in last.recent} == {f"e{number}" for number in range(50)}


def _added(stored: StoredUser | None, number: int) -> StoredUser:
    stored = stored or StoredUser("a")
    return replace(stored, recent=(*stored.recent, action(number, 1e6 + number)))


def _add_actions(url: str, first: int, user_id: str = "a") -> None:
    with open_store(url) as users:
        for number in range(first, first + 50):
            users.update(user_id, lambda stored, n=number: _added(stored, n))


def _batch(run: int) -> list:
    """Every part of a user tells the run: a mixture would show."""
    clusters = [cluster(f"{run}-{number}", 1 + number, float(run)) for number in range(30)]
    return [user(f"u{number}", float(run), *clusters) for number in range(20)]


def _read_runs(url: str, wanted: int) -> None:
    """Reads all users until it has seen so many runs of the batch, every user whole each time."""
    seen: set[int] = set()
    until = time.monotonic() + 60
    with open_store(url) as users:
        while len(seen) < wanted:
            assert time.monotonic() < until, f"saw only the runs {seen}"
            found = users.get_many(f"u{number}" for number in range(20))
            assert len(found) == 20
            for one in found.values():
                run = int(one.batch.as_of)
                assert one.batch == _batch(run)[int(one.user_id[1:])]
                seen.add(run)


def test_addresses(tmp_path) -> None:
    for wrong in ("users.sqlite", "sqlite://", "sqlite:///", "mysql://host/db", "redis://"):
        with pytest.raises(InputError, match=r"written sqlite:///path .* Received: "):
            open_store(wrong)
    with open_store(f"sqlite:///{tmp_path}/deep/users.sqlite") as users:
        assert isinstance(users, SqliteStore)
    assert (tmp_path / "deep" / "users.sqlite").is_file()


def test_a_file_that_is_no_store_is_refused(tmp_path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to look at" * 10)
    with pytest.raises(InputError, match="must be a SQLite file"):
        SqliteStore(tmp_path / "text")
    with SqliteStore(tmp_path / "other") as users:
        users._connection().execute("PRAGMA user_version = 7")
    with pytest.raises(InputError, match=r"store of version 1\. Found: version 7"):
        SqliteStore(tmp_path / "other")


def test_no_redis_there(tmp_path) -> None:
    pytest.importorskip("redis", reason="the Redis client is not installed (extra `redis`)")
    with pytest.raises(InputError, match=r"must answer .* use sqlite"):
        open_store(f"unix://{tmp_path}/nobody.sock")


def test_values_of_another_version_are_refused() -> None:
    with pytest.raises(InputError, match="must be the JSON of StoredUser"):
        StoredUser.from_json('{"user_id": "a", "batch": null, "more": 1}')
