"""What the page reads, over HTTP: products, pictures, users, refusals."""

import http.client
import io
import json
from urllib.parse import quote, urlencode

import pytest
from PIL import Image

from serving.models import LoadedModel
from serving.page.catalogue import Catalogue
from serving.page.site import MAX_IDS, PageData
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.serving.page.shown_run import MARKUP, PRODUCTS, shown
from tests.serving.user_run import USERS
from tests.users.planted import LIKED, axis_of
from tfrs_sage.errors import InputError

TIMEOUT_S = 20


def ask(server, path: str, method: str = "GET"):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def told(server, path: str):
    status, _, body = ask(server, path)
    assert status == 200, body
    return json.loads(body)


def test_the_page_and_its_files_come_with_a_strict_policy(server) -> None:
    status, headers, body = ask(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body.startswith(b"<!doctype html>")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, _ = ask(server, "/page/static/app.js")
    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert ask(server, "/", "HEAD")[0] == 200
    assert ask(server, "/v1/models/retrieval")[0] == 200  # the API is there as before


def test_what_is_served(server) -> None:
    about = told(server, "/page/about")
    (model,) = about["models"]
    assert (model["name"], model["version"], model["similar"]) == ("retrieval", 1, True)
    assert model["examples"] == ["Red sofa", "green", "BLUE blue sofa"]
    assert (about["num_products"], about["num_users"]) == (len(PRODUCTS), len(USERS))


def test_products_by_id(server) -> None:
    query = urlencode([("id", one) for one in ("red sofa", "grün", "red chair", "no, such")])
    found = told(server, f"/page/products?{query}")["products"]
    assert found["red sofa"] == {"title": "Red sofa", "fields": {"brand": "Hay"}, "picture": True}
    assert len(found["grün"]["fields"]["description"]) == 1000
    assert not found["grün"]["picture"]
    assert found["red chair"]["title"] == MARKUP
    assert found.keys() == {"red sofa", "grün", "red chair"}
    assert told(server, "/page/products") == {"products": {}}


def test_pictures_are_small_jpegs_from_files_and_tars(server) -> None:
    status, headers, body = ask(server, f"/page/images/{quote('red sofa')}")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert headers["Cache-Control"] == "private, max-age=3600"
    picture = Image.open(io.BytesIO(body))
    assert picture.size == (512, 256)
    assert all(abs(a - b) < 6 for a, b in zip(picture.getpixel((9, 9)), (200, 30, 30), strict=True))
    assert ask(server, f"/page/images/{quote('red sofa')}")[2] == body  # from memory
    picture = Image.open(
        io.BytesIO(ask(server, "/page/images/sofa")[2])
    )  # of the tar, not scaled up
    assert (picture.size, picture.getpixel((5, 5))) == ((40, 40), (255, 255, 255))


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/page/images/blue-1", 404, "There is no picture of 'blue-1'"),  # broken
        (f"/page/images/{quote('grün')}", 404, "There is no picture of"),  # none named
        (f"/page/images/{quote('dull red')}", 404, "There is no picture of"),  # leaves the folder
        ("/page/images/nobody", 404, "There is no picture of"),
        ("/page/images/..%2F..%2Fsteps.json", 404, "There is no picture of"),
        ("/page/images/../../config.yaml", 404, "There is no picture of"),
        ("/page/images/%00", 404, "There is no picture of"),
        ("/page/images/%ff", 400, "A path must be UTF-8"),
        ("/page/images/" + "x" * 1025, 400, "An id has at most 1024 characters. Received: 1025"),
        ("/page/static/..%2Fsite.py", 404, "The page has no file"),
        ("/page/static/../site.py", 404, "The page has no file"),
        ("/page/static/", 404, "The page has no file"),
        ("/page/", 404, "The page has no /page/"),
        ("/page/config.yaml", 404, "The page has no /page/config.yaml"),
        ("/page/products?" + "&id=a" * (MAX_IDS + 1), 400, "at most 100 fields"),
        ("/page/products?id=" + "x" * 1025, 400, "An id has at most 1024"),
        ("/page/products?id=%ff", 400, "A path must be UTF-8"),
        ("/page/users/u?seed=-1", 400, "`seed` must be a whole number"),
        ("/page/users/u?seed=%D9%A3", 400, "`seed` must be a whole number"),
    ],
)
def test_what_is_wrong_is_refused(server, path, status, text) -> None:
    found, _, body = ask(server, path)
    assert (found, text in json.loads(body)["error"]) == (status, True), body


def test_the_page_is_read_only(server) -> None:
    status, _, body = ask(server, "/page/products", "POST")
    assert (status, b"read with GET. Received: POST" in body) == (400, True)


def test_users_with_the_most_clusters_come_first(server) -> None:
    found = told(server, "/page/users")
    assert found["num_users"] == len(USERS)
    assert found["users"][0] == {
        "user_id": "u",
        "num_actions": len(LIKED),
        "num_clusters": 2,
        "medoid_ids": found["users"][0]["medoid_ids"],
    }
    assert [axis_of(one) for one in found["users"][0]["medoid_ids"]] == ["0", "1"]
    assert [one["user_id"] for one in found["users"][1:3]] == ["v", "w"]  # 3 and 2 actions
    assert [one["user_id"] for one in told(server, "/page/users?part=V")["users"]] == ["v"]
    assert told(server, "/page/users?part=.*") == {"users": [], "num_users": 0}


def test_a_user_is_told_with_clusters_and_rows_by_medoid(server) -> None:
    user = told(server, "/page/users/u?seed=1")
    assert (user["known"], user["source"]) == (True, "medoids")
    assert [one["size"] for one in user["clusters"]] == [4, 2]  # the most important first
    assert user["clusters"][0]["importance"] > user["clusters"][1]["importance"]
    assert set(user["clusters"][0]["member_ids"]) == set(LIKED[:4])
    drawn = {one["medoid_id"] for one in user["clusters"] if one["drawn"]}
    assert {row["medoid_id"] for row in user["rows"]} == drawn
    for row in user["rows"]:
        assert {axis_of(one["item_id"]) for one in row["items"]} == {axis_of(row["medoid_id"])}
        scores = [one["score"] for one in row["items"]]
        assert scores == sorted(scores, reverse=True)
    assert told(server, "/page/users/u?seed=1") == user


def test_an_unknown_user_gets_what_is_popular(server) -> None:
    user = told(server, "/page/users/no%2Fbody")
    assert (user["user_id"], user["known"], user["source"]) == ("no/body", False, "popular")
    (row,) = user["rows"]
    assert row["medoid_id"] is None and user["clusters"] == []
    assert [one["item_id"] for one in row["items"][:2]] == ["3.0", "3.1"]


def test_pictures_wait_their_turn_and_states_do_not(run) -> None:
    with shown(run, rest_num_threads=1, max_waiting=0) as server, server._http._admission.place():
        assert ask(server, "/page/images/sofa")[0] == 429
        assert ask(server, "/v1/models/retrieval")[0] == 200
    with shown(run, rest_num_threads=1, max_waiting=0) as server:
        assert ask(server, "/page/images/sofa")[0] == 200


def test_without_a_run_there_are_ids_alone(run) -> None:
    store = ModelStore([LoadedModel("retrieval", 1, run / "saved_models" / "retrieval" / "1")])
    settings = ServerSettings(port=0, rest_port=0)
    with ModelServer(store, settings, page=PageData()) as server:
        about = told(server, "/page/about")
        assert (about["num_products"], about["num_users"]) == (None, None)
        assert told(server, "/page/products?id=sofa") == {"products": {}}
        assert ask(server, "/page/images/sofa")[0] == 404
        assert ask(server, "/page/users/u")[0] == 404
    with ModelServer(store, settings) as server:
        assert json.loads(ask(server, "/")[2]) == {"error": "Malformed request: GET /"}


def test_tables_that_cannot_be_read_are_told(tmp_path) -> None:
    with ModelServer(
        ModelStore([]),
        ServerSettings(port=0, rest_port=0),
        page=PageData(Catalogue(str(tmp_path / "gone"))),
    ) as server:
        status, _, body = ask(server, "/page/products?id=a")
    assert (status, b"The input must be a folder of tables" in body) == (500, True)
    (tmp_path / "products.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"products\.parquet"):
        Catalogue(str(tmp_path)).products(["a"])
