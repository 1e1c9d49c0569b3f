"""The pictures: whom they show, what is on them, how large they are."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.users.test_protocol import NOW
from tfrs_sage.errors import InputError
from tfrs_sage.report import users_rows
from tfrs_sage.report.users_items import COLORS, MARKERS, Item, read_items
from tfrs_sage.report.users_map import NAMED, SIZE, draw_map, principal_components
from tfrs_sage.report.users_pictures import typical_users, write_pictures
from tfrs_sage.report.users_rows import ordered_members
from tfrs_sage.users.clusters import Actions, Cluster
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import UserSplit
from tfrs_sage.users.retrieval import Catalogue

CONFIG = ClusterConfig(threshold=0.5)
ITEMS = [f"{axis}.{number}" for axis in range(20) for number in range(3)]
CATALOGUE = Catalogue(ITEMS, np.repeat(np.eye(20), 3, axis=0))
RED = (254, 0, 0)


def user_of(name, *sizes):
    """A user with one cluster of each size, on axes of its own."""
    ids = [f"{axis}.{number % 3}" for axis, size in enumerate(sizes) for number in range(size)]
    rows = [CATALOGUE.rows[one] for one in ids]
    times = NOW - np.arange(len(ids))[::-1] * 3600.0
    actions = Actions(ids, CATALOGUE.vectors[rows], times)
    return UserSplit(name, actions, actions, NOW)


@pytest.fixture
def tables(tmp_path):
    """Products: of axis 0 with a red image in a tar, of axis 1 titles only, one image broken."""
    folder = tmp_path / "tables"
    folder.mkdir()
    file = io.BytesIO()
    Image.new("RGB", (300, 600), RED).save(file, "JPEG", quality=100)
    with tarfile.open(folder / "images.tar", "w") as archive:
        for name, data in (("red.jpg", file.getvalue()), ("broken.jpg", b"no image")):
            member = tarfile.TarInfo(f"images/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    rows = [
        {
            "product_id": one,
            "title": None if one == "2.0" else f"Item {one} for $5 or $6",
            "image_paths": {"0": ["images/broken.jpg", "images/red.jpg"]}.get(one[0]),
        }
        for one in ITEMS
        if one != "3.0"
    ]
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder)


def pixels_of(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def share_of(pixels, color, within=30):
    """Share of the pixels that are about of a colour."""
    return (np.abs(pixels - np.array(color)).max(axis=-1) <= within).mean()


def rgb(name):
    return tuple(int(name[at : at + 2], 16) for at in (1, 3, 5))


def test_items_are_read_from_the_tables(tables) -> None:
    items = read_items(tables, ["0.1", "1.0", "2.0", "3.0"])
    # No bytes of an image that is not shown: 300 x 600 at a quarter or so.
    assert items["0.1"].pixels is not None and items["0.1"].pixels.shape == (256, 128, 3)
    assert share_of(items["0.1"].pixels.astype(int), RED, 3) == 1
    assert items["1.0"].pixels is None and items["1.0"].title == "Item 1.0 for $5 or $6"
    assert [items[one].title for one in ("2.0", "3.0")] == ["2.0", "3.0"]
    assert Item("a long title of many words").short_title(10, 2) == "a long\ntitle..."


def test_typical_users_are_most_median_fewest() -> None:
    users = [
        user_of("b", 2, 2), user_of("a", 2, 2), user_of("one", 3), user_of("longer", 9),
        user_of("many", 1, 1, 1, 1, 1), user_of("three", 1, 1, 1), user_of("three+", 1, 1, 2),
    ]  # fmt: skip
    # By clusters: many, three+, three, a, b, longer, one.
    assert typical_users(iter(users), CONFIG) == ["many", "a", "longer"]
    assert typical_users(users[:1], CONFIG) == ["b"]
    assert typical_users([], CONFIG) == []


def test_pictures_of_users(tables, tmp_path) -> None:
    users = [user_of("a/b", 7, 2, 1), user_of("a_b", 1, 4), user_of("other", 1)]
    wanted = ["a_b", "a/b"]
    found = write_pictures(iter(users), wanted, CATALOGUE, CONFIG, tables, tmp_path / "report")
    assert list(found) == wanted
    assert len({path for paths in found.values() for path in paths}) == 4
    rows, plane = (pixels_of(path) for path in found["a/b"])
    height = users_rows.TOP + 3 * (users_rows.CELL_HEIGHT + users_rows.GAP) + 0.1
    assert rows.shape[0] == pytest.approx(height * users_rows.DPI, abs=1)
    assert plane.shape[:2] == (int(SIZE[1] * 110), int(SIZE[0] * 110))
    for pixels in (rows, plane):
        assert 0.4 < share_of(pixels, (255, 255, 255), 2) < 0.99
    # Three red images in the first row; frames in the colours of the three clusters.
    assert share_of(rows, RED) > 0.05
    assert share_of(rows[: rows.shape[0] * 2 // 5], RED) == pytest.approx(
        share_of(rows, RED) * 5 / 2, rel=0.05
    )
    for pixels in (rows, plane):
        shares = [share_of(pixels, rgb(color), 10) for color in COLORS[:4]]
        assert min(shares[:3]) > 1e-4 and shares[3] == 0
    # Of the medoid only: one frame about 1.2 by 1.4 inches wide, some points thick.
    first = rows[: rows.shape[0] * 2 // 5, int(users_rows.LABEL_WIDTH * users_rows.DPI) - 10 :]
    across = (np.abs(first - np.array(rgb(COLORS[0]))).max(axis=-1) < 30).any(axis=0)
    assert 0.5 < across.sum() / (users_rows.CELL_WIDTH * users_rows.DPI) < 1.2
    assert not across[int(users_rows.CELL_WIDTH * users_rows.DPI) + 20 :].any()
    with pytest.raises(InputError, match="Received: 'nobody'"):
        write_pictures(users, ["nobody"], CATALOGUE, CONFIG, tables, tmp_path / "report")


def test_more_clusters_than_have_a_colour(tables, tmp_path) -> None:
    user = user_of("u", *[2] * 20)
    ((rows, plane),) = write_pictures([user], ["u"], CATALOGUE, CONFIG, tables, tmp_path).values()
    height = users_rows.TOP + users_rows.ROWS * (users_rows.CELL_HEIGHT + users_rows.GAP) + 0.1
    assert pixels_of(rows).shape[0] == pytest.approx(height * users_rows.DPI, abs=1)
    assert share_of(pixels_of(plane), (187, 187, 187), 2) > 1e-4  # the grey ones
    styles = {(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]) for i in range(56)}
    assert len(styles) == 56 and NAMED <= 56


def test_members_stand_once_the_medoid_first() -> None:
    cluster = Cluster("b", 6, 1.0, 0.0, 1.0, ("a", "b", "c", "b", "a", "d"))
    assert ordered_members(cluster) == [("b", 2), ("d", 1), ("a", 2), ("c", 1)]


def test_principal_components_of_a_plane() -> None:
    random = np.random.default_rng(0)
    flat = random.normal(size=(40, 2)) * [3.0, 1.0]
    turned = flat @ np.linalg.qr(random.normal(size=(9, 9)))[0][:2] + random.normal(size=9)
    plane, shares = principal_components(turned)
    distances = [np.linalg.norm(rows[:, None] - rows[None], axis=-1) for rows in (turned, plane)]
    np.testing.assert_allclose(distances[1], distances[0], atol=1e-9)
    assert sum(shares) == pytest.approx(1) and shares[0] > 0.8
    assert plane[:, 0].var() > plane[:, 1].var()
    np.testing.assert_allclose(principal_components(turned[::-1])[0][::-1], plane, atol=1e-9)


@pytest.mark.parametrize("number", [1, 2])
def test_few_or_equal_actions_are_drawn(tmp_path, number) -> None:
    plane, shares = principal_components(np.ones((number, 3)))
    assert plane.tolist() == [[0, 0]] * number and shares == (0, 0)
    from tfrs_sage.users.clusters import cluster_user

    split = user_of("u", number)
    user = cluster_user("u", split.past, CONFIG, NOW, keep_members=True)
    path = tmp_path / "map.png"
    vectors = {item: np.ones(3) for item in split.past.item_ids}
    draw_map(user, vectors, {item: Item(item) for item in vectors}, path)
    assert share_of(pixels_of(path), rgb(COLORS[0]), 10) > 1e-4
