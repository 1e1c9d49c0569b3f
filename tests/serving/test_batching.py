"""Requests that are run together: the same answers, bounds, and nobody fails for a neighbour."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow_text  # noqa: F401  (the towers' ops)

from serving.batch_rows import Rows, group_of, joined
from serving.batching import Batcher, open_batcher
from serving.batching_options import BATCHING_FILE, BatchingOptions, read_batching
from serving.client import PredictClient
from serving.errors import ServingError
from serving.models import LoadedModel
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.serving.toys import HalfPlus, TextSearch
from tfrs_sage.errors import InputError
from tfrs_sage.export.save import BATCHING

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    TextSearch(root).save(root / "retrieval" / "1")
    HalfPlus(2.0).save(root / "half" / "1")
    return root


@pytest.fixture(scope="module")
def half(folders):
    return LoadedModel("half", 1, folders / "half" / "1")


@pytest.fixture(scope="module")
def retrieval(folders):
    return LoadedModel("retrieval", 1, folders / "retrieval" / "1")


class Gate:
    """Runs the model once it is opened, and remembers the rows of each run."""

    def __init__(self, wide: bool = False) -> None:
        self.opened, self.sizes, self.begun = threading.Event(), [], threading.Semaphore(0)
        if wide:
            self.opened.set()

    def __call__(self, model, signature, inputs):
        self.sizes.append(max(array.shape[0] for array in inputs.values() if array.ndim))
        self.begun.release()
        assert self.opened.wait(TIMEOUT_S)
        return model.run(signature, inputs)


def _x(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.float32(values)}


def _queued(batcher: Batcher, model: LoadedModel, signature: str = "serving_default") -> int:
    """Rows that wait in open batches."""
    return sum(batch.size for batch in batcher._queues[model][signature].open.values())


def _until(condition) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Crowd:
    """Requests that come while one batch computes, so that they wait together."""

    def __init__(self, model, options: BatchingOptions, signature: str = "serving_default"):
        self.gate, self.model, self.signature = Gate(), model, signature
        self.batcher = Batcher(options, run=self.gate)
        self.pool = ThreadPoolExecutor(32)

    def ask(self, inputs):
        return self.pool.submit(self.batcher, self.model, self.signature, inputs)

    def first(self, inputs):
        """The request that computes until the gate is opened."""
        found = self.ask(inputs)
        assert self.gate.begun.acquire(timeout=TIMEOUT_S)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gate.opened.set()
        self.pool.shutdown()


def test_those_that_come_meanwhile_are_run_together(half) -> None:
    with Crowd(half, BatchingOptions(num_batch_threads=1)) as crowd:
        found = [crowd.first(_x(0.0))]
        for number in range(1, 6):
            found.append(crowd.ask(_x(*[float(number)] * number)))
        _until(lambda: _queued(crowd.batcher, half) == 15)
        crowd.gate.opened.set()
        for number, answer in enumerate(found):
            expected = [number / 2 + 2.0] * max(1, number)
            assert answer.result(TIMEOUT_S)["y"].tolist() == expected
    assert crowd.gate.sizes == [1, 15]
    assert crowd.batcher.counts() == {
        "batches": 2,
        "requests": 6,
        "rows": 16,
        "filled": 0,
        "refused": 0,
    }


def test_any_mixture_of_requests_is_answered_as_one_by_one(retrieval) -> None:
    words = [b"red", b"green", b"blue", b"sofa", b"red sofa", b"nothing"]
    rng = np.random.default_rng(0)
    requests = []
    for _ in range(60):
        signature = ("search", "embed")[int(rng.integers(2))]
        query = np.array([words[i] for i in rng.integers(0, 6, rng.integers(0, 5))], object)
        inputs = {"query": query}
        if signature == "search":
            inputs["k"] = np.array(rng.integers(1, 4), np.int32)
        requests.append((signature, inputs))
    options = BatchingOptions(
        max_batch_size=6, batch_timeout_micros=20_000, allowed_batch_sizes=(2, 4, 6)
    )
    batcher = Batcher(options)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda one: batcher(retrieval, *one), requests))
    for (signature, inputs), answer in zip(requests, found, strict=True):
        for name, values in retrieval.run(signature, inputs).items():
            np.testing.assert_array_equal(answer[name], values)
            assert answer[name].dtype == values.dtype
    counts = batcher.counts()
    assert counts["batches"] < counts["requests"] <= 60
    assert counts["rows"] == sum(len(inputs["query"]) for _, inputs in requests)
    assert counts["filled"] > 0


def test_inputs_without_axes_are_equal_in_a_batch(retrieval) -> None:
    def ask(k):
        return {"query": np.array([b"red"], object), "k": np.array(k, np.int32)}

    with Crowd(retrieval, BatchingOptions(num_batch_threads=1), "search") as crowd:
        found = [(2, crowd.first(ask(2)))]
        found += [(k, crowd.ask(ask(k))) for k in (1, 3, 1, 3, 3)]
        _until(lambda: _queued(crowd.batcher, retrieval, "search") == 5)
        crowd.gate.opened.set()
        for k, answer in found:
            assert answer.result(TIMEOUT_S)["product_id"].shape == (1, k)
    assert sorted(crowd.gate.sizes) == [1, 2, 3]


def test_a_request_that_fails_fails_alone(half) -> None:
    asked = [b"good", b"bad", b"fine"]
    with Crowd(half, BatchingOptions(num_batch_threads=1), "echo") as crowd:
        first = crowd.first({"text": np.array([b"first"], object)})
        found = [crowd.ask({"text": np.array([text], object)}) for text in asked]
        _until(lambda: _queued(crowd.batcher, half, "echo") == 3)
        crowd.gate.opened.set()
        assert first.result(TIMEOUT_S)["length"].tolist() == [5]
        assert found[0].result(TIMEOUT_S)["length"].tolist() == [4]
        assert found[2].result(TIMEOUT_S)["text"].tolist() == [b"fine"]
        with pytest.raises(ServingError, match="bad text") as caught:
            found[1].result(TIMEOUT_S)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert crowd.gate.sizes == [1, 3, 1, 1, 1]


def test_a_batch_waits_for_its_time_or_until_it_is_full(half) -> None:
    batcher = Batcher(BatchingOptions(max_batch_size=4, batch_timeout_micros=100_000))
    start = time.monotonic()
    assert batcher(half, "serving_default", _x(4.0))["y"].tolist() == [4.0]
    assert 0.1 <= time.monotonic() - start < 10
    patient = Batcher(BatchingOptions(max_batch_size=4, batch_timeout_micros=60_000_000))
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        two = list(pool.map(lambda _: patient(half, "serving_default", _x(4.0, 2.0)), range(2)))
    assert [answer["y"].tolist() for answer in two] == [[4.0, 3.0]] * 2
    assert time.monotonic() - start < 10
    assert patient.counts()["batches"] == 1
    # What does not fit closes the batch that waits.
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(patient, half, "serving_default", _x(*[0.0] * n)) for n in (3, 4)]
        assert [len(answer.result(TIMEOUT_S)["y"]) for answer in answers] == [3, 4]


def test_no_more_waits_than_may(half) -> None:
    options = BatchingOptions(max_batch_size=2, max_enqueued_batches=2, num_batch_threads=1)
    with Crowd(half, options) as crowd:
        first = crowd.first(_x(0.0))
        waiting = [crowd.ask(_x(0.0, 2.0))]
        _until(lambda: crowd.batcher._queues[half]["serving_default"].waiting == 1)
        waiting.append(crowd.ask(_x(4.0)))
        _until(lambda: _queued(crowd.batcher, half) == 1)
        with pytest.raises(ServingError) as caught:
            crowd.batcher(half, "serving_default", _x(0.0, 1.0))
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert caught.value.text == (
            "The batch scheduling queue to which this task was submitted is full; currently 2 "
            "batches enqueued and max_enqueued_batches is 2"
        )
        waiting.append(crowd.ask(_x(6.0)))  # there is room for it in the open batch
        _until(lambda: crowd.batcher._queues[half]["serving_default"].open == {})
        crowd.gate.opened.set()
        found = [answer.result(TIMEOUT_S)["y"].tolist() for answer in (first, *waiting)]
        assert found == [[2.0], [2.0, 3.0], [4.0], [5.0]]
    assert crowd.gate.sizes == [1, 2, 2]
    assert crowd.batcher.counts()["refused"] == 1
    with pytest.raises(ServingError, match="Task size 3 is larger than maximum input batch size 2"):
        crowd.batcher(half, "serving_default", _x(0.0, 1.0, 2.0))


def test_large_requests_are_split_and_small_batches_filled(half) -> None:
    options = BatchingOptions(
        max_batch_size=20,
        max_execution_batch_size=8,
        allowed_batch_sizes=(4, 8, 20),
        enable_large_batch_splitting=True,
        max_enqueued_batches=3,
        num_batch_threads=1,
    )
    with Crowd(half, options) as crowd:
        first = crowd.first(_x(0.0))
        small = crowd.ask(_x(2.0, 4.0))
        _until(lambda: _queued(crowd.batcher, half) == 2)
        large = crowd.ask(_x(*map(float, range(17))))  # 6 beside the small one, then 8 and 3
        _until(lambda: _queued(crowd.batcher, half) == 3)
        with pytest.raises(ServingError) as caught:
            crowd.batcher(half, "serving_default", _x(*[0.0] * 6))
        assert caught.value.text == (
            "The batch scheduling queue to which this task was submitted is full; task size is 6 "
            "but scheduling capacity is only 5 (num_enqueued_batches=3, max_enqueued_batches=3, "
            "open_batch_size=3, max_execution_batch_size=8)"
        )
        crowd.gate.opened.set()
        assert first.result(TIMEOUT_S)["y"].tolist() == [2.0]
        assert small.result(TIMEOUT_S)["y"].tolist() == [3.0, 4.0]
        expected = [number / 2 + 2 for number in range(17)]
        assert large.result(TIMEOUT_S)["y"].tolist() == expected
    assert crowd.gate.sizes == [4, 8, 8, 4]


def test_signatures_without_rows_are_run_as_they_are(half, retrieval) -> None:
    inputs = {
        "i64": np.array(3, np.int64),
        "u8": np.uint8([1, 2]),
        "flag": np.array([True]),
        "half": np.float16([1.0]),
    }
    gate = Gate(wide=True)
    batcher = Batcher(BatchingOptions(batch_timeout_micros=60_000_000), run=gate)
    assert batcher(half, "types", inputs)["i64"].tolist() == 4
    empty = {"query": np.array([], object), "k": np.array(1, np.int32)}
    assert batcher(retrieval, "search", empty)["score"].shape == (0, 1)
    assert batcher.counts()["batches"] == 0
    users = {
        "embedding": np.zeros((2, 1, 4), np.float32),
        "weight": np.ones((1, 1), np.float32),
        "k": np.array(1, np.int32),
    }
    with pytest.raises(ServingError, match="must have equal 0th-dimension size"):
        batcher(retrieval, "recommend", users)


def test_shapes_are_kept_apart_or_filled_up() -> None:
    rows = Rows(("a",), ("k",))
    k = np.array(2, np.int32)
    wide = {"a": np.float32([[1, 2, 3]]), "k": k}
    narrow = {"a": np.float32([[7], [8]]), "k": k}
    assert group_of(rows, wide, padding=False) != group_of(rows, narrow, padding=False)
    assert group_of(rows, wide, padding=True) == group_of(rows, narrow, padding=True)
    assert group_of(rows, wide, True) != group_of(rows, {**wide, "k": k + 1}, True)
    batch = joined(rows, [wide, narrow], 5)
    assert batch["a"].tolist() == [[1, 2, 3], [7, 7, 7], [8, 7, 7], [7, 7, 7], [7, 7, 7]]
    assert batch["k"] == 2
    with pytest.raises(ServingError, match="Got empty tensor in batch of non-empty tensors"):
        joined(rows, [wide, {"a": np.zeros((1, 0), np.float32), "k": k}], 2)


def test_many_clients_over_grpc(folders, half) -> None:
    batcher = Batcher(BatchingOptions(batch_timeout_micros=2_000))
    failures = []
    settings = ServerSettings(port=0, grpc_max_threads=32)
    with ModelServer(ModelStore([half]), settings, batcher=batcher) as server:

        def ask(seed: int) -> None:
            rng = np.random.default_rng(seed)
            with PredictClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client:
                for _ in range(20):
                    x = rng.integers(0, 100, rng.integers(1, 4)).astype(np.float32)
                    answer = client.predict("half", {"x": x})["y"]
                    if not np.array_equal(answer, x / 2 + 2):
                        failures.append((x, answer))

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    counts = batcher.counts()
    assert counts["batches"] < counts["requests"] == 160


def test_an_unloaded_version_is_not_kept(folders) -> None:
    model = LoadedModel("half", 1, folders / "half" / "1")
    batcher = Batcher(BatchingOptions())
    batcher(model, "serving_default", _x(1.0))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None and len(batcher._queues) == 0


def test_files_of_options(folders, tmp_path) -> None:
    path = tmp_path / "batching.txt"
    path.write_text("# nothing\n")
    assert read_batching(path) == BatchingOptions()
    path.write_text(BATCHING + "num_batch_threads { value: 3 }")
    assert read_batching(path) == BatchingOptions(
        max_batch_size=512,
        batch_timeout_micros=1000,
        max_enqueued_batches=64,
        num_batch_threads=3,
        allowed_batch_sizes=(1, 8, 16, 32, 64, 512),
        enable_large_batch_splitting=True,
        max_execution_batch_size=64,
    )
    assert open_batcher(False) is None
    for text, words in (
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1. Found: 0"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expec",
        ),
        ("batch_size { value: 8 }", "must be a text proto of the type BatchingParameters"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            open_batcher(True, path)
    words = "batching_parameters_file is set without setting server_options.enable_batching to true"
    with pytest.raises(InputError, match=words):
        open_batcher(False, path)
    with pytest.raises(InputError, match="enable_per_model_batching_parameters is set without"):
        open_batcher(False, per_model=True)


def test_each_version_may_have_its_own_options(folders, tmp_path) -> None:
    batcher = open_batcher(True, per_model=True)
    HalfPlus(2.0).save(tmp_path / "1")
    model = LoadedModel("half", 1, tmp_path / "1")
    batcher.admit(model)
    assert batcher(model, "serving_default", _x(*range(9)))["y"].shape == (9,)  # not batched
    (tmp_path / "1" / BATCHING_FILE).write_text("max_batch_size { value: 8 }")
    model = LoadedModel("half", 1, tmp_path / "1")
    batcher.admit(model)
    with pytest.raises(ServingError, match="Task size 9 is larger than maximum input batch size 8"):
        batcher(model, "serving_default", _x(*range(9)))
    assert batcher(model, "serving_default", _x(4.0))["y"].tolist() == [4.0]
    assert batcher.counts()["batches"] == 1
    (tmp_path / "1" / BATCHING_FILE).write_text("max_batch_size { value: -1 }")
    with pytest.raises(InputError, match="max_batch_size must be at least 1"):
        batcher.admit(LoadedModel("half", 1, tmp_path / "1"))
