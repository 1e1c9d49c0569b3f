"""Trains a run in a process of its own: `RUN`, the number of logical CPUs, then settings."""

import json
import sys
from pathlib import Path

import tfrs_sage  # noqa: F401  (before TensorFlow)

import tensorflow as tf  # isort: skip

from tfrs_sage.training.config import load_config
from tfrs_sage.training.fit import train

if __name__ == "__main__":
    run_dir, num_devices, settings = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    (cpu,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * num_devices
    tf.config.set_logical_device_configuration(cpu, devices)
    print(json.dumps(train(run_dir, load_config("base", run_dir / "config.yaml", settings))))
