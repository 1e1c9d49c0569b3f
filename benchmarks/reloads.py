"""Versions of a model that come and go while clients ask. One JSON line.

    python benchmarks/reloads.py [--model saved_models/query_tower/1] [--reloads 200] [--clients 4]

A server polls a folder; a new version is linked into it, and when it answers the one before is
removed, `--reloads` times. Clients ask all the time for the latest version. No request may fail,
and memory (of the server's process, when a reload is over) may grow between the first tenth of the
reloads and their end by `--growth-mib` at most, or the benchmark fails.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from load.server import Server
from step.protocol import Side, running

ROOT = Path(__file__).resolve().parents[1]
LOAD = Path(__file__).resolve().parent / "load"
RELOAD_TIMEOUT_S = 120.0


def put(model: Path, base: Path, version: int) -> None:
    """A copy of a version that takes no room."""
    part = base / f"making-{version}"
    shutil.copytree(model, part, copy_function=os.link)
    part.rename(base / str(version))


def wait_until_served(server: Server, name: str, version: int) -> None:
    """Returns when a version answers and the one before has ended.

    Raises:
        RuntimeError: it does not in `RELOAD_TIMEOUT_S` seconds.
    """
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/{name}"
    end = time.monotonic() + RELOAD_TIMEOUT_S
    while True:
        with urllib.request.urlopen(url, timeout=30) as response:
            told = json.loads(response.read())["model_version_status"]
        states = {int(one["version"]): one["state"] for one in told}
        if states.get(version) == "AVAILABLE" and states.get(version - 1, "END") == "END":
            return
        if time.monotonic() > end:
            raise RuntimeError(f"version {version} was not served in time: {told}")
        time.sleep(0.02)


def reload_all(server: Server, model: Path, base: Path, name: str, count: int) -> list[float]:
    """MiB of memory after each reload."""
    memory = []
    for version in range(2, count + 2):
        put(model, base, version)
        wait_until_served(server, name, version)
        shutil.rmtree(base / str(version - 1))
        memory.append(server.rss_mib())
        if version % 20 == 0:
            print(f"version {version}: {memory[-1]} MiB", file=sys.stderr)
    return memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "saved_models" / "query_tower" / "1")
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--growth-mib", type=float, default=64.0)
    options = parser.parse_args()
    name = options.model.parent.name
    python = Path(sys.executable)
    clients = Side(python, LOAD / "generator.py", {})
    model_side = Side(python, LOAD / "in_process.py", {"models": {name: str(options.model)}})
    with running(clients):
        with running(model_side):
            requests = model_side.ask("requests", model=name, rows=1, api="grpc")
        # Beside the model, so that files can be linked.
        with tempfile.TemporaryDirectory(dir=options.model.parents[1]) as scratch:
            base = Path(scratch) / name
            base.mkdir()
            put(options.model, base, 1)
            stop, answers = Path(scratch) / "stop", []
            with Server(
                {name: base}, Path(scratch), "--file_system_poll_wait_seconds", "0.05"
            ) as server:
                load: dict[str, Any] = {
                    "api": "grpc",
                    "port": server.port,
                    "requests": requests,
                    "concurrency": options.clients,
                    "seconds": options.reloads * RELOAD_TIMEOUT_S,
                    "stop_file": str(stop),
                }
                asking = threading.Thread(
                    target=lambda: answers.append(clients.ask("load", **load))
                )
                asking.start()
                start = time.monotonic()
                try:
                    memory = reload_all(server, options.model, base, name, options.reloads)
                finally:
                    stop.touch()
                    asking.join()
                took = time.monotonic() - start
    settled = memory[max(0, options.reloads // 10 - 1)]
    result = {
        "benchmark": "reloads",
        "model": name,
        "reloads": options.reloads,
        "seconds_per_reload": round(took / options.reloads, 2),
        "load": answers[0],
        "rss_mib": {
            "after_a_tenth": settled,
            "at_the_end": memory[-1],
            "most": max(memory),
            "bound_of_growth": options.growth_mib,
        },
    }
    print(json.dumps(result))
    if answers[0]["errors"] or memory[-1] - settled > options.growth_mib:
        raise SystemExit("a request failed, or memory grew by more than --growth-mib.")


if __name__ == "__main__":
    main()
