"""The light client: no TensorFlow, the tensors of TensorFlow, retries, deadlines, tokens."""

import shutil
import subprocess
import sys
import threading
import time
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from ml_dtypes import bfloat16
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving.client import PredictClient, Tls, UserClient
from serving.models import LoadedModel
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.tensors import to_proto
from serving.wire_messages import Tensor
from serving.wire_tensors import dtype_name, to_array, to_tensor
from tests.serving.toys import HalfPlus

TIMEOUT_S = 20
ARRAYS = {
    "float32": np.float32([[1.5, -2, np.nan]]),
    "float64": np.float64([np.pi, np.inf]),
    "int32": np.int32([[1], [-(2**31)]]),
    "uint8": np.uint8([0, 255]),
    "int16": np.int16([-7]),
    "int8": np.int8([[[-128]]]),
    "string": np.array([b"a\0", "grün".encode(), b""], dtype=object),
    "complex64": np.complex64([1 + 2j, -3j]),
    "int64": np.int64(2**62),
    "bool": np.array([True, False]),
    "uint16": np.uint16([65535]),
    "complex128": np.complex128([[1 + 2j]]),
    "half": np.float16([0.5, -3]),
    "uint32": np.uint32([2**32 - 1]),
    "uint64": np.uint64([2**64 - 1]),
    "empty": np.zeros((0, 3), np.float32),
}


def _theirs(message) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto.FromString(message.SerializeToString())


def _ours(message: tensor_pb2.TensorProto):
    return Tensor.FromString(message.SerializeToString())


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_tensorflow_reads_our_tensors_and_we_read_its(array) -> None:
    sent = tf.make_ndarray(_theirs(to_tensor(array)))
    assert sent.dtype == array.dtype and sent.shape == array.shape
    np.testing.assert_array_equal(sent, array)
    for spelling in (tf.make_tensor_proto(array), to_proto(array)):  # content, typed fields
        found = to_array(_ours(spelling))
        assert found.dtype == array.dtype and found.shape == array.shape
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "value",
    [1.5, [1, 2], 2**40, [[True]], "grün", b"a\0", [b"a\0", "b"], [1, 2.5], [], np.float64([1])],
    ids=repr,
)
def test_values_of_python_become_what_tensorflow_makes_of_them(value) -> None:
    sent, expected = _theirs(to_tensor(value)), tf.make_tensor_proto(value)
    assert sent.dtype == expected.dtype and sent.tensor_shape == expected.tensor_shape
    np.testing.assert_array_equal(tf.make_ndarray(sent), tf.make_ndarray(expected))


def test_other_spellings_of_tensors() -> None:
    small = bfloat16(1.5)
    assert tf.make_ndarray(_theirs(to_tensor(np.array([small])))).tolist() == [small]
    found = to_array(_ours(to_proto(np.array([small, bfloat16(-2)]))))
    assert found.tolist() == [1.5, -2] and found.dtype == np.float32
    # The last value stands for the rest; without any it is zero.
    filled = tf.make_tensor_proto(np.int32([7]), shape=[2, 2])
    filled.ClearField("tensor_content")
    filled.int_val[:] = [7]
    np.testing.assert_array_equal(to_array(_ours(filled)), tf.make_ndarray(filled))
    filled.ClearField("int_val")
    assert to_array(_ours(filled)).tolist() == [[0, 0], [0, 0]]
    # Big-endian arrays and columns of a matrix arrive in order.
    matrix = np.arange(6, dtype=">f4").reshape(2, 3)
    assert tf.make_ndarray(_theirs(to_tensor(matrix.T))).tolist() == matrix.T.tolist()


def test_strings_as_content() -> None:
    texts = [b"", b"a" * 300, "grün".encode()]  # 300 takes two bytes of varint
    message = Tensor(dtype=7, tensor_content=b"\x00\xac\x02\x05" + b"".join(texts))
    message.tensor_shape.dim.add(size=3)
    assert to_array(message).tolist() == texts
    message.tensor_content += b"x"
    with pytest.raises(ValueError, match="Received: 310 bytes where they take 309"):
        to_array(message)


@pytest.mark.parametrize("value", [[[1], [1, 2]], [None], [{}], np.array(["2026"], "M8[Y]")])
def test_what_is_no_tensor_is_refused(value) -> None:
    with pytest.raises(TypeError, match=r"an input must be .*Received: "):
        to_tensor(value)


def test_unknown_dtypes_are_told() -> None:
    assert dtype_name(tf.string.as_datatype_enum) == "string"
    with pytest.raises(ValueError, match="Received: dtype 21"):  # a variant
        to_array(Tensor(dtype=21))


_FRESH = """
import sys
from serving.client import PredictClient, UserClient
with PredictClient(sys.argv[1], timeout_s=20) as client:
    print(client.predict("half", {"x": [1.0, 2.0]})["y"].tolist(), client.status("half"))
    print(client.metadata("half")["pair"].inputs["x"])
heavy = ("tensorflow", "tensorflow_serving", "keras", "pandas", "pyarrow", "pydantic")
print([name for name in heavy if name in sys.modules])
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    HalfPlus(2.0).save(root / "1")
    store = ModelStore([LoadedModel("half", 1, root / "1")])
    with ModelServer(store, ServerSettings(port=0)) as server:
        yield f"127.0.0.1:{server.port}"


def test_a_real_call_imports_no_tensorflow(address) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FRESH, address], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[2.5, 3.0] {1: 'AVAILABLE'}",
        "TensorSpec(dtype='float32', shape=(None, 2))",
        "[]",
    ]


class _Handler(grpc.GenericRpcHandler):
    """Refuses the first calls, then answers; keeps what it was sent."""

    def __init__(self, refusals: int, code: grpc.StatusCode, wait_s: float = 0.0) -> None:
        self.refusals, self.code, self.wait_s = refusals, code, wait_s
        self.metadata: list[dict[str, str]] = []
        self.sizes: list[int] = []

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context) -> bytes:
        self.metadata.append(dict(context.invocation_metadata()))
        self.sizes.append(len(request))
        time.sleep(self.wait_s)
        if len(self.sizes) <= self.refusals:
            context.abort(self.code, "not now")
        response = predict_pb2.PredictResponse()
        response.outputs["y"].CopyFrom(to_proto(np.float32([7])))
        return response.SerializeToString()


class _Servers:
    """Starts servers with a handler, each at a free port unless told."""

    def __init__(self) -> None:
        self.running: list[grpc.Server] = []

    def __call__(self, handler, credentials=None, at="localhost:0") -> str:
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler], options=options)
        if credentials is None:
            port = server.add_insecure_port(at)
        else:
            port = server.add_secure_port(at, credentials)
        server.start()
        self.running.append(server)
        return f"localhost:{port}"

    def stop(self) -> None:
        for server in self.running:
            server.stop(None).wait()
        self.running.clear()


@pytest.fixture
def serve():
    servers = _Servers()
    yield servers
    servers.stop()


def test_unavailable_is_tried_again_with_the_whole_request(serve) -> None:
    handler = _Handler(3, grpc.StatusCode.UNAVAILABLE)
    start = time.monotonic()
    with PredictClient(serve(handler), timeout_s=TIMEOUT_S) as client:
        # 8 MB: more than gRPC keeps for another attempt unless it is told to.
        assert client.predict("m", {"x": np.zeros(2_000_000, np.float32)})["y"].tolist() == [7]
    assert len(handler.sizes) == 4 and min(handler.sizes) == max(handler.sizes) > 8_000_000
    assert time.monotonic() - start > 0.8 * (0.1 + 0.2 + 0.4)  # backoff, less a fifth


@pytest.mark.parametrize(
    ("attempts", "code", "calls"),
    [(4, "UNAVAILABLE", 4), (1, "UNAVAILABLE", 1), (4, "INVALID_ARGUMENT", 1)],
)
def test_attempts_are_bounded_and_for_unavailable_alone(serve, attempts, code, calls) -> None:
    handler = _Handler(100, grpc.StatusCode[code])
    with (
        PredictClient(serve(handler), timeout_s=TIMEOUT_S, attempts=attempts) as client,
        pytest.raises(grpc.RpcError) as caught,
    ):
        client.predict("m", {})
    assert caught.value.code() is grpc.StatusCode[code]
    assert caught.value.details() == "not now"
    assert len(handler.sizes) == calls


def test_the_deadline_holds_for_all_attempts_together(serve) -> None:
    for handler in (
        _Handler(100, grpc.StatusCode.UNAVAILABLE, wait_s=0.4),
        _Handler(0, grpc.StatusCode.OK, wait_s=2),
    ):
        start = time.monotonic()
        with (
            PredictClient(serve(handler), timeout_s=0.6) as client,
            pytest.raises(grpc.RpcError) as caught,
        ):
            client.predict("m", {})
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0.5 < time.monotonic() - start < 1.5


def test_a_server_that_restarts_is_found_again(serve) -> None:
    address = serve(_Handler(0, grpc.StatusCode.OK))
    with PredictClient(address, timeout_s=TIMEOUT_S) as client:
        assert client.predict("m", {})["y"].tolist() == [7]
        serve.stop()
        again = threading.Timer(0.1, serve, [_Handler(0, grpc.StatusCode.OK)], {"at": address})
        again.start()
        assert client.predict("m", {})["y"].tolist() == [7]
        again.join()


def test_a_server_that_is_not_there_is_told() -> None:
    with (
        PredictClient("127.0.0.1:1") as client,
        pytest.raises(TimeoutError, match=r"no server answered within 0\.1 s"),
    ):
        client.wait_until_ready(0.1)


def test_a_token_goes_with_every_call(serve) -> None:
    handler = _Handler(0, grpc.StatusCode.OK)
    address = serve(handler)
    with PredictClient(address, token="secret") as client:
        client.predict("m", {})
    with UserClient(address, token="secret") as users, pytest.raises(UnicodeDecodeError):
        users.status()  # the handler's answer is no JSON; what it was sent is what counts
    with PredictClient(address) as client:
        client.predict("m", {})
    assert [one.get("authorization") for one in handler.metadata] == [
        "Bearer secret",
        "Bearer secret",
        None,
    ]


def _certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for `name` at `folder/name.crt`, its key beside it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"{name}.crt"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_mutual_tls(serve, tmp_path) -> None:
    server, mine = _certificate(tmp_path, "models.example"), _certificate(tmp_path, "client")
    pair = (server.with_suffix(".key").read_bytes(), server.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], mine.read_bytes(), require_client_auth=True)
    address = serve(_Handler(0, grpc.StatusCode.OK), credentials)
    tls = Tls(server, mine, mine.with_suffix(".key"), server_name="models.example")
    with PredictClient(address, tls=tls, token="secret") as client:
        assert client.predict("m", {})["y"].tolist() == [7]
    for wrong in (None, Tls(server, server_name="models.example"), replace(tls, server_name=None)):
        with (
            PredictClient(address, tls=wrong, timeout_s=5, attempts=1) as client,
            pytest.raises(grpc.RpcError) as caught,
        ):
            client.predict("m", {})
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(ValueError, match="needs a certificate and its key"):
        Tls(certificate=mine)
    with pytest.raises(ValueError, match=r"`attempts` must be 1 to 5.*Received: 6"):
        PredictClient(address, attempts=6)
