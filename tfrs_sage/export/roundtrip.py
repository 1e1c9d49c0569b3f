"""Asks an exported SavedModel in a fresh process and compares with what memory answered.

Run as a program this file is that fresh process: it imports TensorFlow, TensorFlow Text and
what it is told to, nothing of this package, just as a stranger's server would.
"""

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Values = Mapping[str, np.ndarray]
_TIMEOUT_S = 600


def ask_fresh_process(
    folder: str | Path, requests: Mapping[str, Values], *, imports: Sequence[str] = ()
) -> dict[str, dict[str, np.ndarray]]:
    """Answers of a SavedModel loaded by a new Python process.

    Args:
        folder: the version's folder.
        requests: input arrays by signature name.
        imports: modules to import before loading, e.g. `("scann",)`; `tensorflow_text` is
            always imported.

    Raises:
        RuntimeError: the process failed; its last lines of stderr are in the text.
    """
    with tempfile.TemporaryDirectory() as scratch:
        question, answer = Path(scratch) / "question", Path(scratch) / "answer"
        question.write_bytes(pickle.dumps((str(folder), list(imports), dict(requests))))
        # -P: the script's own folder, which is this package, is not put on the path.
        done = subprocess.run(
            [sys.executable, "-P", __file__, str(question), str(answer)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"{folder} must load and answer in a fresh process. Found: exit status "
                f"{done.returncode}\n{done.stderr[-2000:]}"
            )
        answers: dict[str, dict[str, np.ndarray]] = pickle.loads(answer.read_bytes())
    return answers


def check_roundtrip(
    folder: str | Path,
    requests: Mapping[str, Values],
    expected: Mapping[str, Values],
    *,
    imports: Sequence[str] = (),
    tolerance: float = 1e-5,
) -> None:
    """Refuses an export whose answers differ from `expected`.

    Numbers may differ by `tolerance`; ids must be the same, except among results whose
    scores are equal within it.

    Raises:
        RuntimeError: it does not load, or answers otherwise: the signature, the output and
            the first difference are named.
    """
    answers = ask_fresh_process(folder, requests, imports=imports)
    for signature, outputs in expected.items():
        for output, values in outputs.items():
            found = answers[signature].get(output)
            where = f"{folder}: signature {signature!r}, output {output!r}"
            if found is None or found.shape != values.shape:
                shape = None if found is None else found.shape
                raise RuntimeError(
                    f"{where} must have shape {values.shape} after reloading. Found: {shape}."
                )
            wrong = _differing(found, values, answers[signature], outputs, tolerance)
            if wrong.any():
                at = tuple(int(i) for i in np.argwhere(wrong)[0])
                raise RuntimeError(
                    f"{where} must be the same after reloading. Found: {found[at]!r} in place "
                    f"of {values[at]!r} at {at}."
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
    """The fresh process: loads the model, calls its signatures, writes what they return."""
    import importlib

    import tensorflow as tf

    folder, imports, requests = pickle.loads(Path(question).read_bytes())
    for name in ["tensorflow_text", *imports]:
        importlib.import_module(name)
    model = tf.saved_model.load(folder)
    answers = {
        signature: {
            output: value.numpy()
            for output, value in model.signatures[signature](
                **{key: tf.constant(array) for key, array in inputs.items()}
            ).items()
        }
        for signature, inputs in requests.items()
    }
    Path(answer).write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    _answer(*sys.argv[1:])
