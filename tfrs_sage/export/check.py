"""Whether a SavedModel runs on stock TF Serving: its ops, and what they reach for."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

from tfrs_sage.export.graph import list_ops
from tfrs_sage.export.unsafe_ops import PYTHON_OPS, unsafe_ops

# TF Serving of a version links the core ops of the TensorFlow of that version, TF Text's and the
# inference ops of Decision Forests (model_servers/BUILD, SUPPORTED_TENSORFLOW_OPS). The last are
# counted as missing: this package has no use for them and no list of them.
STOCK = (
    f"TF Serving {'.'.join(package_version('tensorflow').split('.')[:2])} "
    "(core TensorFlow and TF Text)"
)
_ASK = """
import json
import tensorflow, tensorflow_text
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session as session
ops = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
print("\\n" + json.dumps([op.name for op in ops.op]))
"""


@dataclass(frozen=True)
class OpReport:
    """Ops of an export.

    Attributes:
        folder: the version's folder.
        ops: every op name with the graph functions that use it ("" is the main graph).
        missing: the op names that a stock server lacks.
        outside: the op names that reach for `files`, the `network` or the `process`, with which
            of them, whether a server has them or not: what they find is not what the export was
            checked with.
    """

    folder: Path
    ops: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]
    outside: dict[str, str]

    @property
    def fits_stock_server(self) -> bool:
        return not self.missing and not self.outside

    def explain(self) -> str:
        """What a person should know, with the way out for every op that does not fit."""
        had = len(self.ops) - len(self.missing)
        told = [f"{self.folder}: {STOCK} has {had} of its {len(self.ops)} ops."]
        told += [f"It lacks {op} (in {self._where(op)}). {_way_out(op)}" for op in self.missing]
        told += [
            f"{op} (in {self._where(op)}) reaches for the server's "
            f"{reach}. Load what it needs before the "
            "export, into variables or assets."
            for op, reach in self.outside.items()
        ]
        return "\n".join(told)

    def _where(self, op: str) -> str:
        return next((function for function in self.ops[op] if function), "the main graph")


def _way_out(op: str) -> str:
    if op.startswith("Scann>"):
        return "Serve it with `tfrs-sage serve`, or serve `retrieval`, which needs no such op."
    if op in PYTHON_OPS:
        return "It calls Python, which no server runs: write it in TensorFlow's own ops."
    return "Write it in TensorFlow's own ops, or serve it with `tfrs-sage serve`."


def check_ops(folder: str | Path) -> OpReport:
    """Holds a SavedModel's ops against what a stock server has.

    Raises:
        InputError: there is no `saved_model.pb` in `folder`.
    """
    ops = list_ops(folder)
    outside = {op: reach for op, reach in unsafe_ops(folder).items() if reach != "Python"}
    return OpReport(Path(folder), ops, missing_ops(ops), dict(sorted(outside.items())))


def missing_ops(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the op names that stock TF Serving lacks, in ascending order."""
    return tuple(sorted(set(names) - (_registered_ops() - PYTHON_OPS)))


@functools.cache
def _registered_ops() -> frozenset[str]:
    """The ops that a process with TensorFlow and TF Text alone knows.

    A fresh process is asked: this one may have imported libraries with further ops.
    """
    done = subprocess.run(
        [sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(
            "TensorFlow and TF Text must import in a fresh process. Found: exit status "
            f"{done.returncode}\n{done.stderr[-2000:]}"
        )
    return frozenset(json.loads(done.stdout.splitlines()[-1]))
