"""What is in the graph of a SavedModel, read from its file; nothing is loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

from tfrs_sage.errors import InputError

# Past this a constant is data that belongs into a variable; together constants, unlike variables,
# may not exceed the 2 GB of a protocol buffer.
MAX_CONSTANT_BYTES = 2**26


def list_ops(folder: str | Path) -> dict[str, tuple[str, ...]]:
    """Every op of a SavedModel with the functions that use it, by op name.

    Calls of the graph's own functions are not ops and are left out.

    Raises:
        InputError: there is no `saved_model.pb` in `folder`.
    """
    return ops_of(read_saved_model(folder))


def ops_of(model: Any) -> dict[str, tuple[str, ...]]:
    """As `list_ops`, of a `SavedModel` proto."""
    used: dict[str, set[str]] = {}
    for function, node in _nodes(model):
        used.setdefault(node.op, set()).add(function)
    own = {function.signature.name for function in _functions(model)}
    return {op: tuple(sorted(used[op])) for op in sorted(used) if op not in own}


def saver_functions(model: Any) -> set[str]:
    """The functions with which the loader restores the variables, and those that they call.

    Those that something else calls as well are left out.

    Args:
        model: a `SavedModel` proto.
    """
    found: set[str] = set()
    callers: dict[str, set[str]] = {}
    for meta_graph in model.meta_graphs:
        saver = meta_graph.saver_def
        entries = {saver.save_tensor_name.split(":")[0], saver.restore_op_name}
        asked = {
            info.name.split(":")[0]
            for signature in meta_graph.signature_def.values()
            for info in (*signature.inputs.values(), *signature.outputs.values())
        }
        for node in meta_graph.graph_def.node:
            if node.name in entries - asked:
                found.update(_called(node))
            else:
                for name in _called(node):
                    callers.setdefault(name, set()).add("")
    calls: dict[str, set[str]] = {}
    for function in _functions(model):
        called = set().union(*map(_called, function.node_def))
        calls.setdefault(function.signature.name, set()).update(called)
        for name in called:
            callers.setdefault(name, set()).add(function.signature.name)
    new = set(found)
    while new:
        new = set().union(*(calls.get(name, set()) for name in new)) - found
        found |= new
    while shared := {name for name in found if not callers.get(name, set()) <= found}:
        found -= shared
    return found


def _called(node: Any) -> set[str]:
    """The functions that a node calls."""
    return {v.func.name for v in node.attr.values() if v.WhichOneof("value") == "func"}


def refuse_large_constants(folder: str | Path) -> None:
    """Refuses a graph that holds data as a constant.

    Raises:
        RuntimeError: naming the constant and its size.
    """
    for function, node in _nodes(read_saved_model(folder)):
        size = node.ByteSize() if node.op == "Const" else 0
        if size > MAX_CONSTANT_BYTES:
            raise RuntimeError(
                f"a constant of the graph must have at most {MAX_CONSTANT_BYTES / 2**20:.0f} MiB, "
                f"as a graph ends at 2 GB. Found: {size / 2**20:.0f} MiB in {node.name!r} of "
                f"{function or 'the main graph'!r}. Keep such data in a tf.Variable."
            )


def read_saved_model(folder: str | Path) -> Any:
    """The `SavedModel` proto of a version's folder.

    Raises:
        InputError: there is no `saved_model.pb` in `folder`.
    """
    path = Path(folder) / "saved_model.pb"
    if not path.is_file():
        raise InputError(
            f"{folder} must be the version folder of a SavedModel. Found: no saved_model.pb."
        )
    return saved_model_pb2.SavedModel.FromString(path.read_bytes())


def _functions(model: Any) -> Iterator[Any]:
    for meta_graph in model.meta_graphs:
        yield from meta_graph.graph_def.library.function


def _nodes(model: Any) -> Iterator[tuple[str, Any]]:
    """Every node with the name of its function; "" in the main graph."""
    for meta_graph in model.meta_graphs:
        for node in meta_graph.graph_def.node:
            yield "", node
    for function in _functions(model):
        for node in function.node_def:
            yield function.signature.name, node
