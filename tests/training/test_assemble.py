"""From settings to models: compatibility, inputs, rates by depth, the unified tower's export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.small_run import CLICK, SAVE, SETTINGS, num_pairs, small_run
from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.export.towers import ExportedEntityTower
from tfrs_sage.schema.features import NGRAMS_SUFFIX, EntitySpec
from tfrs_sage.towers.features import parse_records
from tfrs_sage.training.assemble import assemble
from tfrs_sage.training.config import load_config
from tfrs_sage.training.fit import compile_model
from tfrs_sage.training.input_pipeline import training_batches

UNIFIED = [
    f"{tower}_tower.{setting}"
    for tower in ("product", "pin")
    for setting in ("fusion=unified", "mlp_dims=[12]", "text_dim=8", "hash_table_size=64")
]
COMPATIBLE = "training.compatibility={product: [graph_embedding]}"


def make(*settings):
    config = load_config("tiny", None, [*SETTINGS, *settings])
    return assemble(small_run(), config), config


def batches(assembly, config):
    return training_batches(small_run(), assembly, config.training, num_pairs(small_run()), 0)


def test_a_compatible_column_is_no_input_unless_it_is_named() -> None:
    assembly, config = make(COMPATIBLE)
    (batch,) = batches(assembly, config).take(1)
    assert "vectors" not in batch["pairs"][CLICK]["candidate"]
    for part in (batch["pairs"][CLICK], batch["random"]["product"]):
        fixed = part["fixed"]["graph_embedding"]
        present = fixed["present"].numpy()
        lengths = np.linalg.norm(fixed["vectors"], axis=1)
        np.testing.assert_allclose(lengths, present, atol=1e-5)  # of length 1, absent ones 0
    assert "fixed" not in batch["pairs"][SAVE]  # its queries are no texts
    named, config = make(COMPATIBLE, "product_tower.vectors=[graph_embedding]")
    (batch,) = batches(named, config).take(1)
    assert set(batch["pairs"][CLICK]["candidate"]["vectors"]) == {"graph_embedding"}
    none, config = make("product_tower.vectors=[]")
    (batch,) = batches(none, config).take(1)
    assert "vectors" not in batch["pairs"][CLICK]["candidate"]
    assert "fixed" not in batch["pairs"][CLICK]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "training.compatibility={product: [old_embedding]}",
            r"vector columns of the products\. Received: 'old_embedding'; the data has graph_",
        ),
        (
            "training.compatibility={pin: [old_embedding]}",
            r"compatibility\.pin needs a trained task from search to pin\. Found: .*Leave pin out",
        ),
        ("product_tower.vectors=[x_embedding]", r"product_tower\.vectors may.*'x_embedding'"),
        ("query_tower.frozen_layers=2", r"must be 0 to 1, the encoder blocks"),
        (
            "query_tower.head=none",
            r"embedding_dim 8, width 64, lexical_dim 0\. Set embedding_dim to 64",
        ),
    ],
)
def test_settings_that_do_not_fit_the_data(setting, message) -> None:
    with pytest.raises(InputError, match=message):
        make(setting)


def test_a_column_wider_than_a_query() -> None:
    with pytest.raises(InputError, match=r"embedding_dim, 4, components or fewer.*has 6.*to 6"):
        make(COMPATIBLE, "embedding_dim=4")


def test_the_weight_of_a_compatibility_task_is_that_of_its_task_times_its_own() -> None:
    tasks = f"training.tasks={{{CLICK}: {{weight: 3.0}}, {SAVE}: {{}}}}"
    assembly, _ = make(COMPATIBLE, "training.compatibility_weight=0.5", tasks)
    expected = {CLICK: 3.0, SAVE: 1.0, f"{CLICK}@graph_embedding": 1.5}
    assert assembly.model.task_weights == expected


def test_blocks_learn_at_rates_of_their_own_and_frozen_ones_not() -> None:
    """Adam's first step moves a weight by the rate, whatever the gradient."""
    settings = ["query_tower.num_layers=3", "query_tower.layer_rate_decay=0.5"]
    assembly, config = make(*settings, "query_tower.frozen_layers=1", "training.weight_decay=0")
    compile_model(assembly, config, num_steps=10)
    model, tower = assembly.model, assembly.model.towers["query"]
    before = {v.path: np.array(v) for v in tower.weights}
    (batch,) = batches(assembly, config).take(1)
    model.train_step(batch)
    moved = {v.path: np.abs(np.array(v) - before[v.path]).max() for v in tower.weights}
    rate = float(keras.ops.convert_to_numpy(moved[tower.head.kernel.path]))
    assert rate > 0
    by_block = [
        max(value for path, value in moved.items() if f"transformer_layer_{i}/" in path)
        for i in range(3)
    ]
    np.testing.assert_allclose(by_block, [0.0, 0.5 * rate, rate], rtol=1e-2)
    embeddings = [value for path, value in moved.items() if "embedding" in path]
    assert len(embeddings) >= 3 and not any(embeddings)


@pytest.mark.parametrize("item_tower", [False, True])
def test_a_unified_tower_trains_and_its_export_answers_alike(tmp_path, item_tower) -> None:
    assembly, config = make(*UNIFIED, f"product_tower.item_tower={item_tower}")
    towers = assembly.model.towers
    assert towers["product"].mlp is towers["pin"].mlp
    assert towers["product"].bag is towers["pin"].bag
    assert list(towers["pin"].mlp.widths) == [
        *("text", "images", "graph_embedding"),
        *(["item_tower"] if item_tower else []),
    ]
    compile_model(assembly, config, num_steps=10)
    kernel = towers["pin"].mlp.hidden[0].kernel
    before = np.array(kernel)
    (batch,) = batches(assembly, config).take(1)
    losses = [float(assembly.model.train_step(batch)["loss"]) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert (np.abs(np.array(kernel) - before).max(axis=1) > 0).mean() > 0.9
    catalogue = read_manifest(small_run() / "catalogue")["entities"]
    for entity in ("product", "pin"):
        files = sorted(str(path) for path in (small_run() / "catalogue").glob(f"{entity}-*"))
        records = next(iter(tf.data.TFRecordDataset(files).batch(16)))
        spec = EntitySpec.from_json(catalogue[entity])
        raw = parse_records(records, spec)
        assert not any(name.endswith(NGRAMS_SUFFIX) for name in raw)
        expected = towers[entity](assembly.features[entity](raw))
        module = ExportedEntityTower(assembly, entity)
        folder = str(tmp_path / entity)
        tf.saved_model.save(module, folder, signatures=module.signatures())
        loaded = tf.saved_model.load(folder)
        found = loaded.signatures["serving_tf_example"](examples=records)["embedding"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
