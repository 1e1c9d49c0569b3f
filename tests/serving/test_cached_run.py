"""Requests with a cache in front of the tower: only misses reach it, answers stay the same."""

import threading

import numpy as np
import pytest
import tensorflow_text  # noqa: F401  (the towers' ops)

from serving.cached_run import CachedRun
from serving.client import PredictClient
from serving.models import LoadedModel
from serving.query_cache import MemoryQueryCache
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.export.toy import KeywordTower, save_tower
from tests.serving.toys import HalfPlus, TextSearch

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for version, scale in ((1, 1.0), (2, 10.0)):
        TextSearch(root, scale).save(root / "retrieval" / str(version))
    save_tower(KeywordTower(root), root / "tower" / "1")
    HalfPlus(2.0).save(root / "half" / "1")
    return root


class Recorded(LoadedModel):
    """Keeps what it was asked: signature and texts."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.asked = []

    def run(self, signature_name, inputs):
        texts = inputs.get("query")
        self.asked.append((signature_name, None if texts is None else texts.tolist()))
        return super().run(signature_name, inputs)


def texts(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], object)


def test_only_misses_reach_the_tower_and_the_order_is_kept(folders) -> None:
    model = Recorded("tower", 1, folders / "tower" / "1")
    run = CachedRun(MemoryQueryCache(1 << 20), Recorded.run)

    def embed(*values):
        return run(model, "serving_default", {"query": texts(*values)})["embedding"]

    assert embed("red", "blue").tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    found = embed("sofa", "  blue ", "red", "sofa", "red sofa", "sofa\n")
    assert found.tolist() == [
        [0, 0, 0, 1],
        [0, 0, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 1],
        [0, 0, 0, 1],
    ]
    assert model.asked[0] == ("serving_default", [b"red", b"blue"])
    reached = model.asked[1][1]
    assert len(reached) == 2 and {text.strip() for text in reached} == {b"sofa", b"red sofa"}
    embed("red", "blue", "red sofa")
    assert len(model.asked) == 2
    counts = run.cache.counts()
    assert (counts["hits"], counts["misses"]) == (2 + 3, 2 + 2)
    plain = model.run("serving_default", {"query": texts("sofa", "red")})["embedding"]
    np.testing.assert_array_equal(embed("sofa", "red"), plain)
    assert embed().shape == (0, 4)


def test_a_search_is_answered_once_for_each_k_and_signature(folders) -> None:
    model = Recorded("retrieval", 1, folders / "retrieval" / "1")
    run = CachedRun(MemoryQueryCache(1 << 20), Recorded.run)
    queries = texts("red", "blue sofa", "unknown")
    for _ in range(2):
        for signature in ("search", "serving_default"):
            for k in (3, 1):
                inputs = {"query": queries, "k": np.array(k, np.int32)}
                expected = LoadedModel.run(model, signature, inputs)
                found = run(model, signature, inputs)
                np.testing.assert_array_equal(found["product_id"], expected["product_id"])
                np.testing.assert_array_equal(found["score"], expected["score"])
                assert found["score"].dtype == expected["score"].dtype
    assert [signature for signature, _ in model.asked] == ["search"] * 2 + ["serving_default"] * 2
    some = run(model, "search", {"query": texts("red", "green"), "k": np.array(3, np.int32)})
    assert model.asked[-1] == ("search", [b"green"])
    assert some["product_id"].shape == (2, 3)


def test_what_is_behind_the_cache_is_asked_for_the_misses(folders) -> None:
    model = LoadedModel("tower", 1, folders / "tower" / "1")
    asked = []

    def behind(model, signature, inputs):
        asked.append(inputs["query"].tolist())
        return model.run(signature, inputs)

    run = CachedRun(MemoryQueryCache(1 << 20), behind)
    for _ in range(2):
        answer = run(model, "serving_default", {"query": texts("red", "red")})
        assert answer["embedding"].tolist() == [[1, 0, 0, 0]] * 2
    assert asked == [[b"red"]]


def test_a_new_version_never_answers_with_old_answers(folders) -> None:
    cache = MemoryQueryCache(1 << 20)
    run = CachedRun(cache)
    old, new = (
        LoadedModel("retrieval", version, folders / "retrieval" / str(version))
        for version in (1, 2)
    )
    replaced = LoadedModel("retrieval", 1, folders / "retrieval" / "2")  # other content, same name
    inputs = {"query": texts("red"), "k": np.array(1, np.int32)}
    assert run(old, "search", inputs)["score"].tolist() == [[4]]
    assert run(new, "search", inputs)["score"].tolist() == [[40]]
    assert run(replaced, "search", inputs)["score"].tolist() == [[40]]
    assert run(old, "search", inputs)["score"].tolist() == [[4]]
    assert (cache.counts()["hits"], cache.counts()["misses"]) == (1, 3)
    assert len({old.identity, new.identity, replaced.identity}) == 3


def test_other_signatures_pass_by(folders) -> None:
    model = LoadedModel("half", 1, folders / "half" / "1")
    cache = MemoryQueryCache(1 << 20)
    assert CachedRun(cache)(model, "serving_default", {"x": np.float32([4])})["y"].tolist() == [4]
    retrieval = Recorded("retrieval", 1, folders / "retrieval" / "1")
    ask = {"embedding": np.ones((1, 1, 4), np.float32), "weight": np.ones((1, 1), np.float32)}
    CachedRun(cache, Recorded.run)(retrieval, "recommend", {**ask, "k": np.int32(1)})
    assert retrieval.asked == [("recommend", None)]
    assert cache.counts()["misses"] == 0


def test_many_clients_over_grpc(folders) -> None:
    cache = MemoryQueryCache(1 << 20)
    store = ModelStore([LoadedModel("tower", 1, folders / "tower" / "1")])
    failures = []
    with ModelServer(store, ServerSettings(port=0), query_cache=cache) as server:

        def ask(seed: int) -> None:
            rng = np.random.default_rng(seed)
            with PredictClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client:
                for _ in range(20):
                    axes = rng.integers(0, 4, 3)
                    query = [("red", "green", "blue", "sofa")[axis] for axis in axes]
                    answer = client.predict("tower", {"query": query})["embedding"]
                    if not np.array_equal(answer, np.eye(4, dtype=np.float32)[axes]):
                        failures.append((query, answer))

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    counts = cache.counts()
    assert counts["entries"] == 4
    assert 4 <= counts["misses"] <= 16 < counts["hits"]
