"""TF Serving's messages as far as a client needs them, without TensorFlow.

The wire knows numbers and types of fields alone. So the messages are spelled here under a package
name of their own, in a descriptor pool of their own: they get along with tensorflow-serving-api in
one process, and with protobuf 4.22 to 7 (generated code is tied to versions near its maker's). An
enum is an int32 on the wire, a map is repeated entries.

References:
    tensorflow/serving, `apis/{model,predict,get_model_metadata,get_model_status}.proto`;
    tensorflow/tensorflow, `core/framework/{tensor,tensor_shape}.proto` and
    `core/protobuf/meta_graph.proto`.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
USER_SERVICE = "tfrs_sage.users.v1.UserService"  # its messages are JSON: `serving.users`

_PACKAGE = "tfrs_sage.serving.wire"
# Message -> field -> its number and type.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Dim": {"size": (1, "int64")},
    "TensorShape": {"dim": (2, "repeated Dim"), "unknown_rank": (3, "bool")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
        "double_val": (6, "repeated double"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "scomplex_val": (9, "repeated float"),
        "int64_val": (10, "repeated int64"),
        "bool_val": (11, "repeated bool"),
        "dcomplex_val": (12, "repeated double"),
        "half_val": (13, "repeated int32"),
        "uint32_val": (16, "repeated uint32"),
        "uint64_val": (17, "repeated uint64"),
    },
    "NamedTensor": {"key": (1, "string"), "value": (2, "Tensor")},
    "Version": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Version"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "repeated NamedTensor"),
        "output_filter": (3, "repeated string"),
    },
    "PredictResponse": {"outputs": (1, "repeated NamedTensor"), "model_spec": (2, "ModelSpec")},
    "MetadataRequest": {"model_spec": (1, "ModelSpec"), "metadata_field": (2, "repeated string")},
    "PackedMessage": {"type_url": (1, "string"), "value": (2, "bytes")},
    "NamedPackedMessage": {"key": (1, "string"), "value": (2, "PackedMessage")},
    "MetadataResponse": {
        "model_spec": (1, "ModelSpec"),
        "metadata": (2, "repeated NamedPackedMessage"),
    },
    "TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "TensorShape"),
    },
    "NamedTensorInfo": {"key": (1, "string"), "value": (2, "TensorInfo")},
    "Signature": {
        "inputs": (1, "repeated NamedTensorInfo"),
        "outputs": (2, "repeated NamedTensorInfo"),
        "method_name": (3, "string"),
    },
    "NamedSignature": {"key": (1, "string"), "value": (2, "Signature")},
    "Signatures": {"signature_def": (1, "repeated NamedSignature")},
    "StatusRequest": {"model_spec": (1, "ModelSpec")},
    "VersionStatus": {"version": (1, "int64"), "state": (2, "int32")},
    "StatusResponse": {"model_version_status": (1, "repeated VersionStatus")},
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, words) in fields.items():
            kind = words.removeprefix("repeated ")
            field = described.field.add(name=name, number=number)
            repeated = kind != words
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_made = _classes()
Tensor: Any = _made["Tensor"]
TensorShape: Any = _made["TensorShape"]
ModelSpec: Any = _made["ModelSpec"]
PredictRequest: Any = _made["PredictRequest"]
PredictResponse: Any = _made["PredictResponse"]
MetadataRequest: Any = _made["MetadataRequest"]
MetadataResponse: Any = _made["MetadataResponse"]
Signatures: Any = _made["Signatures"]
StatusRequest: Any = _made["StatusRequest"]
StatusResponse: Any = _made["StatusResponse"]
