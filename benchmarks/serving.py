"""What the model server adds to the model: queries/s and latency. One JSON line.

    python benchmarks/serving.py [--saved-models FOLDER] [--seconds 1.5] [--clients 1 8 64]

`query_tower` and `retrieval` of a run's export (`tfrs-sage quickstart` makes one) over gRPC and
REST with 1, 8 and 64 clients: plain, with batching (where a batch waits for nobody) and with the
query cache (of texts that have been asked before). Beside them the same signatures called in a
process with `tf.saved_model.load`: alone, and for the throughput with batches as large as those
that a server made whose batches wait 5 ms (64 clients, 8 s each). Texts are those of the models'
warm-up.

Server, clients and in-process side are processes of their own on 127.0.0.1; the clients share the
machine's cores with the server. `server_cpu_ms` and `client_cpu_ms` tell what a request took of
them.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from load.server import Server
from step.protocol import Side, running

ROOT = Path(__file__).resolve().parents[1]
LOAD = Path(__file__).resolve().parent / "load"
MODELS = ("query_tower", "retrieval")
SATURATION_ROWS = (1, 16)
SATURATION_CLIENTS = 64
# A request then takes up to 1.5 s: shorter loads are mostly their own beginning and end.
SATURATION_SECONDS = 8.0
BATCHING = """max_batch_size {{ value: 64 }}
batch_timeout_micros {{ value: {micros} }}
max_enqueued_batches {{ value: 256 }}
num_batch_threads {{ value: 2 }}
"""
SATURATION = "saturation"
WAITS_US = {"batching": 0, SATURATION: 5_000}  # for the others of a batch
THREADS = ("--grpc_max_threads", "80", "--rest_api_num_threads", "80")


def modes(scratch: Path) -> dict[str, list[str]]:
    """The server's options by name."""
    options = {"plain": [], "cache": ["--query_cache_size", "64"]}
    for mode, micros in WAITS_US.items():
        path = scratch / f"{mode}.config"
        path.write_text(BATCHING.format(micros=micros))
        file = ["--batching_parameters_file", str(path)]
        options[mode] = ["--enable_batching", *file, *THREADS]
    return options


def newest(saved_models: Path, name: str) -> Path:
    """The newest version of a model."""
    versions = [path for path in (saved_models / name).glob("*") if path.name.isdigit()]
    if not versions:
        raise SystemExit(
            f"{saved_models} must hold the models {', '.join(MODELS)}. Found: no version of "
            f"{name}. Make them with `tfrs-sage quickstart`, or give another --saved-models."
        )
    return max(versions, key=lambda path: int(path.name))


def measured(
    server: Server, clients: Side, requests: list[str], api: str, **about: Any
) -> dict[str, Any]:
    """One load of one server."""
    before = server.cpu_s(), server.counter("tfrs_sage:batching_batches")
    rows_before = server.counter("tfrs_sage:batching_rows")
    port = server.port if api == "grpc" else server.rest_port
    found: dict[str, Any] = clients.ask("load", api=api, port=port, requests=requests, **about)
    batches = server.counter("tfrs_sage:batching_batches") - before[1]
    if batches:
        rows = server.counter("tfrs_sage:batching_rows") - rows_before
        found["mean_batch_rows"] = round(rows / batches, 1)
    used = server.cpu_s() - before[0]
    found["server_cpu_ms"] = round(1e3 * used / max(1, found.pop("sent")), 3)
    return found


def cells(
    server: Server, mode: str, clients: Side, model_side: Side, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """All loads of a server in one mode."""
    results = []
    for name in MODELS:
        for api in ("grpc", "rest"):
            requests = model_side.ask("requests", model=name, rows=1, api=api)
            if mode == "cache":  # every text once
                measured(server, clients, requests, api, concurrency=1, seconds=0.5)
            for concurrency in options.clients:
                print(f"{mode} {name} {api} {concurrency}", file=sys.stderr)
                found = measured(
                    server, clients, requests, api, concurrency=concurrency, seconds=options.seconds
                )
                key = {"model": name, "api": api, "mode": mode, "clients": concurrency}
                results.append({**key, **found})
    return results


def saturation(server: Server, clients: Side, model_side: Side) -> list[dict[str, Any]]:
    """The most texts a second with batching, beside the same batches in a process."""
    results = []
    for name in MODELS:
        for rows in SATURATION_ROWS:
            requests = model_side.ask("requests", model=name, rows=rows, api="grpc")
            load = {"concurrency": SATURATION_CLIENTS, "seconds": SATURATION_SECONDS}
            found = measured(server, clients, requests, "grpc", **load)
            batch = max(1, round(found["mean_batch_rows"]))
            alone = max(
                model_side.ask(
                    "throughput",
                    model=name,
                    rows=batch,
                    seconds=SATURATION_SECONDS,
                    threads=threads,
                )
                for threads in (1, 2)
            )
            served = round(rows * found["requests_per_second"], 1)
            results.append(
                {
                    **{"model": name, "rows_per_request": rows, **found},
                    "strings_per_second": served,
                    "in_process_strings_per_second": alone,
                    "share_of_in_process": round(served / alone, 3),
                }
            )
    return results


def summary(alone: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that have a target, by model."""

    def p50(name: str, mode: str, api: str) -> float:
        return next(
            float(one["p50_ms"])
            for one in found
            if (one["model"], one["mode"], one["api"], one["clients"]) == (name, mode, api, 1)
        )

    return {
        name: {
            "grpc_adds_ms": round(p50(name, "plain", "grpc") - alone[name]["p50_ms"], 3),
            "rest_adds_ms": round(p50(name, "plain", "rest") - alone[name]["p50_ms"], 3),
            "cached_grpc_p50_ms": p50(name, "cache", "grpc"),
            "cached_rest_p50_ms": p50(name, "cache", "rest"),
        }
        for name in MODELS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--saved-models", type=Path, default=ROOT / "saved_models")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each load but saturation")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    options = parser.parse_args()
    folders = {name: newest(options.saved_models, name) for name in MODELS}
    models = {name: options.saved_models / name for name in MODELS}
    python = Path(sys.executable)
    clients = Side(python, LOAD / "generator.py", {})
    model_side = Side(
        python, LOAD / "in_process.py", {"models": {n: str(f) for n, f in folders.items()}}
    )
    found: list[dict[str, Any]] = []
    saturated: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch, running(clients, model_side):
        alone = {
            name: model_side.ask("latency", model=name, rows=1, seconds=options.seconds)
            for name in MODELS
        }
        for mode, flags in modes(Path(scratch)).items():
            with Server(models, Path(scratch), *flags) as server:
                if mode == SATURATION:
                    saturated = saturation(server, clients, model_side)
                else:
                    found += cells(server, mode, clients, model_side, options)
        again = {
            name: model_side.ask("latency", model=name, rows=1, seconds=options.seconds)
            for name in MODELS
        }
    result = {
        "benchmark": "serving",
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, clients on the same",
        "texts": {name: about["texts"] for name, about in model_side.spec.items()},
        "in_process": alone,
        "in_process_again": again,
        "summary": summary(alone, found),
        "saturation": saturated,
        "loads": found,
    }
    print(json.dumps(result))
    if any(one["errors"] for one in [*found, *saturated]):
        raise SystemExit("requests failed: see `errors`.")


if __name__ == "__main__":
    main()
