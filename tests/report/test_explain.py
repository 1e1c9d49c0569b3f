"""What carries a product's score, and what beat it: towers that count, worked by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.report.shop_run import IDS, write_shop
from tfrs_sage.artefacts import write_json
from tfrs_sage.cli.main import main
from tfrs_sage.errors import InputError
from tfrs_sage.report.explain import explain, masked, read_records
from tfrs_sage.schema.features import EntitySpec

COLOURS = ("red", "green", "blue")


class ProductTower(tf.Module):
    """1 for each colour in the title; 0.5 for the brand Acme; 0.125 an image."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def embed(self, examples):
        names = ("title", "brand", "image_embeddings")
        one = tf.io.parse_example(
            examples, {name: tf.io.FixedLenFeature([], tf.string, "") for name in names}
        )
        parts = [tf.strings.regex_full_match(one["title"], f".*{c}.*") for c in COLOURS]
        parts += [one["brand"] == "Acme"]
        images = tf.strings.length(one["image_embeddings"]) / 512
        values = [tf.cast(part, tf.float32) for part in (*parts, images)]
        return {"embedding": tf.stack(values, axis=1) * [1.0, 1.0, 1.0, 0.5, 0.125]}


class QueryTower(tf.Module):
    """1 for each colour in the text, and for brand and images."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="query")])
    def embed(self, query):
        parts = [tf.strings.regex_full_match(query, f".*{c}.*") for c in COLOURS]
        same = tf.ones_like(query, tf.float32)
        values = [*(tf.cast(part, tf.float32) for part in parts), same, same]
        return {"embedding": tf.stack(values, axis=1)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_shop(folder)
    product, query = ProductTower(), QueryTower()
    models = folder / "saved_models"
    tf.saved_model.save(
        product, str(models / "product_tower" / "1"), {"serving_tf_example": product.embed}
    )
    tf.saved_model.save(query, str(models / "query_tower" / "1"), {"serving_default": query.embed})
    files = tf.data.TFRecordDataset(str(folder / "catalogue" / "product-00000-of-00001.tfrecord"))
    vectors = product.embed(tf.stack(list(files)))["embedding"].numpy()
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 5)
    (folder / "embeddings" / "product").mkdir(parents=True)
    table = pa.table({"id": IDS, "embedding": column})
    pq.write_table(table, folder / "embeddings" / "product" / "part-0.parquet")
    manifest = {"entity": "product", "dimension": 5, "count": len(IDS)}
    write_json(folder / "embeddings" / "product" / "manifest.json", manifest)
    return folder


def test_parts_are_told_by_what_they_carry(run: Path) -> None:
    # p01 "red lamp" of Acme with two images: 1 + 0.5 + 0.25, as p00 "red sofa", which is before it.
    found = explain(run, run / "saved_models", "p01", query="red lamp")
    assert (found["score"], found["rank"], found["of"]) == (1.75, 2, 12)
    assert [(one["part"], one["drop"]) for one in found["parts"]] == [
        ("all texts", 1.5),
        ("title", 1.0),
        ("brand", 0.5),
        ("all images", 0.25),
        ("image 1", 0.125),
        ("image 2", 0.125),
    ]
    title = found["parts"][1]
    # Without its title 0.75: behind p00 (1.75) and p02 (1.0), before those of Acme alone.
    assert (title["value"], title["score_without"], title["rank_without"]) == ("red lamp", 0.75, 3)
    assert found["missing"] == []


def test_what_beat_it_and_what_only_the_winner_has(run: Path) -> None:
    found = explain(run, run / "saved_models", "p03", query="red sofa Acme", k=2)
    assert (found["title"], found["score"], found["missing"]) == (
        "green sofa",
        0.5,
        ["image_embeddings"],
    )
    assert found["matches"] == {"sofa": ["title"], "acme": ["brand"]}
    # p00, p01: 1.75; p02, p04 with images: 1.0 and 0.75.
    assert found["rank"] == 5
    first, second = found["above"]
    assert (first["product_id"], first["rank"], first["score"]) == ("p00", 1, 1.75)
    assert first["matches"] == {"red": ["title"], "sofa": ["title"], "acme": ["brand"]}
    assert first["only_there"] == ["red"]
    assert (second["product_id"], second["rank"], second["only_there"]) == ("p01", 2, ["red"])


def test_the_first_is_told_with_those_after_it(run: Path) -> None:
    found = explain(run, run / "saved_models", "p00", query="red", k=2)
    assert found["rank"] == 1 and "above" not in found
    assert [(one["product_id"], one["rank"]) for one in found["below"]] == [("p01", 2), ("p02", 3)]


def test_like_another_product(run: Path) -> None:
    found = explain(run, run / "saved_models", "p02", similar_to="p01", k=3)
    assert found["of"] == 11  # p01 itself is no candidate
    assert found["rank"] == 2 and found["matches"] == {}  # another title, another brand
    (best,) = found["above"]
    assert (best["product_id"], best["only_there"]) == ("p00", ["brand"])


def test_masks_leave_nothing_of_a_part(run: Path) -> None:
    spec = EntitySpec("product", ("title", "brand"), max_images=2)
    record = {
        **read_records(run, "product", {"p00"})["p00"],
        "title/ngrams": b"1234",
        "image_embeddings": b"a" * 512 + b"b" * 512,
    }
    parts = masked(record, spec)
    assert set(record) - set(parts["title"][1]) == {"title", "title/ngrams"}
    assert parts["image 1"][1]["image_embeddings"] == b"b" * 512
    assert parts["image 2"][1]["image_embeddings"] == b"a" * 512
    assert "image_embeddings" not in parts["all images"][1]
    assert "all images" not in masked({**record, "image_embeddings": b"a" * 512}, spec)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "needs one thing"),
        ({"query": "red", "similar_to": "p02"}, "needs one thing"),
        ({"similar_to": "p01"}, "needs one thing"),
        ({"similar_to": "p77"}, "Received: 'p77', which is none of its 12"),
    ],
)
def test_bad_questions(run: Path, asked: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        explain(run, run / "saved_models", "p01", **asked)


def test_embeddings_of_another_model_are_refused(run: Path, tmp_path: Path) -> None:
    product = ProductTower()
    other = tf.function(
        lambda examples: {"embedding": -product.embed(examples)["embedding"]},
        input_signature=[tf.TensorSpec([None], tf.string, name="examples")],
    )
    product.other = other
    tf.saved_model.save(
        product, str(tmp_path / "product_tower" / "1"), {"serving_tf_example": other}
    )
    (tmp_path / "query_tower").symlink_to(run / "saved_models" / "query_tower")
    with pytest.raises(InputError, match="must be those of its exported product tower"):
        explain(run, tmp_path, "p01", query="red")


def test_the_verb_tells_it(run: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    from tfrs_sage.cli.run_folder import RunFolder

    monkeypatch.setattr(RunFolder, "do", lambda *_, **__: None)  # there is no training to do it
    arguments = ["explain", f"--dir={run}", "--product=p03", "--query=red sofa"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "p03 'green sofa' is number 5 of 12 for 'red sofa', score 0.500" in text
    assert "words of the query that it has: sofa (title)" in text
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rank"] == 5
