"""The same training step in PyTorch: modules equal in shape, the same loss, AdamW.

Written as one would in PyTorch: `nn.TransformerEncoder` over queries padded to the longest of the
batch, `F.embedding_bag` with weights for the n-grams, sparse gradients and `SparseAdam` for the
tables, fused `AdamW` for all else. Runs in an environment of its own, without TensorFlow.
"""

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from batches import TASK, TEXTS, Batches, checksum
from protocol import answer, peak_memory_bytes, seconds_of, usage
from torch import Tensor, nn
from twin_weights import load_weights

KERAS_EPSILON = 1e-7


def encoder_layer(width: int, heads: int, inner: int, dropout: float, **kwargs: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        width, heads, inner, dropout, activation="gelu", batch_first=True, **kwargs
    )
    layer.dropout.p = 0.0  # between the two layers of the MLP: keras-hub's block has none there
    return layer


class Bag(nn.Module):
    """Hash-embedding bag: one `embedding_bag` with weights for each hash function."""

    def __init__(self, spec: Mapping[str, Any], vocabulary_size: int, hashes: Tensor) -> None:
        super().__init__()
        tower, self.hashes = spec["product"], hashes
        self.table = nn.Parameter(torch.randn(tower["hash_table_size"], tower["text_dim"]) * 0.004)
        self.importance = nn.Embedding(vocabulary_size, tower["num_hashes"], sparse=True)
        self.norm = nn.LayerNorm(tower["text_dim"], eps=1e-5)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        offsets = F.pad(lengths.flatten().cumsum(0), (1, 0))[:-1]
        weights = self.importance(tokens)  # [T, H]
        bags = [
            F.embedding_bag(
                (a * tokens + b) % p % n,
                self.table,
                offsets,
                mode="sum",
                sparse=True,
                per_sample_weights=weights[:, i].contiguous(),
            )
            for i, (a, b, p, n) in enumerate(self.hashes.tolist())
        ]
        return self.norm(sum(bags)).view(*lengths.shape, -1)


class Product(nn.Module):
    """ItemSage's tower: projections, a transformer read at [CLS], an MLP head."""

    def __init__(self, spec: Mapping[str, Any], bag: Bag) -> None:
        super().__init__()
        tower, self.bag = spec["product"], bag
        width = tower["hidden_dim"]
        self.text_kernel = nn.Parameter(torch.randn(len(TEXTS), tower["text_dim"], width) * 0.05)
        self.text_bias = nn.Parameter(torch.zeros(len(TEXTS), width))
        self.image = nn.Linear(256, width)
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        layer = encoder_layer(
            width,
            tower["num_heads"],
            tower["intermediate_dim"],
            tower["dropout"],
            norm_first=True,
            layer_norm_eps=1e-5,
        )
        self.encoder = nn.TransformerEncoder(layer, tower["num_layers"], enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width, eps=1e-3)
        self.hidden = nn.Linear(width, tower["head_dim"])
        self.head = nn.Linear(tower["head_dim"], spec["embedding_dim"])

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        lengths, slots = features["text_lengths"], features["images"].shape[1]
        bags = self.bag(features["text_tokens"], lengths)
        texts = torch.einsum("nfd,fdw->nfw", bags, self.text_kernel) + self.text_bias
        cls = self.cls.expand(len(lengths), 1, -1)
        sequence = torch.cat([cls, self.image(features["images"]), texts], dim=1)
        no_image = torch.arange(slots) >= features["num_images"][:, None]
        absent = F.pad(torch.cat([no_image, lengths == 0], dim=1), (1, 0), value=False)
        fused = self.norm(self.encoder(sequence, src_key_padding_mask=absent)[:, 0])
        return F.normalize(self.head(F.gelu(self.hidden(fused))), dim=1)


class Query(nn.Module):
    """DistilBERT's shape, pooled, projected, normalised."""

    def __init__(self, spec: Mapping[str, Any], dropout: float) -> None:
        super().__init__()
        query = spec["query"]
        width = query["hidden_dim"]
        self.pooling = query["pooling"]
        self.tokens = nn.Embedding(query["vocabulary_size"], width, sparse=True)
        self.positions = nn.Embedding(query["positions"], width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(dropout)
        layer = encoder_layer(
            width, query["num_heads"], query["intermediate_dim"], dropout, layer_norm_eps=1e-12
        )
        self.encoder = nn.TransformerEncoder(layer, query["num_layers"], enable_nested_tensor=False)
        self.head = nn.Linear(width, spec["embedding_dim"])

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        ids, mask = features["token_ids"], features["padding_mask"]
        embedded = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        states = self.encoder(self.dropout(self.norm(embedded)), src_key_padding_mask=~mask)
        if self.pooling == "cls":
            return F.normalize(self.head(states[:, 0]), dim=1)
        weights = mask.float()[:, :, None]
        pooled = (states * weights).sum(1) / weights.sum(1)
        return F.normalize(self.head(pooled), dim=1)


class Counter:
    """Hashed counters, the count-min sketch of the loss."""

    def __init__(self, loss: Mapping[str, Any]) -> None:
        width, depth = loss["sketch_width"], loss["sketch_depth"]
        draw = np.random.default_rng(19980115).integers(0, 2**63, size=depth, dtype=np.uint64)
        self.multipliers = torch.from_numpy((draw * 2 + 1).view(np.int64))
        self.bits = width.bit_length() - 1
        self.counts = torch.zeros(depth, width, dtype=torch.int32)
        self.total = 0

    def cells(self, ids: Tensor) -> Tensor:
        return ((ids * self.multipliers[:, None]) >> (64 - self.bits)) & ((1 << self.bits) - 1)

    def update(self, ids: Tensor) -> None:
        cells = self.cells(ids)
        self.counts.scatter_add_(1, cells, torch.ones_like(cells, dtype=torch.int32))
        self.total += len(ids)

    def __call__(self, ids: Tensor) -> Tensor:
        return self.counts.gather(1, self.cells(ids)).amin(0).float()

    def log_q(self, ids: Tensor) -> Tensor:
        return self(ids).log() - math.log(self.total) + math.log(len(ids))


class Loss(nn.Module):
    """Sampled softmax over in-batch and over random negatives, added; logQ, masks."""

    def __init__(self, loss: Mapping[str, Any]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(loss["initial_temperature"])))
        self.limit = math.log(loss["max_scale"])
        self.queries, self.pairs = Counter(loss), Counter(loss)
        self.positives, self.random = Counter(loss), Counter(loss)

    def forward(
        self,
        query: Tensor,
        candidate: Tensor,
        random: Tensor,
        query_ids: Tensor,
        candidate_ids: Tensor,
        random_ids: Tensor,
    ) -> Tensor:
        pair_ids = candidate_ids + 17 * query_ids
        for counter, ids in (
            (self.queries, query_ids),
            (self.pairs, pair_ids),
            (self.positives, candidate_ids),
            (self.random, random_ids),
        ):
            counter.update(ids)
        log_p = self.pairs(pair_ids).log() - self.queries(query_ids).log()
        scale = self.log_scale.exp()
        positive = (query * candidate).sum(1) * scale - log_p
        same = candidate_ids[:, None] == candidate_ids
        same_or_query = same | (query_ids[:, None] == query_ids)
        scores = query @ candidate.T
        in_batch = scores * scale - self.positives.log_q(candidate_ids)
        in_batch = in_batch.masked_fill(same_or_query, torch.finfo(torch.float32).min)
        other = query @ random.T * scale - self.random.log_q(random_ids)
        own = candidate_ids[:, None] == random_ids
        other = other.masked_fill(own, torch.finfo(torch.float32).min)
        rivals = scores.detach().masked_fill(same_or_query, -math.inf).amax(1)
        self.accuracy = (scores.detach().diagonal() > rivals).float().mean()
        target = torch.zeros(len(query), dtype=torch.long)
        return sum(
            F.cross_entropy(torch.cat([positive[:, None], negatives], dim=1), target)
            for negatives in (in_batch, other)
        )


class Twin:
    """Answers the benchmark's questions. Settings: `train_step.Settings` and our side's spec."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(settings["threads"])
        self.spec = spec = settings["spec"]
        self.training = spec["training"]
        self.autocast = settings["precision"] == "mixed_bfloat16"
        bag = Bag(spec, 1 + sum(spec["ngrams"]), torch.tensor(spec["hashes"]))
        self.query, self.product = Query(spec, settings["dropout"]), Product(spec, bag)
        self.loss = Loss(spec["loss"])
        self.modules = nn.ModuleList([self.query, self.product, self.loss])
        query = spec["query"]
        draw = Batches(tuple(spec["ngrams"]), query["vocabulary_size"], query["max_length"])
        batches = [
            draw.draw(seed, settings["batch_size"], settings["random_negatives"])
            for seed in range(settings["num_batches"])
        ]
        self.checksum = sum(checksum(batch) for batch in batches)
        self.batches = [_tensors(batch) for batch in batches]
        self.stream = self._endless()
        self.step_count = 0
        self._make_optimizers()

    def _make_optimizers(self) -> None:
        self.tables = [
            self.query.tokens.weight,
            self.product.bag.table,
            self.product.bag.importance.weight,
        ]
        tables = {id(table) for table in self.tables}
        query = {id(parameter) for parameter in self.query.parameters()}
        pretrained = self.spec["query"]["pretrained"]
        slow = self.training["pretrained_learning_rate"] / self.training["learning_rate"]
        self.dense, self.groups = [], []
        for parameter in self.modules.parameters():
            of_preset = pretrained and id(parameter) in query
            decays = parameter.ndim >= 2 and parameter is not self.product.text_bias
            decays &= parameter is not self.query.positions.weight and not of_preset
            decay = self.training["weight_decay"] if decays else 0.0
            group = {"params": [parameter], "factor": slow if of_preset else 1.0}
            if id(parameter) in tables:
                self.groups.append(group)
            else:
                self.dense.append({**group, "weight_decay": decay})
        self.dense = _joined(self.dense)
        self.optimizers = [
            torch.optim.AdamW(self.dense, lr=1e-3, eps=KERAS_EPSILON, fused=True),
            torch.optim.SparseAdam(_joined(self.groups), lr=1e-3, eps=KERAS_EPSILON),
        ]

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self.batches

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        pairs, negatives = batch["pairs"], batch["random"]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            query = self.query(pairs["query"])
            products = self.product(batch["products"])
        candidate, random = products.float().split([len(query), len(negatives["id"])])
        ids = pairs["query_id"], pairs["candidate_id"], negatives["id"]
        return self.loss(query.float(), candidate, random, *ids)

    def optimize(self) -> None:
        """Clips by the norm of all gradients, sparse ones too; one step of both optimisers."""
        gradients = [p.grad for p in self.modules.parameters() if p.grad is not None]
        for table in self.tables:
            table.grad = table.grad.coalesce()
        gradients = [p.grad for p in self.modules.parameters() if p.grad is not None]
        values = [g._values() if g.is_sparse else g for g in gradients]
        norm = torch.nn.utils.get_total_norm(values)
        factor = torch.clamp(self.training["clip_norm"] / norm, max=1.0)
        torch._foreach_mul_(values, factor)
        rate = self._rate()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            optimizer.step()
        with torch.no_grad():
            self.loss.log_scale.clamp_(max=self.loss.limit)
        self.step_count += 1

    def _rate(self) -> float:
        """Linear warm-up, then half a cosine."""
        total = self.spec["num_steps"]
        warmup = math.ceil(total * self.training["warmup_share"])
        share = min(max((self.step_count - warmup) / (total - warmup), 0.0), 1.0)
        cosine = 0.5 * (1.0 + math.cos(math.pi * share))
        return self.training["learning_rate"] * min((self.step_count + 1) / warmup, cosine)

    def step(self) -> float:
        self.modules.zero_grad(set_to_none=True)
        loss = self.forward(next(self.stream))
        loss.backward()
        self.optimize()
        return loss.item()

    # === Questions ===

    def describe(self) -> dict[str, Any]:
        count = sum(parameter.numel() for parameter in self.modules.parameters())
        return {"torch": torch.__version__, "num_parameters": count, "checksum": self.checksum}

    def load_weights(self, path: str) -> int:
        return load_weights(self.query, self.product, self.loss, path)

    def steps(self, count: int) -> list[float]:
        return seconds_of(self.step, count)

    def losses(self, count: int) -> list[float]:
        return [self.step() for _ in range(count)]

    def parts(self, repeats: int) -> dict[str, float]:
        """Median seconds of each part of a step by itself, forward and backward."""
        batch = self.batches[0]
        pairs, negatives, products = batch["pairs"], batch["random"], batch["products"]
        ids = pairs["query_id"], pairs["candidate_id"], negatives["id"]
        size = len(ids[0]), len(ids[0]), len(ids[2])
        embedded = [
            F.normalize(torch.randn(n, self.spec["embedding_dim"]), dim=1).requires_grad_()
            for n in size
        ]
        texts = products["text_tokens"], products["text_lengths"]
        calls: dict[str, Callable[[], Tensor]] = {
            "embedding": lambda: self.product.bag(*texts),
            "entity": lambda: self.product(products),
            "query": lambda: self.query(pairs["query"]),
            "loss": lambda: self.loss(*embedded, *ids),
        }
        seconds = {}
        for name, call in calls.items():
            self._backward(call)
            times = seconds_of(lambda call=call: self._backward(call), repeats)
            seconds[name] = statistics.median(times)
        times = []
        for _ in range(repeats):
            self.modules.zero_grad(set_to_none=True)
            self.forward(batch).backward()
            times += seconds_of(self.optimize, 1)
        seconds["optimizer"] = statistics.median(times)
        seconds["fusion"] = seconds.pop("entity") - seconds["embedding"]
        return seconds

    def _backward(self, call: Callable[[], Tensor]) -> None:
        self.modules.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            output = call()
        if output.ndim:
            output = (output * torch.arange(output.shape[-1])).sum()
        output.backward()


def _tensors(batch: dict[str, Any]) -> dict[str, Any]:
    """Tensors of a batch; candidates and random negatives joined, as the tower takes them."""
    pairs, negatives = batch["pairs"][TASK], batch["random"]["product"]
    candidate, random = pairs.pop("candidate"), negatives.pop("features")
    products = {key: np.concatenate([candidate[key], random[key]]) for key in candidate}
    products["text_tokens"] = products["text_tokens"].astype(np.int64)
    joined = {"pairs": pairs, "random": negatives, "products": products}
    return _map(torch.from_numpy, joined)


def _map(function: Callable[[Any], Any], values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _map(function, value) for key, value in values.items()}
    return function(values)


def _joined(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameter groups with the same settings as one: the fused update is one call a group."""
    found: dict[Any, dict[str, Any]] = {}
    for group in groups:
        key = group["factor"], group.get("weight_decay")
        found.setdefault(key, {**group, "params": []})["params"] += group["params"]
    return list(found.values())


def main(settings: dict[str, Any]) -> None:
    side = Twin(settings)
    functions = {
        "load_weights": side.load_weights,
        "steps": side.steps,
        "losses": side.losses,
        "parts": side.parts,
        "peak_memory_bytes": peak_memory_bytes,
        "usage": usage,
    }
    answer(side.describe(), functions)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
