import pytest

from tfrs_sage.errors import InputError
from tfrs_sage.training.config import learned_from, load_config, read_config, save_config
from tfrs_sage.training.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_come_back_from_yaml(preset, tmp_path) -> None:
    config = load_config(preset)
    save_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


def test_file_over_preset_and_settings_over_file(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {seed: 4, batch_size: 32}\nembedding_dim: 48\n")
    config = load_config("tiny", file, ["training.batch_size=64", "query_tower.preset=a/b"])
    assert (config.training.seed, config.training.batch_size) == (4, 64)
    assert config.embedding_dim == 48
    assert config.query_tower.preset == "a/b"
    assert config.product_tower.hidden_dim == 64  # still the preset's


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "unknown key 'epoch'.*nearest known key is 'epochs'"),
        ("trainig.epochs=3", "nearest known key is 'training'"),
        ("training.epochs=-1", "training.epochs.*greater than 0.*received: -1"),
        ("training.epochs", "written key=value. Received: 'training.epochs'"),
    ],
)
def test_wrong_settings_say_what_is_right(setting, message) -> None:
    with pytest.raises(InputError, match=message):
        load_config("tiny", None, [setting])


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match=r"one of tiny, base, paper\. Received: 'huge'"):
        load_config("huge")


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ("training.log_steps=7", True),
        ("training.chunks=4", True),
        ("users.threshold=3.0", True),
        ("index.prefix=64", True),
        ("training.seed=1", False),
        ("loss.mode=random", False),
    ],
)
def test_what_begins_a_training_anew(setting, same) -> None:
    one, other = load_config("tiny"), load_config("tiny", None, [setting])
    assert (learned_from(one) == learned_from(other)) == same
