"""Which SavedModels reach beyond themselves: toys that do, and that only seem to."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.export.toy import IDS, TEXTS, VECTORS, KeywordTower
from tfrs_sage.export.graph import read_saved_model, saver_functions
from tfrs_sage.export.retrieval import export_retrieval
from tfrs_sage.export.unsafe_ops import unsafe_ops


def saved(folder, function, **parts) -> str:
    """A SavedModel of one function of a text scalar; `parts` are what it needs."""
    module = tf.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    module.variable = tf.Variable(np.zeros(3))  # so that there is a saver, with file ops
    spec = tf.TensorSpec([], tf.string, name="text")
    module.function = tf.function(function).get_concrete_function(spec)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.function})
    return str(folder)


def table(filename) -> tf.lookup.StaticHashTable:
    initializer = tf.lookup.TextFileInitializer(
        filename,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    return tf.lookup.StaticHashTable(initializer, -1)


def test_ops_by_what_they_reach_for(tmp_path) -> None:
    def careless(text):
        tf.io.write_file("/tmp/never", text)
        tf.print(text, output_stream="file:///tmp/never")
        read = tf.raw_ops.DebugIdentityV2(input=text, debug_urls=["grpc://elsewhere:1"])
        return {"out": tf.numpy_function(lambda value: value, [read], tf.string)}

    assert unsafe_ops(saved(tmp_path / "1", careless)) == {
        "WriteFile": "files",
        "PrintV2": "files",
        "DebugIdentityV2": "network",
        "PyFunc": "Python",
    }

    def ends(text):
        with tf.control_dependencies([tf.raw_ops.Abort()]):
            return {"out": tf.identity(text)}

    assert unsafe_ops(saved(tmp_path / "2", ends)) == {"Abort": "process"}


def test_what_a_model_may_do(tmp_path) -> None:
    path = export_retrieval(KeywordTower(tmp_path), VECTORS, IDS, tmp_path, TEXTS, check=False)
    assert unsafe_ops(path) == {}
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")
    words = table(str(vocabulary))

    def plain(text):
        tf.print(text)
        return {"out": words.lookup(text)}

    assert unsafe_ops(saved(tmp_path / "2", plain, words=words)) == {}


def edited(folder, edit) -> str:
    path = f"{folder}/saved_model.pb"
    model = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        model.ParseFromString(file.read())
    edit(model.meta_graphs[0])
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
    return str(folder)


@pytest.mark.parametrize("where", ["constant", "captured", "main"])
def test_a_table_of_somebody_elses_file(tmp_path, where) -> None:
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")
    words = table(str(vocabulary))
    folder = saved(tmp_path / "1", lambda text: {"out": words.lookup(text)}, words=words)

    def constant(meta_graph) -> None:
        """Writes the name of a file into the initialiser."""
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                if node.op == "InitializeTableFromTextFileV2":
                    node.input[1] = "evil:output:0"
                    evil = function.node_def.add(name="evil", op="Const")
                    evil.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))
                    return
        raise AssertionError("no initialiser")

    def captured(meta_graph) -> None:
        """Gives the initialiser a constant in place of the asset."""
        objects = meta_graph.object_graph_def
        (number,) = [n for n, one in enumerate(objects.nodes) if one.WhichOneof("kind") == "asset"]
        objects.nodes[number].constant.operation = "Const"

    def main(meta_graph) -> None:
        """Puts a text where the main graph keeps the name of the asset."""
        nodes = {node.name: node for node in meta_graph.graph_def.node}
        (asset,) = [one.tensor_info.name.split(":")[0] for one in meta_graph.asset_file_def]
        (written,) = [
            node
            for node in nodes.values()
            if node.op == "AssignVariableOp" and node.input[1] == asset
        ]
        evil = meta_graph.graph_def.node.add(name="evil", op="Const")
        evil.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))
        written.input[1] = "evil"

    edited(folder, {"constant": constant, "captured": captured, "main": main}[where])
    assert unsafe_ops(folder) == {"InitializeTableFromTextFileV2": "files"}


def test_the_savers_functions_are_the_savers_alone(tmp_path) -> None:
    folder = saved(tmp_path / "1", lambda text: {"out": tf.identity(text)})
    assert unsafe_ops(folder) == {}

    def edit(meta_graph) -> None:
        """Has a function of the model call the one that restores the variables."""
        saver = meta_graph.saver_def.restore_op_name
        (node,) = [n for n in meta_graph.graph_def.node if n.name == saver]
        functions = meta_graph.graph_def.library.function
        saver = saver_functions(read_saved_model(folder))
        function = next(f for f in functions if f.signature.name not in saver)
        function.node_def.add(name="evil", op="StatefulPartitionedCall").attr["f"].CopyFrom(
            node.attr["f"]
        )

    found = unsafe_ops(edited(folder, edit))
    assert found.get("RestoreV2") == "files"
