"""`export --check`: every op, what a stock server lacks, what reaches outside."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.export.toy import IDS, TEXTS, VECTORS, KeywordTower
from tfrs_sage.cli.main import main
from tfrs_sage.errors import InputError
from tfrs_sage.export.check import check_ops, missing_ops
from tfrs_sage.export.graph import list_ops
from tfrs_sage.export.retrieval import export_retrieval


def _save(folder, function) -> str:
    """A SavedModel of one function of a text scalar."""
    spec = tf.TensorSpec([], tf.string, name="text")
    concrete = tf.function(function).get_concrete_function(spec)
    module = tf.Module()
    module.function = concrete
    module.variable = tf.Variable(np.zeros(3))  # so that there is a saver, with file ops
    tf.saved_model.save(module, str(folder), signatures={"serving_default": concrete})
    return str(folder)


def test_every_op_of_retrieval_is_on_a_stock_server(tmp_path, capsys) -> None:
    path = export_retrieval(KeywordTower(tmp_path), VECTORS, IDS, tmp_path, TEXTS, check=False)
    report = check_ops(path)
    assert report.missing == () and report.outside == {} and report.fits_stock_server
    assert "CaseFoldUTF8" in report.ops  # TF Text's, within a function of the tower
    assert "TopKV2" in report.ops and "RestoreV2" in report.ops  # the latter is the saver's
    assert "TF Serving 2.20 (core TensorFlow and TF Text) has" in report.explain()
    assert main(["export", "--check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []
    with pytest.raises(InputError, match=r"no saved_model\.pb"):
        list_ops(tmp_path)


def test_foreign_and_python_ops_are_named() -> None:
    names = ["MatMul", "Scann>ScannSearchBatched", "EagerPyFunc", "TFText>NoSuchOp"]
    assert missing_ops(names) == ("EagerPyFunc", "Scann>ScannSearchBatched", "TFText>NoSuchOp")


def test_what_calls_python_or_reaches_outside_is_told_with_a_way_out(tmp_path, capsys) -> None:
    def careless(text):
        lines = tf.data.TextLineDataset(text).take(1)
        read = tf.io.read_file(tf.data.experimental.get_single_element(lines))
        sent = tf.raw_ops.DebugIdentityV2(input=read, debug_urls=["grpc://elsewhere:1"])
        return {"out": tf.numpy_function(lambda value: value, [sent], tf.string)}

    report = check_ops(_save(tmp_path / "1", careless))
    assert report.missing == ("PyFunc",)
    assert report.outside == {
        "DebugIdentityV2": "network",
        "ReadFile": "files",
        "TextLineDataset": "files",
    }
    told = report.explain()
    assert "lacks PyFunc" in told and "write it in TensorFlow's own ops" in told
    assert "ReadFile (in " in told and "reaches for the server's files" in told
    assert "reaches for the server's network" in told
    assert main(["export", "--check", str(tmp_path / "1")]) == 2
    printed = capsys.readouterr().out
    assert "StatefulPartitionedCall" in printed  # all ops are listed
