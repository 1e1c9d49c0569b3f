"""Ids of one id space, what is dropped, and that a SavedModel keeps them."""

import subprocess
import sys
from pathlib import Path

import pytest

import tfrs_sage  # noqa: F401  isort: skip
import tensorflow as tf

from tests.text import reference
from tests.text.mixed_scripts import corpus
from tfrs_sage.errors import InputError
from tfrs_sage.text import NgramVocabulary

UNIGRAMS = ["sofa", "red", "床"]
BIGRAMS = ["red#sofa"]
TRIGRAMS = ["#re", "red", "ofa", "床#b"]

LOAD = """
import sys, tensorflow as tf, tensorflow_text
model = tf.saved_model.load(sys.argv[1])
print(model.ids(tf.constant(["Red sofa!", "", "blue"])).to_list())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "vocabulary", UNIGRAMS, BIGRAMS, TRIGRAMS)


def write(folder: Path, unigrams: list[str], bigrams: list[str], trigrams: list[str]) -> Path:
    folder.mkdir(parents=True)
    kinds = {"unigram": unigrams, "bigram": bigrams, "char_trigram": trigrams}
    for kind, tokens in kinds.items():
        (folder / f"{kind}.txt").write_bytes("".join(f"{token}\n" for token in tokens).encode())
    return folder


def test_ids_by_hand(folder: Path) -> None:
    # Unigrams 1..3, the pair 4, trigrams 5..8; "blue" and its trigrams are unknown: dropped.
    vocabulary = NgramVocabulary(folder)
    ids = vocabulary(tf.constant(["Red sofa", "blue", "", "床 bed"]))
    assert ids.dtype == tf.int32
    assert ids.to_list() == [[2, 1, 4, 5, 6, 7], [], [], [3, 8]]
    assert vocabulary.size == 9


def test_ids_against_reference(tmp_path: Path) -> None:
    texts = corpus(400, seed=5)
    kinds: dict[str, dict[str, None]] = {"unigram": {}, "bigram": {}, "char_trigram": {}}
    for text in texts[:200]:  # the other half brings unknown tokens
        for kind, tokens in reference.ngrams(text).items():
            kinds[kind].update(dict.fromkeys(tokens))
    ordered = [list(tokens) for tokens in kinds.values()]
    vocabulary = NgramVocabulary(write(tmp_path / "v", *ordered))
    numbers: list[dict[str, int]] = []
    for tokens in ordered:
        first = 1 + sum(map(len, numbers))
        numbers.append({token: first + place for place, token in enumerate(tokens)})
    expected = [
        [
            known[token]
            for known, tokens in zip(numbers, reference.ngrams(text).values(), strict=True)
            for token in tokens
            if token in known
        ]
        for text in texts
    ]
    assert vocabulary(texts).to_list() == expected
    data = tf.data.Dataset.from_tensor_slices(texts).batch(64).map(vocabulary)
    assert [row for batch in data for row in batch.to_list()] == expected


def test_saved_model_in_a_fresh_process(folder: Path, tmp_path: Path) -> None:
    module = tf.Module()
    module.vocabulary = NgramVocabulary(folder)
    module.ids = tf.function(
        lambda strings: module.vocabulary(strings), [tf.TensorSpec([None], tf.string)]
    )
    expected = module.ids(tf.constant(["Red sofa!", "", "blue"])).to_list()
    assert expected == [[2, 1, 4, 5, 6, 7], [], []]
    tf.saved_model.save(module, str(tmp_path / "model"))
    for file in folder.iterdir():  # the model must not lean on the folder
        file.unlink()
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(expected)


def test_an_empty_kind_is_no_table(tmp_path: Path) -> None:
    vocabulary = NgramVocabulary(write(tmp_path / "v", ["red"], [], []))
    assert vocabulary(["red sofa"]).to_list() == [[1]]
    assert vocabulary.size == 2


def test_absent_file_is_named(folder: Path) -> None:
    (folder / "bigram.txt").unlink()
    with pytest.raises(InputError, match=r"Found: no .*bigram\.txt"):
        NgramVocabulary(folder)


def test_repeated_and_bad_tokens_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'red' in line 2"):
        NgramVocabulary(write(tmp_path / "a", ["red", "red"], [], []))
    with pytest.raises(InputError, match=r"must have 3 characters. Found: 'ab'"):
        NgramVocabulary(write(tmp_path / "b", ["red"], [], ["ab"]))
