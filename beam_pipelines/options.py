"""Command-line options of jobs that are made from the sections of a run's configuration."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.users.config import ClusterConfig


def users_section(path: str | None) -> ClusterConfig:
    """The section `users` from a YAML file of its own; the defaults without one."""
    text = Path(path).read_text(encoding="utf-8") if path else ""
    return ClusterConfig(**(yaml.safe_load(text) or {}))


def parse(argv: Sequence[str] | None) -> tuple[str, str, PreprocessConfig, list[str]]:
    """Splits a command line into what the job needs and what Beam takes.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        (input folder, run folder, configuration, arguments left to Beam).
    """
    parser = argparse.ArgumentParser(
        prog="python -m beam_pipelines.preprocess",
        description="Tables to vocabularies, catalogue records and examples. "
        "Further options go to Beam, e.g. --runner=DirectRunner --direct_num_workers=2.",
    )
    parser.add_argument("--input", required=True, help="folder of the tables")
    parser.add_argument("--output", required=True, help="run folder to write into")
    for name, field in PreprocessConfig.model_fields.items():
        kind: Any = field.annotation  # int, float or str, each made from its text
        # The text "False" is a true value: a switch is `--name` or `--no-name`.
        how: dict[str, Any] = {"type": kind}
        if kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        elif kind == tuple[str, ...]:
            how = {"nargs": "*"}
        parser.add_argument(f"--{name}", default=field.default, help=field.description, **how)
    known, beam_arguments = parser.parse_known_args(argv)
    values: dict[str, Any] = {name: getattr(known, name) for name in PreprocessConfig.model_fields}
    return known.input, known.output, PreprocessConfig(**values), beam_arguments
