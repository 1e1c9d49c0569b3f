"""Which text files the tables of a SavedModel are filled from: its own assets, or others.

A table's initialiser takes the name of its file as a tensor. It is followed back through the calls
of the graph to where it comes from: the SavedModel's asset, or a text that somebody wrote.
"""

from collections.abc import Iterator
from typing import Any

TEXT_FILE_OPS = ("InitializeTableFromTextFile", "InitializeTableFromTextFileV2")
_PASS_ON = ("Identity", "IdentityN")
_FILENAME = 1  # after the table
_MAX_DEPTH = 100  # of calls and identities


def foreign_table_files(model: Any) -> dict[str, tuple[str, ...]]:
    """Ops that fill tables from files that are no assets, with their functions.

    Args:
        model: a `SavedModel` proto.
    """
    found: dict[str, set[str]] = {}
    for meta_graph in model.meta_graphs:
        graph = _Graph(meta_graph)
        for function, node in graph.all_nodes():
            if node.op in TEXT_FILE_OPS and not graph.is_asset(function, node.input[_FILENAME]):
                found.setdefault(node.op, set()).add(function)
    return {op: tuple(sorted(functions)) for op, functions in found.items()}


class _Graph:
    """A graph whose tensors can be followed back; "" is the main graph's name."""

    def __init__(self, meta_graph: Any) -> None:
        library = meta_graph.graph_def.library.function
        self._nodes = {"": {node.name: node for node in meta_graph.graph_def.node}}
        self._arguments: dict[str, list[str]] = {"": []}
        for function in library:
            name = function.signature.name
            self._nodes[name] = {node.name: node for node in function.node_def}
            self._arguments[name] = [argument.name for argument in function.signature.input_arg]
        self._assets = {asset.tensor_info.name.split(":")[0] for asset in meta_graph.asset_file_def}
        objects = meta_graph.object_graph_def
        self._captures = {
            name: [objects.nodes[number] for number in function.bound_inputs]
            for name, function in objects.concrete_functions.items()
        }

    def all_nodes(self) -> Iterator[tuple[str, Any]]:
        for function, nodes in self._nodes.items():
            for node in nodes.values():
                yield function, node

    def is_asset(self, function: str, tensor: str, depth: int = 0) -> bool:
        """Whether a tensor of a function is the name of an asset, whoever calls it."""
        if depth > _MAX_DEPTH:
            return False
        name = tensor.removeprefix("^").split(":")[0]
        if name in self._arguments[function]:
            return self._is_asset_argument(function, self._arguments[function].index(name), depth)
        node = self._nodes[function].get(name)
        if node is None:
            return False
        if node.op in _PASS_ON:
            return self.is_asset(function, node.input[0], depth + 1)
        if node.op == "ReadVariableOp":  # the main graph keeps the names of assets in variables
            written = [
                other.input[1]
                for other in self._nodes[function].values()
                if other.op == "AssignVariableOp" and other.input[0] == node.input[0]
            ]
            return bool(written) and all(self.is_asset(function, w, depth + 1) for w in written)
        return function == "" and name in self._assets

    def _is_asset_argument(self, function: str, place: int, depth: int) -> bool:
        """By what the function has captured and by what every call gives it."""
        captured = self._captures.get(function)
        num_given = len(self._arguments[function]) - len(captured or ())
        if captured is not None and (
            place < num_given or captured[place - num_given].WhichOneof("kind") != "asset"
        ):
            return False
        calls = [
            (caller, node.input[place])
            for caller, node in self.all_nodes()
            if any(value.func.name == function for value in node.attr.values())
        ]
        return (captured is not None or bool(calls)) and all(
            self.is_asset(caller, tensor, depth + 1) for caller, tensor in calls
        )
