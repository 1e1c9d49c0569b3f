"""Messages that are none: a status for each, and nothing of them is kept."""

import gc

import grpc
import pytest

from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore

BROKEN = b"\xff\xff\xff"
TIMEOUT_S = 20
COUNT = 200


@pytest.fixture(scope="module")
def channel():
    settings = ServerSettings(port=0, grpc_health=True)
    with (
        ModelServer(ModelStore(), settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield channel


@pytest.mark.parametrize(
    "method",
    [
        "tensorflow.serving.PredictionService/Predict",
        "tensorflow.serving.ModelService/GetModelStatus",
        "grpc.health.v1.Health/Check",
    ],
)
def test_broken_bytes_are_internal_as_in_cpp_and_leave_nothing(channel, method) -> None:
    call = channel.unary_unary(f"/{method}")

    def refused() -> str:
        with pytest.raises(grpc.RpcError) as caught:
            call(BROKEN, timeout=TIMEOUT_S)
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        return caught.value.details()

    assert f"The message of /{method} cannot be parsed" in refused()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(COUNT):
        refused()
    gc.collect()
    # grpcio itself keeps 22 objects of each.
    assert len(gc.get_objects()) - before < COUNT


def test_a_stream_is_refused_too(channel) -> None:
    watched = channel.unary_stream("/grpc.health.v1.Health/Watch")(BROKEN, timeout=TIMEOUT_S)
    with pytest.raises(grpc.RpcError) as caught:
        next(watched)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
