"""The peers: the same encoder, pooling, head and norm. Settings: kind, encoder, head, threads.

`sentence_transformers` is what its users run: `SentenceTransformer.encode`. `onnxruntime` is the
same PyTorch modules exported to ONNX, with all graph optimisations, and Hugging Face's tokenizer.
Runs in an environment of its own, without TensorFlow.
"""

import json
import sys
import tempfile
from importlib.metadata import version

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, models
from side import Encode, serve
from torch import Tensor, nn

MAX_LENGTH = 64


class Whole(nn.Module):
    """Token ids to embeddings."""

    def __init__(self, bert: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.bert, self.head = bert, head

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.bert(input_ids=ids, attention_mask=mask)[0]
        weights = mask[:, :, None].float()
        pooled = (states * weights).sum(1) / weights.sum(1)
        return nn.functional.normalize(self.head(pooled), dim=1)


def in_torch(encoder: str, head: nn.Linear) -> Encode:
    dense = models.Dense(head.in_features, head.out_features, activation_function=nn.Identity())
    dense.linear = head
    transformer = models.Transformer(encoder, max_seq_length=MAX_LENGTH)
    pooling = models.Pooling(head.in_features)
    modules = [transformer, pooling, dense, models.Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu")
    return lambda texts: model.encode(texts, batch_size=len(texts), show_progress_bar=False)


def in_onnx(encoder: str, head: nn.Linear, threads: int) -> Encode:
    import onnxruntime
    from tokenizers import Tokenizer

    whole = Whole(models.Transformer(encoder).auto_model, head).eval()
    ones = torch.ones(2, 5, dtype=torch.long)
    axes = {0: "n", 1: "length"}
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(
            whole,
            (ones, ones),
            file.name,
            input_names=["ids", "mask"],
            output_names=["embedding"],
            dynamic_axes={"ids": axes, "mask": axes, "embedding": {0: "n"}},
            dynamo=False,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(
            file.name, options, providers=["CPUExecutionProvider"]
        )
    tokenizer = Tokenizer.from_file(f"{encoder}/tokenizer.json")
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.enable_padding()

    def encode(texts: list[str]) -> np.ndarray:
        tokens = tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in tokens], np.int64)
        mask = np.array([one.attention_mask for one in tokens], np.int64)
        embedding: np.ndarray = session.run(None, {"ids": ids, "mask": mask})[0]
        return embedding

    return encode


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    torch.set_grad_enabled(False)
    weights = np.load(settings["head"])
    head = nn.Linear(*weights["kernel"].shape)
    head.weight.copy_(torch.from_numpy(weights["kernel"].T))
    head.bias.copy_(torch.from_numpy(weights["bias"]))
    if settings["kind"] == "onnxruntime":
        encode = in_onnx(settings["encoder"], head, settings["threads"])
    else:
        encode = in_torch(settings["encoder"], head)
    packages = ("torch", "sentence-transformers", "onnxruntime")
    serve({package: version(package) for package in packages}, encode)


if __name__ == "__main__":
    main()
