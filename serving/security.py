"""Who may talk to the server, and what others can read on the way: TLS and a bearer token.

References:
    TF Serving, `config/ssl_config.proto` and `BuildServerCredentials` of `model_servers/server.cc`:
    keys and certificates stand in the file as PEM. https://www.rfc-editor.org/rfc/rfc6750
"""

import dataclasses
import hashlib
import hmac
import ipaddress
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

import grpc

from serving.tfserving.parameters import parse_text, ssl_message
from tfrs_sage.errors import InputError

TOKEN_VARIABLE = "TFRS_SAGE_SERVING_TOKEN"
MIN_TOKEN = 16  # characters; shorter ones can be guessed
_HEALTH = "/grpc.health.v1.Health/"


@dataclasses.dataclass(frozen=True)
class Tls:
    """A certificate and its key, in PEM.

    Attributes:
        key, cert: of the server.
        ca: who must have signed the certificates of clients; empty for the system's authorities.
        client_verify: clients must have a certificate.
    """

    key: bytes = dataclasses.field(repr=False)
    cert: bytes
    ca: bytes = b""
    client_verify: bool = False

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For the gRPC port."""
        return grpc.ssl_server_credentials(
            [(self.key, self.cert)],
            root_certificates=self.ca or None,
            require_client_auth=self.client_verify,
        )

    def context(self) -> ssl.SSLContext:
        """For the HTTP port.

        Raises:
            InputError: no PEM, or a key that is not the certificate's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.TemporaryDirectory() as folder:  # this user's alone; `ssl` reads files only
            pair = Path(folder, "pair.pem")
            pair.touch(mode=0o600)
            pair.write_bytes(self.key + b"\n" + self.cert)
            try:
                context.load_cert_chain(pair, password=_no_password)
                if self.ca:
                    context.load_verify_locations(cadata=self.ca.decode("ascii"))
            except (ssl.SSLError, ValueError) as e:
                raise InputError(
                    "the SSL config must hold server_key, server_cert and custom_ca as PEM, the "
                    f"key that of the certificate and without a password. Found: {e}."
                ) from e
        if self.client_verify:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _no_password() -> str:
    raise ValueError("the key has a password")


def read_ssl_config(path: Path) -> Tls:
    """The `SSLConfig` of `--ssl_config_file`.

    Raises:
        InputError: no such file, no key or certificate, clients to be verified by nobody.
    """
    config = parse_text(path, ssl_message())
    for field in ("server_key", "server_cert"):
        if not getattr(config, field):
            raise InputError(f"{path} must have a {field}, as PEM. Found: none.")
    if config.client_verify and not config.custom_ca:
        raise InputError(
            f"{path}: with client_verify there must be a custom_ca, as PEM, that has signed the "
            "clients' certificates. Found: none."
        )
    tls = Tls(
        config.server_key.encode(),
        config.server_cert.encode(),
        config.custom_ca.encode(),
        config.client_verify,
    )
    try:
        tls.context()
    except InputError as e:
        raise InputError(f"{path}: {e}") from e
    return tls


class Token:
    """A secret that clients send as `authorization: Bearer SECRET`.

    Args:
        secret: printable ASCII without spaces.

    Raises:
        InputError: it is shorter than 16 characters, or has others.
    """

    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_TOKEN or not all("!" <= one <= "~" for one in secret):
            raise InputError(
                f"the token must have {MIN_TOKEN} printable ASCII characters at least, and no "
                f"spaces. Received: {len(secret)} characters. `openssl rand -hex 32` makes one."
            )
        self._digest = _digest(f"Bearer {secret}")

    def admits(self, authorization: str | bytes | None) -> bool:
        """Whether a header is right; takes the same time whatever it is."""
        return hmac.compare_digest(self._digest, _digest(authorization or ""))

    def __repr__(self) -> str:
        return "Token(...)"


def _digest(text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    scheme, space, secret = data.partition(b" ")
    return hashlib.sha256(scheme.lower() + space + secret).digest()


def read_token(path: Path | None) -> Token | None:
    """The token of a file, or else of the environment variable; None where there is neither.

    Raises:
        InputError: the file cannot be read, or what it holds is no token.
    """
    if path is None:
        secret = os.environ.get(TOKEN_VARIABLE, "")
        return Token(secret) if secret else None
    try:
        return Token(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"--auth_token_file must be a readable text file. Found: {e}") from e


class TokenInterceptor(grpc.ServerInterceptor):
    """Refuses gRPC calls without the token, but for those of the health service.

    Probes of orchestrators cannot send one, and health tells nothing of the models.
    """

    def __init__(self, token: Token) -> None:
        self._token = token
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        if details.method.startswith(_HEALTH):
            return continuation(details)
        sent = {item.key: item.value for item in details.invocation_metadata}
        return (
            continuation(details)
            if self._token.admits(sent.get("authorization"))
            else (self._refusal)
        )


REFUSED = "A token is needed: send the header `authorization: Bearer TOKEN`."


def _refuse(_: Any, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, REFUSED)


def exposure(host: str, tls: Tls | None, token: Token | None) -> str | None:
    """What to warn of: a server that others can reach and that lets everybody in."""
    if host == "localhost" or _is_loopback(host) or token is not None:
        return None
    if tls is not None and tls.client_verify:
        return None
    readable = "" if tls is not None else ", and what is sent can be read on the way"
    return (
        f"warning: the server listens at {host}: everybody who reaches it may ask it, and have it "
        f"load other models{readable}. Give --auth_token_file and --ssl_config_file, or listen at "
        "127.0.0.1."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return False
