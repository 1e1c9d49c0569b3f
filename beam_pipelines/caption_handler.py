"""Captions images with a keras-hub image-to-text preset within Beam's RunInference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from tfrs_sage.artefacts import model_fingerprint
from tfrs_sage.errors import InputError
from tfrs_sage.vision.decode import decode_rgb


@dataclass(frozen=True)
class Asking:
    """How a kind of model is asked for a caption.

    Attributes:
        texts: name of its input of texts.
        prompt: what to ask where nobody says.
    """

    texts: str
    prompt: str


# By the class of the keras-hub task. Others of this interface take any prompt (`prompts`).
ASKING: Mapping[str, Asking] = {
    "PaliGemmaCausalLM": Asking("prompts", "caption en\n"),
    "Gemma3CausalLM": Asking(
        "prompts",
        "<start_of_turn>user\n<start_of_image>\nDescribe this picture in one sentence."
        "<end_of_turn>\n<start_of_turn>model\n",
    ),
    "BLIP2CausalLM": Asking("text", "a photo of"),
}


class CaptionHandler(ModelHandler[bytes, str, Any]):
    """Encoded images -> one caption each, by greedy decoding.

    RunInference loads the model once a process and batches the images. A batch is filled up to
    `batch_size` with copies of its last image, so that one compiled graph serves all batches.

    Args:
        preset: a keras-hub preset of a causal language model that sees images (PaliGemma, Gemma 3,
            BLIP-2, ...): a built-in name, a `kaggle://` or `hf://` handle, or a local folder that
            `save_to_preset` wrote and all workers reach.
        prompt: what the model is asked; None for the default of its kind.
        max_tokens: of the prompt and the caption together, the image's tokens not counted.
        batch_size: images a call.
    """

    def __init__(
        self,
        preset: str,
        prompt: str | None = None,
        max_tokens: int = 64,
        batch_size: int = 16,
    ) -> None:
        super().__init__(min_batch_size=batch_size, max_batch_size=batch_size)
        self._preset = preset
        self._prompt = prompt
        self._max_tokens = max_tokens
        self._batch_size = batch_size

    def captioner(self) -> dict[str, Any]:
        """What decides the captions, for manifests: equal only where they are equal."""
        is_folder = Path(self._preset).is_dir()
        return {
            "preset": Path(self._preset).name if is_folder else self._preset,
            "fingerprint": model_fingerprint(self._preset) if is_folder else None,
            "prompt": self._prompt,
            "max_tokens": self._max_tokens,
        }

    def load_model(self) -> Any:
        """The keras-hub task, with its preprocessor.

        Raises:
            InputError: the model takes no images, or is of a kind that needs a prompt.
        """
        import keras_hub

        model = keras_hub.models.CausalLM.from_preset(self._preset)
        if getattr(model.preprocessor, "image_converter", None) is None:
            raise InputError(
                f"--preset must be an image-to-text model. Received: {self._preset!r}, a "
                f"{type(model).__name__} without images. Take e.g. a PaliGemma preset."
            )
        if self._prompt is None and type(model).__name__ not in ASKING:
            raise InputError(
                f"A {type(model).__name__} needs --prompt. Received: none; there are defaults for "
                f"{', '.join(ASKING)}."
            )
        model.compile(sampler="greedy")
        return model

    def run_inference(
        self,
        batch: Sequence[bytes],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[str]:
        """One caption an image, in their order; white space as single spaces."""
        asking = ASKING.get(type(model).__name__, Asking("prompts", ""))
        preprocessor = model.preprocessor
        missing = self._batch_size - len(batch)
        images = [pixels(image, preprocessor.image_converter) for image in batch]
        images += [images[-1]] * missing
        prompt = asking.prompt if self._prompt is None else self._prompt
        # Gemma 3 counts the tokens of its images as tokens of the text.
        length = self._max_tokens + getattr(preprocessor, "num_vision_tokens_per_image", 0)
        texts: list[str] = model.generate(
            {"images": np.stack(images), asking.texts: [prompt] * len(images)},
            max_length=length,
            strip_prompt=True,
        )
        return [" ".join(text.split()) for text in texts[: len(batch)]]

    def get_num_bytes(self, batch: Sequence[bytes]) -> int:
        return sum(len(image) for image in batch)

    def get_metrics_namespace(self) -> str:
        return "Captioner"


def pixels(image: bytes, converter: Any) -> np.ndarray:
    """An encoded image at the model's size: float32 `[height, width, 3]` in 0..255.

    Pictures differ in size: each is resized by itself, as the model's converter does it, and the
    converter then finds a batch of the right size.
    """
    picture = np.asarray(decode_rgb(image), np.float32)
    if converter.image_size is None:
        return picture
    return np.asarray(converter.resizing(picture[None]))[0]
