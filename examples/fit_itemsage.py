"""A Keras script of one's own over the library's parts: towers, model, batches, `fit`.

tfrs-sage preprocess --input TABLES --dir runs/mine --preset tiny
python examples/fit_itemsage.py runs/mine
"""

import sys
from pathlib import Path

import keras

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.layers import HashEmbeddingBag
from tfrs_sage.losses import LossConfig
from tfrs_sage.models import RetrievalModel
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.text.vocabulary import NgramVocabulary
from tfrs_sage.towers import EntityTower, QueryTokenizer, QueryTower, build_backbone
from tfrs_sage.towers.config import EntityTowerConfig, QueryTowerConfig
from tfrs_sage.towers.features import EntityFeatures, QueryFeatures
from tfrs_sage.training.assemble import Assembly
from tfrs_sage.training.config import TaskConfig, TrainingConfig
from tfrs_sage.training.input_pipeline import training_batches

run_dir, dim = Path(sys.argv[1]), 32
manifest = read_manifest(run_dir / "examples")
pairs = {name: counts.get("train", 0) for name, counts in manifest["tasks"].items()}
tasks = sorted(n for n in pairs if n.startswith("search/product/") and pairs[n])
specs = {e: EntitySpec.from_json(manifest["entities"][e]) for e in ("query", "product")}

# The query tower: a small encoder from scratch, over the run's own WordPiece vocabulary.
query_config = QueryTowerConfig(num_layers=1, hidden_dim=32, intermediate_dim=64)
tokenizer = QueryTokenizer(query_config, (run_dir / "vocabulary/wordpiece.txt").read_text().split())
backbone = build_backbone(query_config, tokenizer.vocabulary_size)
query_tower = QueryTower(backbone, query_config, dim, name="query")

# The product tower of ItemSage: image, text and further vectors through a transformer.
vocabulary = NgramVocabulary(run_dir / "vocabulary")
bag = HashEmbeddingBag(vocabulary.size, dim=32, table_size=2000)
product_config = EntityTowerConfig(hidden_dim=32, num_heads=4, intermediate_dim=64, head_dim=32)
product_tower = EntityTower(specs["product"], product_config, dim, bag, name="product")

model = RetrievalModel(
    {"query": query_tower, "product": product_tower}, tasks, LossConfig(sketch_width=2**16)
)
model.build()
features = {
    "query": QueryFeatures(tokenizer),
    "product": EntityFeatures(specs["product"], vocabulary),
}
assembly = Assembly(model, features, specs, {name: TaskConfig() for name in tasks}, [])
settings = TrainingConfig(batch_size=64, random_negatives=64)
batches = training_batches(run_dir, assembly, settings, pairs, start=0)
model.compile(optimizer=keras.optimizers.AdamW(2e-3), jit_compile=False)
history = model.fit(batches, steps_per_epoch=20, epochs=2, verbose=2).history
print("loss by epoch:", [round(value, 3) for value in history["loss"]])
