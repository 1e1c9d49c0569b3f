"""Recommend and RecordEvent against a real server: the round trip, what events change, refusals."""

import dataclasses
import json
import sqlite3
from concurrent import futures

import grpc
import pytest

from serving.client import UserClient
from serving.run_users import has_users, index_version, open_recommender, open_users, popular_items
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.wire_messages import USER_SERVICE
from tests.serving.user_run import make_user_run
from tests.users.planted import CONFIG, LIKED, NOW, VECTORS, axis_of
from tests.users.stores import redis_server
from tfrs_sage.errors import InputError
from tfrs_sage.users.online import Event, apply_event
from tfrs_sage.users.store import open_store

TIMEOUT_S = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_user_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def address(run):
    with ModelServer(
        ModelStore([]), ServerSettings(port=0), users=open_users(run, CONFIG)
    ) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def client(address):
    with UserClient(address, timeout_s=TIMEOUT_S) as client:
        client.wait_until_ready(TIMEOUT_S)
        yield client


def test_a_user_gets_items_of_both_interests_with_their_medoids(client) -> None:
    found = client.recommend("u", k=6, seed=1)
    assert (found["user_id"], found["source"], len(found["items"])) == ("u", "medoids", 6)
    assert {axis_of(one["medoid_id"]) for one in found["medoids"]} == {"0", "1"}
    assert sorted(one["size"] for one in found["medoids"]) == [2, 4]
    assert set(found["medoids"][0]) == {
        "medoid_id",
        "size",
        "importance",
        "first_time",
        "last_time",
    }
    for item in found["items"]:
        assert axis_of(item["item_id"]) == axis_of(item["medoid_id"])
        assert item["item_id"] not in LIKED
    assert client.recommend("u", k=6, seed=1) == found
    assert len(client.recommend("u")["items"]) == CONFIG.num_candidates


def test_an_unknown_user_gets_what_most_users_acted_on(client) -> None:
    found = client.recommend("nobody", k=2)
    assert (found["source"], found["medoids"]) == ("popular", [])
    assert found["items"] == [
        {"item_id": "3.0", "score": 3.0, "medoid_id": None},
        {"item_id": "3.1", "score": 2.0, "medoid_id": None},
    ]


def test_an_event_changes_the_next_recommendation(client) -> None:
    assert client.recommend("new")["source"] == "popular"
    assert client.record_event("n1", "new", "2.0", "click", NOW) == "applied"
    found = client.recommend("new", k=5)
    assert (found["source"], [one["medoid_id"] for one in found["medoids"]]) == ("medoids", ["2.0"])
    assert {axis_of(one["item_id"]) for one in found["items"]} == {"2"}
    first = found["items"][0]["item_id"]
    assert client.record_event("n2", "new", first, "click", "1970-04-11T00:00:01Z") == "applied"
    assert first not in {one["item_id"] for one in client.recommend("new")["items"]}


def test_an_event_again_does_nothing(run, client) -> None:
    event = Event("d1", "again", "2.1", "click", NOW + 1)
    fields = dataclasses.astuple(event)
    sent = (fields[0], fields[1], fields[2], fields[3], fields[4])
    assert client.record_event(*sent) == "applied"
    with open_store(f"sqlite:///{run}/users/store.sqlite") as store:
        before = store.get("again")
        assert client.record_event(*sent) == "duplicate"
        assert store.get("again") == before
    # The server's is the function of the streaming job.
    assert before == apply_event(None, event, VECTORS.get, CONFIG)


def test_events_that_do_not_count_say_why(client) -> None:
    assert client.record_event("o1", "u", "2.0", "click", NOW) == "covered"
    assert client.record_event("o2", "u", "no such item", "click", NOW + 1) == "unknown_item"
    assert client.record_event("o3", "u", "2.0", "click", "2999-01-01") == "future"
    assert client.recommend("nobody")["source"] == "popular"


def test_concurrent_events_of_one_user_are_all_kept(run, client) -> None:
    with futures.ThreadPoolExecutor(8) as pool:
        sent = [
            pool.submit(client.record_event, f"c{n}", "busy", f"2.{n}", "click", NOW + n)
            for n in range(15)
        ]
        assert [one.result() for one in sent] == ["applied"] * 15
    with open_store(f"sqlite:///{run}/users/store.sqlite") as store:
        assert [one.event_id for one in store.get("busy").recent] == [f"c{n}" for n in range(15)]


def test_status_tells_index_batch_and_cache(run, client) -> None:
    client.recommend("u", seed=1)
    before = client.status()
    client.recommend("u", k=1, seed=1)
    after = client.status()
    assert after["cache"]["hits"] - before["cache"]["hits"] == 2
    assert after["cache"]["misses"] == before["cache"]["misses"]
    assert (after["num_items"], after["batch_as_of"]) == (len(VECTORS), NOW)
    assert after["num_popular"] == 2 + len(LIKED)
    assert after["index_version"] == index_version(run / "index" / "product")


EVENT = {"event_id": "e", "user_id": "u", "item_id": "0.0", "action": "click", "time": 1.0}


@pytest.mark.parametrize(
    ("method", "message", "text"),
    [
        ("Recommend", b"{", "must be a JSON object of user_id .* Received: b'{' .*For example"),
        ("Recommend", b"\xff\xfe", "must be a JSON object of user_id"),
        ("Recommend", b"[]", "must be a JSON object of user_id"),
        ("Recommend", {}, r"\(user_id: Field required\)\. For example"),
        ("Recommend", {"user_id": ""}, "user_id: String should have at least 1"),
        ("Recommend", {"user_id": "\ud800"}, "must be a JSON object of user_id"),
        ("Recommend", {"user_id": 7}, "user_id: Input should be a valid string"),
        ("Recommend", {"user_id": "u", "k": 1.5}, "k: Input should be a valid integer"),
        ("Recommend", {"user_id": "u", "k": "3"}, "k: Input should be a valid integer"),
        ("Recommend", {"user_id": "u", "k": True}, "k: Input should be a valid integer"),
        ("Recommend", {"user_id": "u", "k": 0}, r"`k` must be 1 to 33 .*Received: 0\. Ask for"),
        ("Recommend", {"user_id": "u", "k": 34}, r"Received: 34\. Ask for fewer"),
        ("Recommend", {"user_id": "u", "seed": -1}, "seed: Input should be greater than or equal"),
        ("Recommend", {"user_id": "u", "users": 1}, "users: Extra inputs are not permitted"),
        ("RecordEvent", b"", "must be a JSON object of event_id, user_id"),
        ("RecordEvent", {**EVENT, "event_id": ""}, "must have ids that are not empty"),
        ("RecordEvent", {**EVENT, "item_id": 7}, r"\(item_id: .*For example"),
        ("RecordEvent", {**EVENT, "time": "soon"}, "A time is ISO 8601 or seconds .*'soon'"),
        ("RecordEvent", b'{"event_id":"e","user_id":"u","time":1}', "item_id: Field required"),
        ("RecordEvent", json.dumps({**EVENT, "time": float("nan")}).encode(), "finite time"),
        ("RecordEvent", {**EVENT, "price": 1}, "price: Unexpected keyword argument"),
        ("Status", {"verbose": True}, "must be a JSON object of no fields"),
    ],
)
def test_malformed_messages_are_refused_with_rule_value_and_way_out(
    address, method, message, text
) -> None:
    sent = message if isinstance(message, bytes) else json.dumps(message).encode()
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{USER_SERVICE}/{method}")
        with pytest.raises(grpc.RpcError, match=text) as caught:
            call(sent, timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_other_methods_and_servers_without_users_are_unimplemented(client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.call("Forget", {})
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with (
        ModelServer(ModelStore([]), ServerSettings(port=0)) as server,
        UserClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as other,
        pytest.raises(grpc.RpcError) as caught,
    ):
        other.recommend("u")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_store_that_cannot_be_read_is_not_the_clients_fault(tmp_path) -> None:
    run = make_user_run(tmp_path)
    with sqlite3.connect(run / "users" / "store.sqlite") as connection:
        connection.execute("UPDATE users SET value = '{}'")
    connection.close()
    with (
        ModelServer(
            ModelStore([]), ServerSettings(port=0), users=open_users(run, CONFIG)
        ) as server,
        UserClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client,
        pytest.raises(grpc.RpcError, match="must be the JSON of StoredUser") as caught,
    ):
        client.recommend("u")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_run_without_users_is_refused(tmp_path, run) -> None:
    assert has_users(run) and not has_users(tmp_path)
    with pytest.raises(InputError, match=r"Found: not both in .*tfrs-sage cluster-users"):
        open_recommender(tmp_path, CONFIG)
    lost = make_user_run(tmp_path / "lost")
    (lost / "users" / "store.sqlite").unlink()
    with pytest.raises(InputError, match=r"must be at .*store\.sqlite\. Found: none\. Run"):
        open_recommender(lost, CONFIG)


def test_popular_items_count_each_user_once(run) -> None:
    recommender = open_recommender(run, CONFIG)
    found = popular_items(run / "users" / "batch", recommender.candidates, 4)
    assert found == [("3.0", 3), ("3.1", 2), ("0.0", 1), ("0.1", 1)]  # v acted on 3.0 twice
    recommender.store.close()


def test_another_index_is_another_version(run, tmp_path) -> None:
    other = make_user_run(tmp_path)
    one, two = (index_version(folder / "index" / "product") for folder in (run, other))
    assert one == index_version(run / "index" / "product") != two


def test_a_redis_that_goes_away_is_told_as_unavailable(run, tmp_path_factory) -> None:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        with open_store(url) as store:
            store.finish_batch(NOW, lambda user: user)
        service = open_users(run, CONFIG, url)
        server = ModelServer(ModelStore([]), ServerSettings(port=0), users=service)
        with server, UserClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client:
            client.wait_until_ready(TIMEOUT_S)
            assert client.recommend("u", k=2)["source"] == "popular"
            pytest.importorskip("redis").Redis.from_url(url).shutdown(nosave=True)
            with pytest.raises(grpc.RpcError) as told:
                client.recommend("u", k=2)
    assert told.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "The user store must be reachable. Found:" in told.value.details()
