"""Names and signatures that users rely on. A change here is a change of the contract."""

import importlib
import inspect

import pytest

# Public function -> its parameters with their defaults.
SIGNATURES = {
    "tfrs_sage.users.ward": "(vectors, threshold)",
    "tfrs_sage.users.medoids": "(vectors, labels)",
    "tfrs_sage.users.importance": "(labels, age_days, decay=0.01)",
    "tfrs_sage.users.sample_medoids": "(importances, num_samples=3, seed=None)",
    "tfrs_sage.evaluation.recall_at_k": "(ranked_ids, positive_ids, k)",
    "tfrs_sage.text.ngram_tokens": "(strings)",
    "tfrs_sage.index.build_index": (
        "(vectors, ids, kind='brute_force', recall_target=0.95, *, seed=0, attributes=None, "
        "queries=None)"
    ),
    "tfrs_sage.index.load_index": "(folder)",
    "tfrs_sage.losses.retrieval_losses": (
        "(mode, query, positive, query_ids, positive_ids, log_scale, in_batch, random=None, "
        "log_p=None, weights=None, own=None)"
    ),
}


def signature(name: str) -> str:
    """Parameters of a public function as written, without annotations."""
    module, function = name.rsplit(".", 1)
    given = inspect.signature(getattr(importlib.import_module(module), function))
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in given.parameters.values()]
    return str(given.replace(parameters=bare, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    assert signature(name) == SIGNATURES[name]


@pytest.mark.parametrize(
    "room", ["users", "evaluation", "text", "index", "losses", "layers", "towers"]
)
def test_all_names_are_there_and_documented(room):
    module = importlib.import_module(f"tfrs_sage.{room}")
    assert module.__all__
    for name in module.__all__:
        assert inspect.getdoc(getattr(module, name)), name
