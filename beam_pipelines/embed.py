"""Embeds every record of one entity with its exported tower: catalogue in, Parquet out."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from numpy.typing import NDArray

from beam_pipelines.command_line import run_job
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.model_handler import KeyByRecordId, SavedModelHandler
from tfrs_sage.artefacts import MANIFEST, model_fingerprint, whole_folder, write_json
from tfrs_sage.errors import InputError


class EmbedRecords(beam.PTransform):
    """Serialized records -> `{"id": str, "embedding": list of float}` rows.

    Args:
        model_dir: version folder of the exported tower.
        signature: its signature over serialized records.
    """

    def __init__(self, model_dir: str, signature: str = "serving_tf_example") -> None:
        super().__init__()
        self._handler: Any = KeyedModelHandler(SavedModelHandler(model_dir, signature))

    def expand(self, records: Any) -> Any:
        return (
            records
            | "KeyByRecordId" >> beam.ParDo(KeyByRecordId())
            | "Embed" >> RunInference(self._handler)
            | "ToRow" >> beam.MapTuple(_row)
        )


class ReadRecords(beam.DoFn):
    """Path of a TFRecord file -> its serialized records.

    TensorFlow reads them: Beam's own reader wants a checksum package beside it.
    """

    def process(self, path: str) -> Iterable[bytes]:
        import tensorflow as tf

        for record in tf.data.TFRecordDataset(path):
            yield record.numpy()


def _row(record_id: str, embedding: NDArray[np.float32]) -> dict[str, Any]:
    return {"id": record_id, "embedding": embedding.tolist()}


def embed(
    run_dir: str | Path,
    entity: str,
    model_dir: str | Path,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes `RUN/embeddings/<entity>/part-*.parquet` with a manifest.

    Args:
        run_dir: run folder whose `catalogue/<entity>-*.tfrecord` are read.
        entity: `product`, `pin` or `query`.
        model_dir: version folder of the entity's exported tower, with the signature
            `serving_tf_example`.
        pipeline_args: Beam's pipeline options; a local runner where none is named.

    Returns:
        The manifest: `entity`, `dimension`, `count`, `model_fingerprint`.

    Raises:
        InputError: no records, no model, or an embedding that is not finite.
    """
    source = Path(run_dir) / "catalogue"
    files = sorted(source.glob(f"{entity}-*.tfrecord"))
    if not files:
        raise InputError(
            f"{source} must hold {entity}-*.tfrecord. Found: none. Run preprocess first."
        )
    if not (Path(model_dir) / "saved_model.pb").is_file():
        raise InputError(
            f"{model_dir} must be the version folder of a SavedModel. Found: no saved_model.pb. "
            "Run export first."
        )
    with whole_folder(Path(run_dir) / "embeddings" / entity) as folder:
        schema = pa.schema(
            [("id", pa.string()), ("embedding", pa.list_(pa.float32(), _width(model_dir)))]
        )
        with beam.Pipeline(options=pipeline_options(pipeline_args)) as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create([str(path) for path in files])
                | "Spread" >> beam.Reshuffle()
                | "ReadRecords" >> beam.ParDo(ReadRecords())
                | "EmbedRecords" >> EmbedRecords(str(model_dir))
                | "WriteParquet"
                >> beam.io.WriteToParquet(str(folder / "part"), schema, file_name_suffix=".parquet")
            )
        count, width = _count_and_check(folder)
        manifest = {
            "entity": entity,
            "dimension": width,
            "count": count,
            "model_fingerprint": model_fingerprint(model_dir),
        }
        write_json(folder / MANIFEST, manifest)
    return manifest


def _width(model_dir: str | Path) -> int:
    """Width of the embeddings, from the signature's definition; the model is not loaded."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = (Path(model_dir) / "saved_model.pb").read_bytes()
    signatures = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    if "serving_tf_example" not in signatures:
        raise InputError(
            f"{model_dir} must have the signature 'serving_tf_example'. Found: "
            f"{sorted(signatures)}. Export the tower again."
        )
    shape = signatures["serving_tf_example"].outputs["embedding"].tensor_shape
    return int(shape.dim[-1].size)


def _count_and_check(folder: Path) -> tuple[int, int]:
    """Number of rows and width of what was written; every number must be finite."""
    count, width = 0, 0
    for path in _parts(folder):
        for batch in pq.ParquetFile(path).iter_batches(65_536):
            embedding = batch.column("embedding")
            width = embedding.type.list_size
            finite = np.isfinite(embedding.flatten().to_numpy()).reshape(-1, width).all(axis=1)
            if not finite.all():
                bad = batch.column("id")[int(np.argmin(finite))].as_py()
                raise InputError(
                    f"embeddings must be finite. Found: NaN or infinity for {bad!r}. "
                    "The model has diverged: train with a lower rate."
                )
            count += len(batch)
    return count, width


def _parts(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("part-*.parquet"))


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The job from its command line; options that it does not know go to Beam."""
    parser = argparse.ArgumentParser(prog="python -m beam_pipelines.embed", description=__doc__)
    parser.add_argument("--run_dir", required=True, help="run folder with a catalogue")
    parser.add_argument("--entity", required=True, choices=("product", "pin", "query"))
    parser.add_argument("--model_dir", required=True, help="version folder of the tower")
    known, pipeline_args = parser.parse_known_args(argv)
    return embed(known.run_dir, known.entity, known.model_dir, pipeline_args)


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import embed as module

    sys.exit(run_job(module.run))
