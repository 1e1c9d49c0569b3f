"""Our weights into the PyTorch twin, so that both start from the same point."""

from typing import Any

import numpy as np
import torch
from torch import nn


def load_weights(query: nn.Module, product: nn.Module, loss: nn.Module, path: str) -> int:
    """Copies the weights of a file of `Ours.save_weights`.

    Returns:
        How many arrays of the file were taken.
    """
    stored = dict(np.load(path))
    taken: set[str] = set()

    def take(suffix: str) -> torch.Tensor:
        (name,) = [name for name in stored if name.endswith(suffix)]
        taken.add(name)
        return torch.from_numpy(stored[name])

    def dense(layer: Any, name: str) -> None:
        layer.weight.copy_(take(f"{name}/kernel").T)
        layer.bias.copy_(take(f"{name}/bias"))

    def norm(layer: Any, name: str) -> None:
        layer.weight.copy_(take(f"{name}/gamma"))
        layer.bias.copy_(take(f"{name}/beta"))

    def block(layer: Any, name: str) -> None:
        width, attention = layer.linear1.in_features, f"{name}/self_attention_layer"
        sides = ("query", "key", "value")
        kernels = [take(f"{attention}/{side}/kernel").reshape(width, width).T for side in sides]
        layer.self_attn.in_proj_weight.copy_(torch.cat(kernels))
        biases = [take(f"{attention}/{side}/bias").flatten() for side in sides]
        layer.self_attn.in_proj_bias.copy_(torch.cat(biases))
        output = take(f"{attention}/attention_output/kernel").reshape(width, width)
        layer.self_attn.out_proj.weight.copy_(output.T)
        layer.self_attn.out_proj.bias.copy_(take(f"{attention}/attention_output/bias"))
        norm(layer.norm1, f"{name}/self_attention_layer_norm")
        norm(layer.norm2, f"{name}/feedforward_layer_norm")
        dense(layer.linear1, f"{name}/feedforward_intermediate_dense")
        dense(layer.linear2, f"{name}/feedforward_output_dense")

    with torch.no_grad():
        loss.log_scale.copy_(take("log_scale"))
        query.tokens.weight.copy_(take("token_embedding/embeddings"))
        query.positions.weight.copy_(take("position_embedding/embeddings"))
        norm(query.norm, "embeddings_layer_norm")
        for i, layer in enumerate(query.encoder.layers):
            block(layer, f"transformer_layer_{i}")
        dense(query.head, "query/head")
        product.bag.table.copy_(take("hash_embedding/table"))
        product.bag.importance.weight.copy_(take("hash_embedding/importance"))
        norm(product.bag.norm, "hash_embedding/norm")
        product.text_kernel.copy_(take("project_text/kernel"))
        product.text_bias.copy_(take("project_text/bias"))
        dense(product.image, "project_image")
        product.cls.copy_(take("transformer/cls"))
        for i, layer in enumerate(product.encoder.layers):
            block(layer, f"transformer/block_{i}")
        norm(product.norm, "transformer/norm")
        dense(product.hidden, "head_hidden")
        dense(product.head, "product/head")
    return len(taken)
