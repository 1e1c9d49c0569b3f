"""`tfrs-sage serve` as a process: ready line, a retrieval model, SIGTERM, bad usage."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import PredictClient, UserClient
from tests.export.toy import IDS, TEXTS, VECTORS, KeywordTower, save_tower
from tests.serving.ports import free_port
from tests.serving.serve_process import PROGRAM
from tests.serving.toys import HalfPlus
from tests.serving.user_run import USERS, make_user_run
from tests.users.planted import LIKED, NOW
from tfrs_sage.cli.serve import user_service
from tfrs_sage.export.retrieval import export_retrieval

TIMEOUT_S = 60


def _start(*options: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ready(process: subprocess.Popen) -> tuple[str, str]:
    """Address and models of the ready line; ends when the process ends."""
    seen = []
    for line in process.stderr:
        seen.append(line)
        found = re.match(r"serving on (\S+:\d+): (.*)", line)
        if found:
            return found[1], found[2]
    raise AssertionError(f"the server ended before it was ready: {''.join(seen)}")


def test_a_run_folder_is_served_until_sigterm(tmp_path) -> None:
    root = tmp_path / "saved_models"
    export_retrieval(KeywordTower(tmp_path), VECTORS, IDS, root, TEXTS, check=False)
    HalfPlus(2.0).save(root / "half" / "7")
    save_tower(KeywordTower(tmp_path), root / "tower" / "1")
    process = _start("--dir", str(tmp_path), "--port", "0", "--json", "--query_cache_size", "1")
    try:
        address, models = _ready(process)
        assert address.startswith("127.0.0.1:")
        assert models == "half [7], retrieval [1], tower [1]"
        with PredictClient(address, timeout_s=TIMEOUT_S) as client:
            answer = client.predict("retrieval", {"query": ["red sofa"], "k": np.int32(2)})
            assert answer["product_id"].tolist() == [[b"red sofa", b"red chair"]]
            assert answer["score"].tolist() == [[6, 4]]
            assert client.predict("half", {"x": np.float32([4])})["y"].tolist() == [4]
            assert client.status("half") == {7: "AVAILABLE"}
            for _ in range(3):
                answer = client.predict("tower", {"query": ["red"]})
                assert answer["embedding"].tolist() == [[1, 0, 0, 0]]
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
        result = json.loads(output)
        assert {"name": "half", "version": 7} in result["served"]
        assert result["query_cache"]["hits"] == 2
        assert 'query cache: {"kind": "memory", "hits": 2' in errors
    finally:
        process.kill()
        process.wait()


def _get(port: int, path: str) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as response:
        return json.loads(response.read())


def test_a_model_config_file_rest_and_a_new_version(tmp_path) -> None:
    for version in (1, 2):
        HalfPlus(float(version)).save(tmp_path / "half" / str(version))
    HalfPlus(3.0).save(tmp_path / "half" / "making")
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "half" base_path: "{tmp_path / "half"}" '
        'model_platform: "tensorflow" model_version_policy { latest { num_versions: 2 } } '
        'version_labels { key: "canary" value: 2 } } }'
    )
    port = free_port()
    options = ("--port", "0", "--rest_api_port", str(port), "--json")
    polling = ("--file_system_poll_wait_seconds", "0.2")
    process = _start("--model_config_file", str(config), *options, *polling)
    try:
        _, models = _ready(process)
        assert models == f"half [1, 2]; REST on 127.0.0.1:{port}; page at http://127.0.0.1:{port}/"
        predict = "/v1/models/half{}:predict"
        body = json.dumps({"instances": [0]}).encode()

        def of_zero(choice: str) -> float:
            url = f"http://127.0.0.1:{port}{predict.format(choice)}"
            with urllib.request.urlopen(url, body, timeout=TIMEOUT_S) as response:
                return json.loads(response.read())["predictions"][0]

        assert (of_zero("/versions/1"), of_zero("/labels/canary"), of_zero("")) == (1, 2, 2)
        (tmp_path / "half" / "making").rename(tmp_path / "half" / "3")
        end = time.monotonic() + TIMEOUT_S
        while of_zero("") != 3:
            assert time.monotonic() < end
            time.sleep(0.1)
        while _get(port, "/v1/models/half/versions/1")["model_version_status"][0]["state"] != "END":
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
        served = [{"name": "half", "version": 2}, {"name": "half", "version": 3}]
        assert json.loads(output)["served"] == served
    finally:
        process.kill()
        process.wait()


def test_a_run_with_users_answers_for_them(tmp_path) -> None:
    run = make_user_run(tmp_path)
    HalfPlus(2.0).save(run / "saved_models" / "half" / "7")
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }')
    rest_port = free_port()
    ports = ("--port", "0", "--rest_api_port", str(rest_port))
    options = ("--monitoring_config_file", str(monitoring), "--enable_grpc_healthcheck_service")
    process = _start("--dir", str(run), *ports, *options)
    try:
        address, served = _ready(process)
        assert served == (
            f"half [7]; tfrs_sage.users.v1.UserService; REST on 127.0.0.1:{rest_port}; "
            f"page at http://127.0.0.1:{rest_port}/"
        )
        with UserClient(address, timeout_s=TIMEOUT_S) as client:
            found = client.recommend("u", k=5)
            assert found["source"] == "medoids"
            assert {one["medoid_id"] for one in found["items"]} <= set(LIKED)
            assert client.record_event("e1", "new", "2.0", "click", NOW) == "applied"
            assert client.recommend("new")["medoids"][0]["medoid_id"] == "2.0"
            cache = client.status()["cache"]
        url = f"http://127.0.0.1:{rest_port}/metrics"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            text = response.read().decode()
        page = f"http://127.0.0.1:{rest_port}/page/about"
        with urllib.request.urlopen(page, timeout=TIMEOUT_S) as response:
            assert json.load(response)["num_users"] == len(USERS)
        assert cache["misses"] > 0
        assert f"\ntfrs_sage:medoid_cache_misses {cache['misses']}\n" in text
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            state = health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status
        assert state == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
    assert user_service(run, False, None) is None  # --no-users
    assert user_service(tmp_path / "elsewhere", None, None) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model_base_path", "a", "--query_cache_size", "1", "--query_cache", "x"], "Leave one"),
        ([], "one of --dir, --model_base_path and --model_config_file. Received: 0"),
        (["--dir", "a", "--model_base_path", "b"], "Received: 2 of them"),
        (["--model_base_path", "a", "--users"], "--users or --store without --dir"),
        (["--model_base_path", "/nowhere"], "Could not find base path /nowhere for servable"),
    ],
)
def test_bad_usage_ends_with_2(options: list[str], text: str) -> None:
    process = _start(*options)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert text in errors
