"""Where a job runs when nobody says: in this process, with what is installed."""

import argparse
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

# Beam's DirectRunner may first try to download another runner; this is the local one that it
# falls back to. It honours --direct_running_mode and --direct_num_workers.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options of a job.

    Args:
        arguments: options of Beam. Without `--runner`, or with `DirectRunner`, the job runs
            locally and touches no network.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner", default="DirectRunner")
    known, others = parser.parse_known_args(list(arguments))
    runner = LOCAL_RUNNER if known.runner == "DirectRunner" else known.runner
    return PipelineOptions([f"--runner={runner}", *others])
