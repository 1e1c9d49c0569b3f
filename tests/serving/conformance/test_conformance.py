"""Pairs of requests and answers, each with its source in TF Serving, against running servers.

The pairs are the YAML files beside this one, lists of cases with

    name, source   what it is about, and the file of tensorflow/serving that says so
    call, request  a gRPC call and its message as JSON; or for HTTP:
    method, path, headers, body (a string as it is sent, anything else as JSON)
    code, text     of a refused gRPC call; `text` whole, or its beginning where it ends in `...`
    status, error  of an HTTP answer; `error` as `text`
    answer         a part of what is answered: members that are not named may be anything
    difference     why our server answers otherwise on purpose, and with `tf_serving` what
                   TF Serving answers instead of these

`$ROOT` stands for the folder of the models. They run against our server always, and against a real
one where the environment variable TF_MODEL_SERVER names a `tensorflow_model_server`.
"""

import http.client
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.serving.conformance import targets
from tests.serving.conformance.targets import Target

TIMEOUT_S = 60
FOLDER = Path(__file__).parent
IN_ORDER = "reload"  # the file whose cases change what is served
_PREDICTION = prediction_service_pb2_grpc.PredictionServiceStub
CALLS = {
    "Predict": (_PREDICTION, predict_pb2.PredictRequest),
    "Classify": (_PREDICTION, classification_pb2.ClassificationRequest),
    "Regress": (_PREDICTION, regression_pb2.RegressionRequest),
    "MultiInference": (_PREDICTION, inference_pb2.MultiInferenceRequest),
    "GetModelMetadata": (_PREDICTION, get_model_metadata_pb2.GetModelMetadataRequest),
    "GetModelStatus": (
        model_service_pb2_grpc.ModelServiceStub,
        get_model_status_pb2.GetModelStatusRequest,
    ),
    "HandleReloadConfigRequest": (
        model_service_pb2_grpc.ModelServiceStub,
        model_management_pb2.ReloadConfigRequest,
    ),
}
FIELDS = {
    *("name", "source", "call", "request", "code", "text", "answer", "difference", "tf_serving"),
    *("method", "path", "headers", "body", "status", "error"),
}


def cases(file: str) -> list[dict[str, Any]]:
    return yaml.safe_load((FOLDER / f"{file}.yaml").read_text(encoding="utf-8"))


FILES = {path.stem: cases(path.stem) for path in sorted(FOLDER.glob("*.yaml"))}
SINGLE = [
    pytest.param(case, id=f"{file}: {case['name']}")
    for file, listed in FILES.items()
    if file != IN_ORDER
    for case in listed
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("conformance")
    targets.save_models(root)
    return root


def _skip_without(name: str) -> None:
    if name == "tf_serving" and not targets.TF_MODEL_SERVER:
        pytest.skip("TF_MODEL_SERVER names no tensorflow_model_server")


@pytest.fixture(scope="module", params=targets.NAMES)
def target(request, root):
    _skip_without(request.param)
    with targets.running(request.param, root) as target:
        yield target


@pytest.mark.parametrize("case", SINGLE)
def test_pair(target, case) -> None:
    check(target, case)


@pytest.mark.parametrize("name", targets.NAMES)
def test_reload(root, name) -> None:
    _skip_without(name)
    with targets.running(name, root) as target:
        for case in FILES[IN_ORDER]:
            check(target, case)


def check(target: Target, case: dict[str, Any]) -> None:
    case = json.loads(json.dumps(case).replace("$ROOT", str(target.root)))
    if target.name == "tf_serving":
        case.update(case.get("tf_serving", {}))
    try:
        (_check_call if "call" in case else _check_http)(target, case)
    except AssertionError as error:
        raise AssertionError(f"{case['name']} ({case['source']}): {error}") from error


def _check_call(target: Target, case: dict[str, Any]) -> None:
    stub, message = CALLS[case["call"]]
    request = json_format.ParseDict(case["request"], message())
    with grpc.insecure_channel(f"127.0.0.1:{target.port}") as channel:
        call = getattr(stub(channel), case["call"])
        if "code" in case:
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=TIMEOUT_S)
            assert caught.value.code().name == case["code"], caught.value.details()
            _check_text(caught.value.details(), case["text"])
            return
        answer = call(request, timeout=TIMEOUT_S)
    _check_part(json_format.MessageToDict(answer, preserving_proto_field_name=True), case["answer"])


def _check_http(target: Target, case: dict[str, Any]) -> None:
    body = case.get("body")
    sent = body if body is None or isinstance(body, str) else json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", target.rest_port, timeout=TIMEOUT_S)
    try:
        connection.request(
            case["method"], case["path"], sent and sent.encode(), case.get("headers", {})
        )
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    assert response.status == case["status"], text
    if "error" in case:
        answer = json.loads(text)
        assert set(answer) == {"error"}
        _check_text(answer["error"], case["error"])
    elif "text" in case:
        _check_text(text, case["text"])
    elif "answer" in case:
        _check_part(json.loads(text), case["answer"])


def _check_text(found: str, expected: str) -> None:
    if expected.endswith("..."):
        assert found.startswith(expected.removesuffix("..."))
    else:
        assert found == expected


def _check_part(found: Any, expected: Any) -> None:
    """Whether everything that is expected is found: objects may have further members."""
    if isinstance(expected, dict):
        assert isinstance(found, dict) and set(expected) <= set(found), (found, expected)
        for key, value in expected.items():
            _check_part(found[key], value)
    elif isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), (found, expected)
        for one, value in zip(found, expected, strict=True):
            _check_part(one, value)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6)
    else:
        assert found == expected and type(found) is type(expected)


def test_the_files_are_well_formed() -> None:
    for file, listed in FILES.items():
        names = [case["name"] for case in listed]
        assert len(set(names)) == len(names), file
        for case in listed:
            assert set(case) <= FIELDS, case
            assert case["source"], case
            assert ("tf_serving" in case) <= ("difference" in case), case
            assert "answer" in case or "code" in case or "status" in case, case


def test_a_difference_is_told_in_the_documents() -> None:
    text = " ".join((FOLDER.parents[2] / "docs" / "serving.md").read_text("utf-8").split())
    for case in (case for listed in FILES.values() for case in listed):
        if "difference" in case:
            assert case["difference"] in text, case["name"]
