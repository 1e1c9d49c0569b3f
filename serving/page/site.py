"""Which path of the page asks for what, and the answer to it.

    /, /page/static/NAME       the files of this package
    /page/about                models that can be searched, what else is known
    /page/products?id=A&id=B   titles and fields; at most `MAX_IDS`
    /page/images/ID            a product's picture, small
    /page/users?part=TEXT      users
    /page/users/ID?seed=N      a user's clusters and recommendations

Searches are the page's own requests to the REST API. Everything here is read-only.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, unquote

from serving.errors import ServingError, invalid_argument, not_found
from serving.page.catalogue import Catalogue
from serving.page.people import People
from serving.page.searches import searches
from serving.rest import Answer, Reply, error_reply
from serving.store import ModelStore
from tfrs_sage.errors import InputError

PREFIX = "/page/"
MAX_IDS = 100
MAX_ID_CHARS = 1024
_SEED = re.compile(r"\d{1,9}", re.ASCII)
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_ASK_AGAIN, _NOT_KEPT, _AN_HOUR = "no-cache", "no-store", "private, max-age=3600"


@dataclass(frozen=True)
class PageData:
    """What the page can show of a run.

    Attributes:
        catalogue: None: products are ids alone.
        people: None: no users.
    """

    catalogue: Catalogue | None = None
    people: People | None = None


class Site:
    """Answers the page's requests, and hands on all others; on every thread of the server.

    Args:
        store: the models that can be searched.
        rest: answers what is not the page's.
        data: what it can show beside ids and scores.

    Attributes:
        open_paths: the page's own files, which tell nothing: it asks for a token itself.
    """

    def __init__(self, store: ModelStore, rest: Answer, data: PageData) -> None:
        self._store, self._rest, self._data = store, rest, data
        self._files = {
            file.name: (file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])
            for file in resources.files("serving.page").joinpath("static").iterdir()
        }
        self.open_paths = {"/", *(f"{PREFIX}static/{name}" for name in self._files)}
        self._answers: dict[str, Callable[[str, dict[str, list[str]]], Reply]] = {
            "static": lambda name, _: self._static(name),
            "about": lambda _, __: _json(self._about()),
            "products": lambda _, query: _json(self._products(query.get("id", []))),
            "images": lambda name, _: self._image(name),
            "users": self._users,
        }

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """The answer to a request; also to one that is wrong."""
        place, _, query = path.partition("?")
        if place != "/" and not place.startswith(PREFIX):
            return self._rest(method, path, body)
        try:
            if method not in ("GET", "HEAD"):
                raise invalid_argument(f"The page is read with GET. Received: {method}.")
            return self._page(place, query)
        except ServingError as error:
            return error_reply(error)
        except InputError as error:
            return Reply(500, json.dumps({"error": str(error)}).encode())

    def _page(self, place: str, query: str) -> Reply:
        if place == "/":
            return self._static("index.html")
        kind, _, name = place.removeprefix(PREFIX).partition("/")
        if kind not in self._answers:
            raise not_found(f"The page has no {place[:100]}")
        try:
            name = unquote(name, errors="strict")
            fields = parse_qs(query, errors="strict", max_num_fields=MAX_IDS)
        except ValueError as error:
            raise invalid_argument(
                f"A path must be UTF-8 with at most {MAX_IDS} fields. Found: {error}."
            ) from error
        for one in (name, *(value for values in fields.values() for value in values)):
            if len(one) > MAX_ID_CHARS:
                raise invalid_argument(
                    f"An id has at most {MAX_ID_CHARS} characters. Received: {len(one)}."
                )
        return self._answers[kind](name, fields)

    def _static(self, name: str) -> Reply:
        if name not in self._files:
            raise not_found(f"The page has no file {name!r:.100}")
        content, kind = self._files[name]
        return _reply(content, kind, _ASK_AGAIN)

    def _about(self) -> dict[str, Any]:
        catalogue, people = self._data.catalogue, self._data.people
        return {
            "models": searches(self._store),
            "num_products": None if catalogue is None else len(catalogue),
            "num_users": None if people is None else len(people),
        }

    def _products(self, ids: list[str]) -> dict[str, Any]:
        catalogue = self._data.catalogue
        return {"products": {} if catalogue is None else catalogue.products(ids)}

    def _image(self, product_id: str) -> Reply:
        catalogue = self._data.catalogue
        picture = None if catalogue is None else catalogue.picture(product_id)
        if picture is None:
            raise not_found(f"There is no picture of {product_id!r:.100}")
        return _reply(picture, "image/jpeg", _AN_HOUR)

    def _users(self, user_id: str, query: dict[str, list[str]]) -> Reply:
        people = self._data.people
        if people is None:
            raise not_found("No users are served")
        if not user_id:
            return _json(people.listed(query.get("part", [""])[0]))
        seed = query.get("seed", ["0"])[0]
        if not _SEED.fullmatch(seed):
            raise invalid_argument(f"`seed` must be a whole number. Received: {seed!r:.100}")
        return _json(people.told(user_id, int(seed)))


def _json(value: dict[str, Any]) -> Reply:
    return _reply(json.dumps(value, ensure_ascii=False).encode(), "application/json", _NOT_KEPT)


def _reply(body: bytes, kind: str, kept: str) -> Reply:
    return Reply(200, body, kind, (*_SAFE, ("Cache-Control", kept)))
