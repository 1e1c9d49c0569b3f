"""Which ops a SavedModel uses, and which of them stock TF Serving lacks."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tensorflow.core.protobuf import saved_model_pb2

from tfrs_sage.errors import InputError

STOCK = "TF Serving 2.20 (core TensorFlow and TF Text)"
# Registered in every TensorFlow, but their kernels call back into Python, which a server
# has not.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})

_ASK = """
import json, sys
import tensorflow, tensorflow_text
from tensorflow.python.framework import op_def_registry
names = json.load(sys.stdin)
print("\\n" + json.dumps([n for n in names if op_def_registry.get(n) is None]))
"""


@dataclass(frozen=True)
class OpReport:
    """Ops of an export.

    Attributes:
        ops: every op name with the graph functions that use it ("" is the main graph).
        missing: the op names that a stock server lacks.
    """

    folder: Path
    ops: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]

    @property
    def loads_on_stock_server(self) -> bool:
        return not self.missing

    def explain(self) -> str:
        """One sentence for a person, with the way out where ops are missing."""
        if not self.missing:
            return f"{self.folder}: all {len(self.ops)} ops are in {STOCK}."
        fix = (
            "Serve it with `tfrs-sage serve`, or export `retrieval`, which needs no such op."
            if any(op.startswith("Scann>") for op in self.missing)
            else "Replace them with TensorFlow's own ops, or serve it with `tfrs-sage serve`."
        )
        where = {op: next((f for f in self.ops[op] if f), "main graph") for op in self.missing}
        named = ", ".join(f"{op} (in {function})" for op, function in where.items())
        return f"{self.folder}: {STOCK} lacks {named}. {fix}"


def list_ops(folder: str | Path) -> dict[str, tuple[str, ...]]:
    """Every op of a SavedModel with the functions that use it, by op name.

    Calls of the graph's own functions are not ops and are left out.

    Raises:
        InputError: there is no `saved_model.pb` in `folder`.
    """
    path = Path(folder) / "saved_model.pb"
    if not path.is_file():
        raise InputError(
            f"{folder} must be the version folder of a SavedModel. Found: no saved_model.pb."
        )
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    used: dict[str, set[str]] = {}
    own: set[str] = set()
    for meta_graph in model.meta_graphs:
        graph = meta_graph.graph_def
        own.update(function.signature.name for function in graph.library.function)
        for node in graph.node:
            used.setdefault(node.op, set()).add("")
        for function in graph.library.function:
            for node in function.node_def:
                used.setdefault(node.op, set()).add(function.signature.name)
    return {op: tuple(sorted(used[op])) for op in sorted(used) if op not in own}


def check_ops(folder: str | Path) -> OpReport:
    """Holds a SavedModel's ops against what a stock server has."""
    ops = list_ops(folder)
    return OpReport(Path(folder), ops, missing_ops(ops))


def missing_ops(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the op names that stock TF Serving lacks, in ascending order."""
    names = sorted(set(names))
    unregistered = _unregistered(tuple(names))
    return tuple(n for n in names if n in PYTHON_OPS or n in unregistered)


@functools.lru_cache(maxsize=32)
def _unregistered(names: tuple[str, ...]) -> frozenset[str]:
    """Names that a process with TensorFlow and TF Text alone does not know.

    A fresh process is asked: this one may have imported libraries with further ops.
    """
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            "TensorFlow and TF Text must import in a fresh process. Found: exit status "
            f"{done.returncode}\n{done.stderr[-2000:]}"
        )
    return frozenset(json.loads(done.stdout.splitlines()[-1]))
