"""What the ops of a SavedModel reach for beyond its own files, read from its graph.

A model is a program. This finds the programs that read or write other files, open connections,
call Python or end the process, by mistake or plainly; it is no sandbox for those that hide it.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfrs_sage.export.graph import ops_of, read_saved_model, saver_functions
from tfrs_sage.export.table_files import foreign_table_files

# Their kernels call back into Python, or are linked into the Python package alone.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
# Ops that read or write files by name, and ops that open connections, without "Experimental"
# before and "V2" after.
FILE_OPS = frozenset(
    [
        *("ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader", "TextLineReader"),
        *("FixedLengthRecordReader", "TFRecordReader", "LMDBReader", "RecordInput"),
        *("TextLineDataset", "FixedLengthRecordDataset", "TFRecordDataset", "CSVDataset"),
        *("SqlDataset", "LMDBDataset", "CacheDataset", "SaveDataset", "LoadDataset"),
        *("SnapshotDataset", "SnapshotDatasetReader", "SnapshotNestedDatasetReader"),
        *("SnapshotChunkDataset", "ListSnapshotChunksDataset", "MatchingFilesDataset"),
        *("DatasetToTFRecord", "Save", "SaveSlices", "Restore", "RestoreSlice"),
        *("MergeV2Checkpoints", "LoadAndRemapMatrix", "GenerateVocabRemapping"),
        *("ImmutableConst", "DumpTensor", "CreateSummaryFileWriter", "CreateSummaryDbWriter"),
        *("CalibrationStatisticsSaver", "ImportEvent", "FileSystemSetConfiguration"),
        *("InitializeTRTResource", "SerializeTRTResource"),
    ]
)
NETWORK_OPS = frozenset(
    [
        *("DataServiceDataset", "RegisterDataset", "DistributedSave", "RpcServer", "RpcClient"),
        *("DebugIdentity", "DebugNanCount", "DebugNumericSummary", "RemoteCall", "Send", "Recv"),
        *("WorkerHeartbeat", "ConfigureDistributedTPU"),
    ]
)
PROCESS_OPS = frozenset({"Abort"})
# What the functions that the loader restores variables with may do, and no other function.
_SAVER_OPS = frozenset({"Save", "Restore", "MergeV2Checkpoints"})
_KINDS: Mapping[str, frozenset[str]] = {
    "files": FILE_OPS,
    "network": NETWORK_OPS,
    "Python": PYTHON_OPS,
    "process": PROCESS_OPS,
}


def unsafe_ops(folder: str | Path) -> dict[str, str]:
    """Ops that reach beyond the model, each with what for: files, network, Python or process.

    The variables and the assets of the SavedModel itself are not counted.

    Raises:
        InputError: there is no `saved_model.pb` in `folder`.
    """
    model = read_saved_model(folder)
    saver = saver_functions(model)
    found = {}
    for op, functions in ops_of(model).items():
        family = _family(op)
        if family in _SAVER_OPS and saver.issuperset(functions):
            continue
        for kind, ops in _KINDS.items():
            if family in ops:
                found[op] = kind
    found.update(dict.fromkeys(foreign_table_files(model), "files"))
    for meta_graph in model.meta_graphs:
        functions_of = (one.node_def for one in meta_graph.graph_def.library.function)
        for nodes in (meta_graph.graph_def.node, *functions_of):
            if _prints_to_file(nodes):
                found["PrintV2"] = "files"
    return found


def _prints_to_file(nodes: Iterable[object]) -> bool:
    return any(
        node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file://")  # type: ignore[attr-defined]
        for node in nodes
    )


def _family(op: str) -> str:
    return re.sub(r"^Experimental|V\d+$", "", op)
