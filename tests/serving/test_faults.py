"""A server with clients that never stop asking, while things go wrong on its disk."""

import json
import shutil
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from serving.client import PredictClient
from serving.manager import ModelManager
from serving.model_config import ModelConfig
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.warmup import replay
from tests.serving.toys import HalfPlus
from tfrs_sage.export.warmup import Request, write_warmup

TIMEOUT_S = 60
POLL_S = 0.05


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """SavedModels to be copied: `2` adds 2, and so on."""
    root = tmp_path_factory.mktemp("saved")
    for addend in (1, 2):
        HalfPlus(float(addend)).save(root / str(addend))
    return root


class World:
    """A served base path and its clients."""

    def __init__(self, saved, base, port: int) -> None:
        self.saved, self.base, self.port = saved, base, port
        self.answers, self.stopped = set(), threading.Event()

    def put(self, version: int, addend: int) -> None:
        """A version that appears at once, with a correct warm-up."""
        part = self.base.parent / f"making-{version}"
        shutil.copytree(self.saved / str(addend), part)
        write_warmup(part, "half", [Request("", {"x": np.float32([1.0])})])
        part.rename(self.base / str(version))

    def told(self) -> dict[int, dict]:
        """What GetModelStatus tells, by version."""
        url = f"http://127.0.0.1:{self.port}/v1/models/half"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            told = json.loads(response.read())["model_version_status"]
        return {int(one["version"]): one for one in told}

    def until(self, version: int, state: str, words: str = "") -> dict[int, dict]:
        """Waits for a version's state and reason."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            told = self.told()
            one = told.get(version)
            if one and one["state"] == state and words in one["status"]["error_message"]:
                return told
            assert time.monotonic() < end, told
            time.sleep(POLL_S)

    def ask(self, address: str) -> None:
        """One client: the addend of whatever version answers."""
        with PredictClient(address, timeout_s=TIMEOUT_S) as client:
            while not self.stopped.is_set():
                answer = client.predict("half", {"x": np.float32([0.0, 2.0])})["y"]
                assert answer[1] == answer[0] + 1
                self.answers.add(float(answer[0]))


@contextmanager
def served(saved, base):
    """A world with version 1, and three clients that must not notice a thing."""
    base.mkdir()
    store = ModelStore()
    manager = ModelManager(store, replay, retry_s=0.1)
    settings = ServerSettings(port=0, rest_port=0)
    with ModelServer(store, settings) as server:
        world = World(saved, base, server.rest_port)
        world.put(1, 1)
        manager.configure([ModelConfig("half", base)])
        manager.start(POLL_S)
        address = f"127.0.0.1:{server.port}"
        with ThreadPoolExecutor(3) as pool:
            clients = [pool.submit(world.ask, address) for _ in range(3)]
            try:
                yield world
            finally:
                world.stopped.set()
                manager.stop()
        for client in clients:
            client.result()


def test_a_broken_version_leaves_the_old_one_at_work(saved, tmp_path) -> None:
    with served(saved, tmp_path / "half") as world:
        # Half copied: the graph is there, the weights are still to come.
        half = world.base / "2"
        half.mkdir()
        shutil.copy(saved / "2" / "saved_model.pb", half)
        told = world.until(2, "END", "Version 2 of servable half could not be loaded")
        assert told[1]["state"] == "AVAILABLE"
        assert told[1]["status"]["error_code"] == "OK"
        assert "Version 2 of servable half" in told[1]["status"]["error_message"]
        assert world.answers == {1.0}
        shutil.copytree(saved / "2" / "variables", half / "variables")  # the rest comes
        world.until(2, "AVAILABLE")
        world.until(1, "END")
        # Corrupt.
        (world.base / "3").mkdir()
        (world.base / "3" / "saved_model.pb").write_bytes(b"\xff" * 1000)
        told = world.until(3, "END", "Version 3 of servable half could not be loaded")
        assert told[2]["state"] == "AVAILABLE" and told[3]["status"]["error_code"] != "OK"
    assert world.answers == {1.0, 2.0}


def test_a_version_that_fails_its_warm_up_is_not_served(saved, tmp_path) -> None:
    with served(saved, tmp_path / "half") as world:
        part = tmp_path / "part"
        shutil.copytree(saved / "2", part)
        write_warmup(part, "half", [Request("", {"x": np.float64([1.0])})])
        part.rename(world.base / "2")
        told = world.until(2, "END", "input x must be of type float32. Received: float64")
        assert told[1]["state"] == "AVAILABLE"
        assert told[2]["status"]["error_code"] == "INVALID_ARGUMENT"
    assert world.answers == {1.0}


def test_a_base_path_that_disappears_and_comes_back(saved, tmp_path) -> None:
    with served(saved, tmp_path / "half") as world:
        world.base.rename(tmp_path / "away")
        told = world.until(1, "AVAILABLE", "Could not find base path")
        assert told[1]["status"]["error_code"] == "OK"
        (tmp_path / "away").rename(world.base)
        world.put(2, 2)
        world.until(2, "AVAILABLE")
    assert world.answers == {1.0, 2.0}


def test_reloads_go_unnoticed(saved, tmp_path) -> None:
    with served(saved, tmp_path / "half") as world:
        for version in range(2, 9):
            world.put(version, 1 + version % 2)
            world.until(version, "AVAILABLE")
            world.until(version - 1, "END")
            shutil.rmtree(world.base / str(version - 1))
    assert world.answers == {1.0, 2.0}
