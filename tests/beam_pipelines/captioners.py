"""A captioner with known answers, and a tiny real one; as a program, a job to be killed."""

import io
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler
from PIL import Image


class ColourCaptioner(ModelHandler[bytes, str, Any]):
    """Says which of red, green, blue a picture has most of; black for none.

    Args:
        log: a file that gets a line for each image seen and `loaded` for each loading.
        kill_after: images after which the process kills itself, as the power would go.
        name: of the model.
    """

    def __init__(self, log: str, kill_after: int | None = None, name: str = "colours") -> None:
        super().__init__(min_batch_size=2, max_batch_size=2)
        self._log = log
        self._kill_after = kill_after
        self._name = name
        self._seen = 0

    def captioner(self) -> dict[str, Any]:
        return {"preset": self._name}

    def load_model(self) -> Any:
        self._note("loaded")
        return np.array(["red", "green", "blue"])  # RunInference takes a weak reference

    def run_inference(
        self, batch: Sequence[bytes], model: Any, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[str]:
        if self._kill_after is not None and self._seen >= self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self._seen += len(batch)
        captions = []
        for image in batch:
            sums = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), int).sum(axis=(0, 1))
            captions.append(f"a {model[int(sums.argmax())]} picture" if sums.any() else "")
            self._note(captions[-1])
        return captions

    def _note(self, line: str) -> None:
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def save_tiny_captioner(folder: Path) -> None:
    """A PaliGemma of a few thousand random weights as a preset folder."""
    import keras
    import keras_hub
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["caption en a picture of red green blue sofa lamp bed"] * 3),
        model_writer=model,
        vocab_size=20,
        model_type="WORD",
        hard_vocab_limit=False,
        minloglevel=2,
        **{f"{name}_id": number for number, name in enumerate(("pad", "bos", "eos", "unk"))},
        **{f"{name}_piece": f"<{name}>" for name in ("pad", "bos", "eos", "unk")},
    )
    tokenizer = keras_hub.models.PaliGemmaTokenizer(proto=model.getvalue())
    converter = keras_hub.layers.PaliGemmaImageConverter(
        image_size=(16, 16), scale=1 / 127.5, offset=-1.0
    )
    keras.utils.set_random_seed(5)
    backbone = keras_hub.models.PaliGemmaBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        image_size=16,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=16,
        head_dim=4,
        vit_patch_size=8,
        vit_num_heads=2,
        vit_hidden_dim=8,
        vit_intermediate_dim=16,
        vit_num_layers=1,
    )
    # Large weights: what is said depends on what is seen.
    backbone.set_weights([3 * weight for weight in backbone.get_weights()])
    task = keras_hub.models.PaliGemmaCausalLM(
        preprocessor=keras_hub.models.PaliGemmaCausalLMPreprocessor(
            tokenizer, converter, sequence_length=32
        ),
        backbone=backbone,
    )
    task.save_to_preset(str(folder))


if __name__ == "__main__":
    from beam_pipelines.captions import captions
    from tests.beam_pipelines import captioners as module

    tables, output, log, kill_after = sys.argv[1:]
    handler = module.ColourCaptioner(log, int(kill_after))
    captions(tables, output, handler, save_every=4)
