"""The keras-hub encoder on a tiny, randomly initialised ResNet saved as a local preset."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrs_sage.errors import InputError
from tfrs_sage.vision import ImageError, image_encoder
from tfrs_sage.vision.pretrained import PretrainedEncoder, _projection


def picture_bytes(seed: int, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras
    import keras_hub

    folder = tmp_path_factory.mktemp("preset") / "tiny"
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    backbone.save_to_preset(str(folder))
    keras_hub.layers.ResNetImageConverter(image_size=(32, 32), scale=1 / 255).save_to_preset(
        str(folder)
    )
    return folder


def test_is_the_pooled_projected_backbone(preset: Path) -> None:
    import keras_hub

    image = picture_bytes(1, (32, 32))  # already of the preset's size: no resizing to differ in
    vector = image_encoder(str(preset)).encode_one(image)
    backbone = keras_hub.models.Backbone.from_preset(str(preset))
    pixels = np.asarray(Image.open(io.BytesIO(image)), np.float32)[None] / 255
    pooled = np.asarray(backbone(pixels, training=False)).mean(axis=(1, 2))[0]
    expected = pooled @ _projection(64)
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-4)


def test_batches_equal_single_images_of_any_size(preset: Path) -> None:
    images = [picture_bytes(i, (20 + 7 * i, 50)) for i in range(5)]
    encoder = PretrainedEncoder(str(preset), batch_size=2)
    vectors = encoder.encode(images)
    assert vectors.shape == (5, 256)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    single = np.stack([encoder.encode_one(image) for image in images])
    np.testing.assert_allclose(vectors, single, atol=1e-4)
    with pytest.raises(ImageError, match=r"images\[1\]"):
        encoder.encode([images[0], b"bad"])


def test_pickles_by_name_and_fingerprint_follows_the_weights(preset: Path, tmp_path: Path) -> None:
    import keras_hub

    encoder = image_encoder(str(preset))
    encoder.encode_one(picture_bytes(0, (8, 8)))
    data = pickle.dumps(encoder)
    assert len(data) < 1000
    assert pickle.loads(data).fingerprint() == encoder.fingerprint()
    backbone = keras_hub.models.Backbone.from_preset(str(preset))
    weight = backbone.trainable_weights[0]
    weight.assign(weight + 1)
    backbone.save_to_preset(str(tmp_path / "other"))
    (tmp_path / "other" / "image_converter.json").write_bytes(
        (preset / "image_converter.json").read_bytes()
    )
    assert image_encoder(str(tmp_path / "other")).fingerprint() != encoder.fingerprint()


def test_the_projection_keeps_angles() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 2000)).astype(np.float32)
    b = a + b  # cosine about 0.71
    before = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    c, d = a @ _projection(2000), b @ _projection(2000)
    assert c @ d / np.linalg.norm(c) / np.linalg.norm(d) == pytest.approx(before, abs=0.1)


def test_what_keras_hub_cannot_load_is_said(preset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Found: '.*no_such_preset'"):
        image_encoder(str(tmp_path / "no_such_preset")).encode_one(picture_bytes(0, (8, 8)))
    with pytest.raises(ValueError, match="Received: 0"):
        PretrainedEncoder("x", batch_size=0)
