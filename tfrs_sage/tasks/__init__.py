"""Retrieval heads, one per task found in the data."""

from tfrs_sage.tasks.retrieval import FrequencySketches, SampledSoftmaxRetrieval, layer_name

__all__ = ["FrequencySketches", "SampledSoftmaxRetrieval", "layer_name"]
