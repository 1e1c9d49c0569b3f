"""Bodies of TF Serving's REST API: one JSON object, and what errors say of it.

References:
    TF Serving, `util/json_tensor.cc`. Words of parse errors after `JSON Parse error:` are Python's.
"""

import json
import re
from typing import Any

from serving.errors import invalid_argument

B64 = "b64"
_SHOWN = 256  # bytes of a refused value that the error repeats
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KINDS = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


def parse_body(text: bytes) -> dict[str, Any]:
    """The object of a request.

    Args:
        text: JSON in UTF-8; what follows the first value is not looked at, NaN and Infinity are
            numbers.

    Raises:
        ServingError: INVALID_ARGUMENT, anything else.
    """
    document = _parse(text)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {shown(document)} Is not object")
    return document


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a body asks for; empty for the default.

    Raises:
        ServingError: INVALID_ARGUMENT, it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    return name


def _parse(text: bytes) -> Any:
    if not text.strip():
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        characters = text.decode("utf-8-sig")
        start = len(characters) - len(characters.lstrip(" \t\r\n"))
        document = json.JSONDecoder().raw_decode(characters, start)[0]
        if _SURROGATE.search(text):  # halves of a character, which no UTF-8 has
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as e:
        raise invalid_argument(f"JSON Parse error: {e.msg} at offset: {e.pos}") from e
    except UnicodeDecodeError as e:
        raise invalid_argument(f"JSON Parse error: not UTF-8 at offset: {e.start}") from e
    except UnicodeEncodeError as e:
        text_of = "JSON Parse error: The surrogate pair in string is invalid. at offset: 0"
        raise invalid_argument(text_of) from e
    except RecursionError as e:
        raise invalid_argument("JSON Parse error: nested too deeply at offset: 0") from e
    except ValueError as e:  # an integer of thousands of digits
        raise invalid_argument(f"JSON Parse error: {e} at offset: 0") from e
    return document


def is_object(value: Any) -> bool:
    """Whether a value is an object that stands for itself and not for bytes."""
    is_bytes = isinstance(value, dict) and len(value) == 1 and isinstance(value.get(B64), str)
    return isinstance(value, dict) and not is_bytes


def kind(value: Any) -> str:
    """What JSON calls a value."""
    # What there is besides: true, false and null.
    return _KINDS.get(type(value)) or {True: "True", False: "False", None: "Null"}[value]


def shown(value: Any) -> str:
    """A value for an error, cut before it is long: the encoder stops where the text is enough."""
    text = ""
    try:
        for piece in json.JSONEncoder().iterencode(value):
            text += piece[:_SHOWN]
            if len(text) >= _SHOWN:
                break
    except RecursionError:
        text += "..."
    return text[:_SHOWN]
