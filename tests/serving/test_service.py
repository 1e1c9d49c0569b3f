"""The wire behaviour of Predict, GetModelMetadata and GetModelStatus against a real server."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import PredictClient, TensorSpec
from serving.models import LoadedModel
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.serving.toys import HalfPlus
from tfrs_sage.errors import InputError

TIMEOUT_S = 20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """`half/1` adds 2 (half plus two), `half/003` adds 3."""
    root = tmp_path_factory.mktemp("models")
    HalfPlus(2.0).save(root / "half" / "1")
    HalfPlus(3.0).save(root / "half" / "003")
    (root / "half" / ".4.123").mkdir()  # an export under way
    (root / "half" / "assets").mkdir()
    return root


@pytest.fixture(scope="module")
def server(root):
    models = [
        LoadedModel("half", 1, root / "half" / "1"),
        LoadedModel("half", 3, root / "half" / "003"),
    ]
    store = ModelStore(models, labels={"half": {"stable": 1}})
    with ModelServer(store, ServerSettings(port=0)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with PredictClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client:
        client.wait_until_ready(TIMEOUT_S)
        yield client


@pytest.fixture(scope="module")
def stubs(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )


def _refused(call, *args, **kwargs) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code().name, caught.value.details()


def _x(values=(1.0, 2.0)):
    return {"x": np.float32(values)}


def test_half_plus_two_by_version_label_and_latest(client) -> None:
    assert client.predict("half", _x())["y"].tolist() == [3.5, 4.0]
    assert client.predict("half", _x(), version=1)["y"].tolist() == [2.5, 3.0]
    assert client.predict("half", _x(), version_label="stable")["y"].tolist() == [2.5, 3.0]
    with pytest.raises(ValueError, match="a version or a label, not both"):
        client.predict("half", _x(), version=1, version_label="stable")


def test_both_spellings_of_a_tensor_and_the_effective_spec(stubs) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].dtype = tf.float32.as_datatype_enum
    request.inputs["x"].tensor_shape.dim.add().size = 2
    request.inputs["x"].float_val.extend([1, 2])
    typed = stubs[0].Predict(request, timeout=TIMEOUT_S)
    request.inputs["x"].ClearField("float_val")
    request.inputs["x"].tensor_content = np.float32([1, 2]).tobytes()
    assert stubs[0].Predict(request, timeout=TIMEOUT_S) == typed
    assert list(typed.outputs["y"].float_val) == [3.5, 4.0]
    assert not typed.outputs["y"].tensor_content
    assert typed.model_spec.version.value == 3
    assert typed.model_spec.signature_name == "serving_default"


def test_every_dtype_comes_back(client) -> None:
    inputs = {
        "i64": np.int64([[2**40], [-1]]),
        "u8": np.uint8(7),
        "flag": np.array([], dtype=bool),
        "half": np.float16([0.5, -3]),
    }
    answer = client.predict("half", inputs, signature="types")
    assert answer["i64"].tolist() == [[2**40 + 1], [0]]
    assert answer["u8"] == 8 and answer["u8"].shape == ()
    assert answer["flag"].shape == (0,)
    assert answer["half"].tolist() == [1, -6] and answer["half"].dtype == np.float16
    texts = client.predict("half", {"text": ["a", "grün"]}, signature="echo")
    assert texts["text"].tolist() == [b"a", "grün".encode()]
    assert texts["length"].tolist() == [1, 5]


def test_output_filter(client) -> None:
    inputs = {"x": np.ones((1, 2), np.float32), "scale": np.int32(3)}
    both = client.predict("half", inputs, signature="pair")
    assert {k: v.tolist() for k, v in both.items()} == {"twice": [[2, 2]], "scaled": [[3, 3]]}
    assert list(client.predict("half", inputs, signature="pair", outputs=["scaled"])) == ["scaled"]
    assert _refused(client.predict, "half", inputs, signature="pair", outputs=["no"]) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: no Outputs expected to be in the set "
        "{scaled,twice}.",
    )
    assert _refused(client.predict, "half", inputs, signature="pair", outputs=["twice"] * 2) == (
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: twice",
    )


def test_model_spec_errors(client, stubs) -> None:
    assert _refused(stubs[0].Predict, predict_pb2.PredictRequest(), timeout=TIMEOUT_S) == (
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    )
    cases = [
        (("", _x()), {}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (("m", _x()), {}, "NOT_FOUND", "Servable not found for request: Latest(m)"),
        (
            ("half", _x()),
            {"version": 7},
            "NOT_FOUND",
            "Servable not found for request: Specific(half, 7)",
        ),
        (
            ("half", _x()),
            {"version_label": "canary"},
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: canary",
        ),
        (
            ("half", _x()),
            {"signature": "nope"},
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found.',
        ),
    ]
    for args, kwargs, code, text in cases:
        assert _refused(client.predict, *args, **kwargs) == (code, text)


def test_input_errors(client, stubs) -> None:
    def refused(inputs, signature=""):
        return _refused(client.predict, "half", inputs, signature=signature)

    prefix = "input size does not match signature: "
    assert refused({}) == (
        "INVALID_ARGUMENT",
        prefix + "0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    )
    assert refused({"b": np.float32(1)}, "pair") == (
        "INVALID_ARGUMENT",
        prefix + "1!=2 len({b}) != len({scale,x}). Sent extra: {b}. "
        "Missing but required: {scale,x}.",
    )
    assert refused({"x": np.float64([1])}) == (
        "INVALID_ARGUMENT",
        "input x must be of type float32. Received: float64.",
    )
    assert refused(_x([[1.0]])) == (
        "INVALID_ARGUMENT",
        "input x must have the shape (None,). Received: (1, 1).",
    )
    broken = predict_pb2.PredictRequest()
    broken.model_spec.name = "half"
    broken.inputs["x"].dtype = tf.float32.as_datatype_enum
    for fill in ("short", "huge", "negative"):
        broken.inputs["x"].ClearField("tensor_shape")
        size = {"short": 3, "huge": 2**60, "negative": -1}[fill]
        broken.inputs["x"].tensor_shape.dim.add().size = size
        broken.inputs["x"].tensor_content = b"12345678"
        assert _refused(stubs[0].Predict, broken, timeout=TIMEOUT_S) == (
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        )
    broken.inputs["x"].dtype = 99
    assert _refused(stubs[0].Predict, broken, timeout=TIMEOUT_S)[1].endswith("DataType(99).")


def test_the_models_own_error_is_passed_on_and_cut(client) -> None:
    code, text = _refused(client.predict, "half", {"text": ["bad"]}, signature="echo")
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("assertion failed: [bad text] [bad]")
    code, text = _refused(client.predict, "half", {"text": ["y" * 5000, "bad"]}, signature="echo")
    assert len(text) == 1024 + len("...TRUNCATED") and text.endswith("...TRUNCATED")


def test_metadata(client, stubs) -> None:
    signatures = client.metadata("half")
    assert signatures["pair"].inputs == {
        "x": TensorSpec("float32", (None, 2)),
        "scale": TensorSpec("int32", ()),
    }
    assert signatures["types"].outputs["i64"] == TensorSpec("int64", None)
    assert signatures["pair"].method_name == "tensorflow/serving/predict"
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    ask = stubs[0].GetModelMetadata
    assert _refused(ask, request, timeout=TIMEOUT_S) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    request.model_spec.name = "nope"
    assert _refused(ask, request, timeout=TIMEOUT_S) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field.append("weights")
    assert _refused(ask, request, timeout=TIMEOUT_S) == (
        "INVALID_ARGUMENT",
        "Metadata field weights is not supported",
    )
    request.metadata_field[:] = ["signature_def"]
    assert _refused(ask, request, timeout=TIMEOUT_S) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    )
    request.model_spec.name = "half"
    assert ask(request, timeout=TIMEOUT_S).model_spec.version.value == 3


def test_status(client, stubs) -> None:
    assert client.status("half") == {1: "AVAILABLE", 3: "AVAILABLE"}
    assert client.status("half", version=1) == {1: "AVAILABLE"}
    assert _refused(client.status, "nope") == (
        "NOT_FOUND",
        "Could not find any versions of model nope",
    )
    assert _refused(client.status, "half", version=2) == (
        "NOT_FOUND",
        "Could not find version 2 of model half",
    )
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half"
    request.model_spec.version_label = "ignored"
    first = stubs[1].GetModelStatus(request, timeout=TIMEOUT_S).model_version_status[0]
    assert first.HasField("status") and first.status.error_code == 0


def test_other_calls_are_unimplemented(server, stubs) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
        assert _refused(call, b"", timeout=TIMEOUT_S)[0] == "UNIMPLEMENTED"
    # This server was given its models and has nobody to load others.
    code, text = _refused(
        stubs[1].HandleReloadConfigRequest,
        model_management_pb2.ReloadConfigRequest(),
        timeout=TIMEOUT_S,
    )
    assert code == "UNIMPLEMENTED" and "cannot be changed while it runs" in text


def test_tensors_as_bytes(root) -> None:
    store = ModelStore([LoadedModel("half", 1, root / "half" / "1")])
    settings = ServerSettings(port=0, tensor_content=True)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1, 2])))
    with (
        ModelServer(store, settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        y = stub.Predict(request, timeout=TIMEOUT_S).outputs["y"]
    assert y.tensor_content == np.float32([2.5, 3]).tobytes() and not y.float_val


def test_messages_above_grpcs_default_limit(client) -> None:
    values = np.arange(3_000_000, dtype=np.float32)  # 12 MB each way
    np.testing.assert_array_equal(client.predict("half", {"x": values})["y"], values / 2 + 3)


def test_labels_name_loaded_versions() -> None:
    with pytest.raises(InputError, match="assign label to version 2 of model half, which is not"):
        ModelStore([], labels={"half": {"x": 2}})


def test_a_port_in_use_is_an_error(server) -> None:
    with pytest.raises(InputError, match="choose another --port"):
        ModelServer(ModelStore(), ServerSettings(port=server.port))
