"""Which devices a training uses, and how its batches reach them."""

import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_sage.errors import InputError
from tfrs_sage.training.config import TrainingConfig

# From how many replicas there are, and the share of this worker (workers, own number), to its
# endless batches, one element a replica.
MakeBatches = Callable[[int, tuple[int, int]], tf.data.Dataset]


def choose_strategy(config: TrainingConfig) -> tf.distribute.Strategy:
    """The strategy that `training.strategy` asks for.

    `auto` takes all GPUs of this machine where there are two or more. `multi_worker` reads the
    workers from TF_CONFIG, as `tf.distribute.MultiWorkerMirroredStrategy` does, and must be chosen
    before TensorFlow has run anything else.

    Raises:
        InputError: `multi_worker` without TF_CONFIG; `mixed_float16` on several replicas.
    """
    kind = config.strategy
    if kind == "auto":
        kind = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if kind == "one":
        return tf.distribute.get_strategy()
    if kind == "multi_worker":
        _check_cluster(os.environ.get("TF_CONFIG"))
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        strategy = tf.distribute.MirroredStrategy(_devices())
    if strategy.num_replicas_in_sync > 1 and config.precision == "mixed_float16":
        # Keras' loss scaling looks for overflows in one replica's gradients only.
        raise InputError(
            "training.precision=mixed_float16 needs a single replica. Found: "
            f"{strategy.num_replicas_in_sync} replicas. Use mixed_bfloat16, or "
            "training.strategy=one."
        )
    return strategy


def _devices() -> list[str]:
    """All GPUs, or without one all logical CPUs."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _check_cluster(described: str | None) -> None:
    try:
        known = json.loads(described or "")
        known["cluster"]["worker"], known["task"]["index"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            'training.strategy=multi_worker needs TF_CONFIG, such as {"cluster": {"worker": '
            '["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}. '
            f"Found: {described!r}."
        ) from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints and curves: the first worker, or the only one."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id == 0


def distribute(strategy: tf.distribute.Strategy, make_batches: MakeBatches) -> Any:
    """Batches for every replica, a step's in the order of the replicas."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make_batches(1, (1, 0))
    return strategy.distribute_datasets_from_function(
        lambda context: make_batches(
            replicas, (context.num_input_pipelines, context.input_pipeline_id)
        )
    )


def train_function(
    strategy: tf.distribute.Strategy, model: Any, batches: Any
) -> Callable[[Any], Any]:
    """One compiled training step on all replicas: from one of `batches` to the metrics' values."""

    def step(batch: Any) -> Any:
        strategy.run(model.train_step, args=(batch,))
        # Read outside of the replicas, where a metric is that of all of them.
        return model.get_metrics_result()

    # The signature leaves open what differs from batch to batch: one trace for all of them.
    return tf.function(step, input_signature=[batches.element_spec], autograph=False)
