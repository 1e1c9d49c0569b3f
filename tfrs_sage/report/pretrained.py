"""The pretrained encoder of a query tower as it comes, without any training on the run's data."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_sage.artefacts import fingerprint, whole_file
from tfrs_sage.towers import QueryTokenizer, QueryTower, build_backbone
from tfrs_sage.towers.config import QueryTowerConfig

logger = logging.getLogger(__name__)
TEXT_BATCH = 256
LOG_SECONDS = 20


class PretrainedEncoder:
    """Embeds texts by a preset, mean-pooled over the tokens, as sentence encoders are.

    A catalogue's titles take minutes and do not change, so their vectors are kept in a file.

    Args:
        preset: any keras-hub text backbone.
        max_length: tokens of a text.
        kept: folder for the vectors; None to keep none.
    """

    def __init__(self, preset: str, max_length: int = 64, kept: Path | None = None) -> None:
        config = QueryTowerConfig(preset=preset, max_length=max_length, pooling="mean", head="none")
        tokenizer = QueryTokenizer(config)
        backbone = build_backbone(config, tokenizer.vocabulary_size)
        tower = QueryTower(backbone, config, backbone.hidden_dim)
        self._width = int(backbone.hidden_dim)
        name = f"pretrained-{fingerprint([preset_state(preset), max_length])}.parquet"
        self._file = None if kept is None else kept / name
        self._vectors: dict[str, np.ndarray] = self._read()
        self._embed = tf.function(
            lambda texts: tower(tokenizer(texts)),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32 `[n, width]`, L2-normalised; each distinct text is embedded once."""
        new = sorted({text for text in texts if text not in self._vectors}, key=len)
        said = time.monotonic()
        for start in range(0, len(new), TEXT_BATCH):
            batch = new[start : start + TEXT_BATCH]
            self._vectors.update(zip(batch, self._embed(tf.constant(batch)).numpy(), strict=True))
            if time.monotonic() - said > LOG_SECONDS:
                said = time.monotonic()
                logger.info("pretrained: %d of %d texts embedded", start + len(batch), len(new))
        if new:
            self._write()
        return np.stack([self._vectors[text] for text in texts])

    def _read(self) -> dict[str, np.ndarray]:
        if self._file is None or not self._file.is_file():
            return {}
        table = pq.read_table(self._file).combine_chunks()
        vectors = table.column("vector").combine_chunks().flatten().to_numpy()
        rows = vectors.reshape(-1, self._width)
        return dict(zip(table.column("text").to_pylist(), rows, strict=True))

    def _write(self) -> None:
        if self._file is None:
            return
        flat = pa.array(np.concatenate(list(self._vectors.values())))
        column = pa.FixedSizeListArray.from_arrays(flat, self._width)
        with whole_file(self._file) as path:
            pq.write_table(pa.table({"text": list(self._vectors), "vector": column}), path)


def preset_state(preset: str) -> list[object]:
    """The preset's name; of a local folder also its files with their sizes and times."""
    files = sorted(path for path in Path(preset).rglob("*") if path.is_file())
    return [preset, *((path.name, path.stat().st_size, path.stat().st_mtime) for path in files)]
