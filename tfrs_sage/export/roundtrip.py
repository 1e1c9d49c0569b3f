"""Asks an exported SavedModel in a fresh process and compares with what memory answered.

Run as a program this file is that fresh process: it imports TensorFlow, TensorFlow Text and
what it is told to, nothing of this package, just as a stranger's server would.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Values = Mapping[str, np.ndarray]
Requests = Sequence[tuple[str, Values]]  # signature, inputs
_TIMEOUT_S = 1800


def ask_fresh_process(
    questions: Mapping[str, Requests],
    *,
    imports: Sequence[str] = (),
    python: str = sys.executable,
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Answers of SavedModels that a new Python process loads.

    Args:
        questions: by version folder, the requests to it.
        imports: modules to import before loading, e.g. `("scann",)`; `tensorflow_text` is
            always imported.
        python: the interpreter; one of another environment needs TensorFlow and TF Text alone.

    Returns:
        By folder, the outputs for each request, in its order.

    Raises:
        RuntimeError: the process failed; its last lines of stderr are in the text.
    """
    with tempfile.TemporaryDirectory() as scratch:
        question, answer = Path(scratch) / "question", Path(scratch) / "answer"
        plain = {str(key): [(s, dict(i)) for s, i in value] for key, value in questions.items()}
        question.write_bytes(pickle.dumps((plain, list(imports))))
        # -P: the script's own folder, which is this package, is not put on the path.
        done = subprocess.run(
            [python, "-P", __file__, str(question), str(answer)],
            env=strangers_environment(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"{', '.join(plain)} must load and answer in a fresh process. Found: exit status "
                f"{done.returncode}\n{done.stderr[-2000:]}"
            )
        answers: dict[str, list[dict[str, np.ndarray]]] = pickle.loads(answer.read_bytes())
    return answers


def strangers_environment() -> dict[str, str]:
    """This process's variables without the one that this package sets: Keras 2 as `tf.keras`."""
    return {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}


def compare(
    folder: str | Path,
    requests: Requests,
    found: Sequence[Values],
    expected: Sequence[Values],
    tolerance: float = 1e-5,
) -> None:
    """Refuses answers that differ from the `expected` ones.

    Numbers may differ by `tolerance`; ids must be the same, except among results whose
    scores are equal within it.

    Raises:
        RuntimeError: the signature, the output and the first difference are named.
    """
    for (signature, _), answer, outputs in zip(requests, found, expected, strict=True):
        for output, values in outputs.items():
            given = answer.get(output)
            where = f"{folder}: signature {signature!r}, output {output!r}"
            if given is None or given.shape != values.shape:
                shape = None if given is None else given.shape
                raise RuntimeError(
                    f"{where} must have shape {values.shape} after reloading. Found: {shape}."
                )
            wrong = _differing(given, values, answer, outputs, tolerance)
            if wrong.any():
                at = tuple(int(i) for i in np.argwhere(wrong)[0])
                raise RuntimeError(
                    f"{where} must be the same after reloading. Found: {given.item(*at)!r} in "
                    f"place of {values.item(*at)!r} at {at}."
                )


def _differing(
    found: np.ndarray,
    values: np.ndarray,
    answered: Values,
    expected: Values,
    tolerance: float,
) -> np.ndarray:
    """Where two outputs differ, as bool of their shape."""
    if values.dtype != object:
        return ~np.isclose(found, values, rtol=tolerance, atol=tolerance)
    differing: np.ndarray = found != values
    scores = expected.get("score")
    if scores is None or scores.shape != values.shape or scores.shape[-1] < 2:
        return differing
    # A tie: the neighbour on one side has the same score, so that the two may change places.
    close = np.abs(np.diff(answered["score"], axis=-1)) <= tolerance
    edge = np.zeros_like(close[..., :1])
    tied = np.concatenate([close, edge], axis=-1) | np.concatenate([edge, close], axis=-1)
    return differing & ~tied


def _answer(question: str, answer: str) -> None:
    """The fresh process: loads the models, calls their signatures, writes what they return."""
    import importlib

    import tensorflow as tf

    questions, imports = pickle.loads(Path(question).read_bytes())
    for name in ["tensorflow_text", *imports]:
        importlib.import_module(name)
    answers: dict[str, list[dict[str, np.ndarray]]] = {}
    for folder, requests in questions.items():
        model = tf.saved_model.load(folder)
        answers[folder] = []
        for signature, inputs in requests:
            outputs = model.signatures[signature](
                **{key: tf.constant(array) for key, array in inputs.items()}
            )
            answers[folder].append({output: value.numpy() for output, value in outputs.items()})
    Path(answer).write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    _answer(*sys.argv[1:])
