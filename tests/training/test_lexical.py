"""A run whose texts have an n-gram part: assembled from its vocabulary, in chunks, exported."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.small_run import config, small_run
from tfrs_sage.export.query_tower import ExportedQueryTower
from tfrs_sage.training.assemble import assemble
from tfrs_sage.training.config import load_config
from tfrs_sage.training.fit import compile_model
from tfrs_sage.training.input_pipeline import training_batches

TEXTS = tf.constant(["red sofa", "", "blue oak lamp lamp", "xyz"])


@pytest.fixture(scope="module")
def lexical():
    values = config().model_dump(mode="json")
    values["query_tower"] |= {"lexical_dim": 4, "dropout": 0.0}
    values["product_tower"]["text_encoder"] = "query"
    settings = load_config("tiny", None, [])
    settings = settings.model_validate(values)
    return settings, assemble(small_run(), settings)


def test_titles_and_queries_share_the_ngrams(lexical) -> None:
    settings, assembly = lexical
    query = assembly.model.towers["query"]
    assert query.lexical.bag.dim == 4 and query.head.units == settings.embedding_dim - 4
    assert assembly.model.towers["product"].title_encoder is query
    # They learn at the rate of new weights, with a preset too.
    learned_slowly = {id(variable) for variable in assembly.pretrained}
    assert not any(id(variable) in learned_slowly for variable in query.lexical.variables)


def test_chunks_give_the_gradient_of_the_whole_batch(lexical) -> None:
    settings, assembly = lexical
    pairs = {"search/product/click": 60, "pin/product/save": 20}
    batches = training_batches(small_run(), assembly, settings.training, pairs, 0)
    batch = next(iter(batches))
    compile_model(assembly, settings, 10)
    model = assembly.model
    start = [np.array(v) for v in model.non_trainable_variables]
    found = []
    for chunks in (1, 3):
        for variable, value in zip(model.non_trainable_variables, start, strict=True):
            variable.assign(value)
        model.num_chunks = chunks
        loss, gradients = model.chunked_gradients(batch)
        found.append((float(loss), [tf.convert_to_tensor(g).numpy() for g in gradients]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for whole, parts in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(parts, whole, atol=1e-5 * max(1.0, np.abs(whole).max()))


@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_the_exported_query_tower_has_it(lexical, weights, tmp_path) -> None:
    _, assembly = lexical
    tower, features = assembly.model.towers["query"], assembly.features["query"]
    module = ExportedQueryTower(tower, features, weights)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.signatures())
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    expected = tower(features({"text": TEXTS}))
    found = loaded.signatures["serving_default"](query=TEXTS)["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-5 if weights == "float32" else 2e-3)
