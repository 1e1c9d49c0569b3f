"""A run with tables, pictures, a text search and users: what the page can show."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from serving.models import LoadedModel
from serving.page.catalogue import Catalogue
from serving.page.people import People
from serving.page.site import PageData
from serving.run_users import open_users
from serving.server import ModelServer
from serving.settings import ServerSettings
from serving.store import ModelStore
from tests.export.toy import IDS, TEXTS, KeywordTower
from tests.export.toy import VECTORS as TEXT_VECTORS
from tests.serving.user_run import make_user_run
from tests.users.planted import CONFIG, VECTORS
from tfrs_sage.export.retrieval import export_retrieval

MARKUP = "<img src=x onerror=document.title='owned'> chair"
PRODUCTS = {
    "red sofa": {"title": "Red sofa", "brand": "Hay", "image_paths": ["images/red.png"]},
    "sofa": {"title": "Plain sofa", "image_paths": ["images/sofa.png", "images/red.png"]},
    "red chair": {"title": MARKUP, "link": "javascript:alert(1)", "image_paths": []},
    "blue-1": {"title": "Blue one", "image_paths": ["images/broken.jpg"]},
    "grün": {"title": "Grüner Stuhl", "description": "x" * 3000},
    "dull red": {"link": "https://shop.example/dull?x=1", "image_paths": ["../steps.json"]},
    **{one: {"title": f"Item {one}", "image_paths": ["images/red.png"]} for one in VECTORS},
}


def _png(size: tuple[int, int], color: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(file, "PNG")
    return file.getvalue()


def make_shown_run(folder: Path) -> Path:
    """Users and items as `make_user_run`; products beside them that texts are asked of."""
    make_user_run(folder)
    tables = folder / "tables"
    (tables / "images").mkdir(parents=True)
    (tables / "images" / "red.png").write_bytes(_png((1200, 600), (200, 30, 30)))
    (tables / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xffno picture")
    with tarfile.open(tables / "images.tar", "w") as archive:
        content = _png((40, 40), (0, 0, 0, 0))  # transparent
        member = tarfile.TarInfo("images/sofa.png")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    paths = pa.field("image_paths", pa.list_(pa.string()))
    texts = ("product_id", "title", "description", "brand", "link")
    schema = pa.schema([*((name, pa.string()) for name in texts), paths])
    rows = [{"product_id": one, **fields} for one, fields in PRODUCTS.items()]
    pq.write_table(pa.Table.from_pylist(rows, schema), tables / "products.parquet")
    tower = KeywordTower(folder)
    export_retrieval(tower, TEXT_VECTORS, IDS, folder / "saved_models", TEXTS, check=False)
    return folder


@contextmanager
def shown(run: Path, **settings: Any) -> Iterator[ModelServer]:
    """A server of the run with its page."""
    store = ModelStore([LoadedModel("retrieval", 1, run / "saved_models" / "retrieval" / "1")])
    users = open_users(run, CONFIG)
    data = PageData(Catalogue(str(run / "tables")), People(users, run / "users" / "batch"))
    with ModelServer(
        store, ServerSettings(port=0, **{"rest_port": 0, **settings}), users=users, page=data
    ) as server:
        yield server
