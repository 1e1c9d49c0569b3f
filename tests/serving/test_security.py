"""TLS, clients' certificates and the bearer token, on both ports of real servers."""

import http.client
import json
import ssl
from contextlib import contextmanager

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.models import LoadedModel
from serving.security import TOKEN_VARIABLE, Token, exposure, read_ssl_config, read_token
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from serving.tfserving.parameters import ssl_message
from tests.serving.certificates import Authority
from tests.serving.toys import HalfPlus
from tfrs_sage.errors import InputError

TIMEOUT_S = 60
SECRET = "correct-horse-battery-staple"
BODY = json.dumps({"instances": [1.0]})
METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "half" / "1"
    HalfPlus(2.0).save(folder)
    return ModelStore([LoadedModel("half", 1, folder)])


@pytest.fixture(scope="module")
def authority():
    return Authority()


def ssl_file(path, pair, ca="", verify=False):
    message = ssl_message()
    message.server_key, message.server_cert = pair.key, pair.cert
    message.custom_ca, message.client_verify = ca, verify
    path.write_text(text_format.MessageToString(message))
    return path


def predict(channel, **kwargs) -> float:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(request, timeout=TIMEOUT_S, **kwargs).outputs["y"].float_val[0]


def code_of(call, *args, **kwargs) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code().name


def post(server, context=None, headers=None, path="/v1/models/half:predict", body=BODY):
    address = ("127.0.0.1", server.rest_port)
    if context is None:
        connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    else:
        connection = http.client.HTTPSConnection(*address, timeout=TIMEOUT_S, context=context)
    try:
        connection.request("POST" if body else "GET", path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def secure_channel(server, ca, pair=None):
    credentials = grpc.ssl_channel_credentials(
        ca.encode(), pair and pair.key.encode(), pair and pair.cert.encode()
    )
    with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
        yield channel


def test_tls(store, authority, tmp_path) -> None:
    tls = read_ssl_config(ssl_file(tmp_path / "ssl.config", authority.pair("server")))
    assert "PRIVATE" not in repr(tls)
    trusting = ssl.create_default_context(cadata=authority.cert)
    with ModelServer(store, ServerSettings(port=0, rest_port=0, tls=tls)) as server:
        with secure_channel(server, authority.cert) as channel:
            assert predict(channel) == 2.5
        with secure_channel(server, Authority().cert) as channel:
            assert code_of(predict, channel) == "UNAVAILABLE"
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert code_of(predict, channel) == "UNAVAILABLE"
        assert post(server, trusting)[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            post(server, ssl.create_default_context())
        with pytest.raises((http.client.BadStatusLine, OSError)):
            post(server)
        status, body = post(server, trusting, {"Content-Length": "99999999999"}, body="x")
        assert status == 413 and b"A body may have" in body
        assert post(server, trusting)[0] == 200  # the others' mistakes disturbed nobody


def test_clients_must_have_a_certificate(store, authority, tmp_path) -> None:
    path = ssl_file(tmp_path / "ssl.config", authority.pair("server"), authority.cert, verify=True)
    settings = ServerSettings(port=0, rest_port=0, tls=read_ssl_config(path))
    client, stranger = authority.pair("client"), Authority().pair("client")

    def context(pair):
        pem = tmp_path / "client.pem"
        pem.write_text(pair.key + pair.cert)
        context = ssl.create_default_context(cadata=authority.cert)
        context.load_cert_chain(pem)
        return context

    with ModelServer(store, settings) as server:
        with secure_channel(server, authority.cert, client) as channel:
            assert predict(channel) == 2.5
        for pair in (None, stranger):
            with secure_channel(server, authority.cert, pair) as channel:
                assert code_of(predict, channel) == "UNAVAILABLE"
        assert post(server, context(client))[0] == 200
        for wrong in (context(stranger), ssl.create_default_context(cadata=authority.cert)):
            with pytest.raises((ssl.SSLError, OSError)):
                post(server, wrong)


def test_ssl_configs_that_are_refused(authority, tmp_path) -> None:
    path, pair = tmp_path / "ssl.config", authority.pair("server")
    with pytest.raises(InputError, match="must have a server_cert"):
        read_ssl_config(ssl_file(path, pair._replace(cert="")))
    with pytest.raises(InputError, match="must be a custom_ca"):
        read_ssl_config(ssl_file(path, pair, verify=True))
    for wrong in (pair._replace(key=authority.pair("other").key), pair._replace(key="key.pem")):
        with pytest.raises(InputError, match="the key that of the certificate"):
            read_ssl_config(ssl_file(path, wrong))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="must be a text proto of the type SSLConfig"):
        read_ssl_config(path)


def test_the_token(store) -> None:
    settings = ServerSettings(
        port=0, rest_port=0, token=Token(SECRET), grpc_health=True, metrics_path=METRICS
    )
    right = f"Bearer {SECRET}"
    wrong = ("", SECRET, f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", f"Basic {SECRET}", "Bearer")
    with (
        ModelServer(store, settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert predict(channel, metadata=[("authorization", right)]) == 2.5
        assert predict(channel, metadata=[("authorization", right.replace("B", "b", 1))]) == 2.5
        assert code_of(predict, channel) == "UNAUTHENTICATED"
        for one in wrong:
            metadata = [("authorization", one)]
            assert code_of(predict, channel, metadata=metadata) == "UNAUTHENTICATED"
        no_such = channel.unary_unary("/tensorflow.serving.PredictionService/NoSuch")
        assert code_of(no_such, b"", timeout=TIMEOUT_S) == "UNAUTHENTICATED"
        health = health_pb2_grpc.HealthStub(channel)  # probes have no token
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == 1

        assert post(server, headers={"Authorization": right})[0] == 200
        for one in wrong:
            status, body = post(server, headers={"Authorization": one})
            assert status == 401 and b"A token is needed" in body
        for path in (METRICS, "/v1/models/half", "/"):
            assert post(server, path=path, body=None)[0] == 401
        header = {"Authorization": right}
        assert post(server, path=METRICS, body=None, headers=header)[0] == 200


def test_where_the_token_comes_from(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, SECRET)
    token = read_token(None)
    assert token is not None and token.admits(f"Bearer {SECRET}") and SECRET not in repr(token)
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    token = read_token(path)  # the file has the say
    assert token is not None and token.admits(b"bearer 0123456789abcdef")
    assert not token.admits(f"Bearer {SECRET}") and not token.admits("Bearer \udcff")
    for short in ("", "short", "with spaces in between it"):
        path.write_text(short)
        with pytest.raises(InputError, match="16 printable ASCII characters"):
            read_token(path)
    with pytest.raises(InputError, match="--auth_token_file must be a readable"):
        read_token(tmp_path / "none")


def test_the_warning(authority, tmp_path) -> None:
    verified = ssl_file(tmp_path / "a", authority.pair("server"), authority.cert, verify=True)
    encrypted = ssl_file(tmp_path / "b", authority.pair("server"))
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.2"):
        assert exposure(host, None, None) is None
    for host in ("0.0.0.0", "::", "10.0.0.5", "server.internal"):
        text = exposure(host, None, None)
        assert text is not None and host in text and "read on the way" in text
        text = exposure(host, read_ssl_config(encrypted), None)
        assert text is not None and "read on the way" not in text
        assert exposure(host, read_ssl_config(verified), None) is None
        assert exposure(host, None, Token(SECRET)) is None


def test_a_unix_socket(store, tmp_path) -> None:
    path = tmp_path / "grpc.sock"
    with (
        ModelServer(store, ServerSettings(port=0, socket_path=path)) as server,
        grpc.insecure_channel(f"unix:{path}") as local,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert predict(local) == predict(channel) == 2.5
