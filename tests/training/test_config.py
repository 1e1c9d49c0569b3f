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


def test_a_setting_of_one_section_changes_no_other(tmp_path) -> None:
    """Also where both come from one object of a preset, or from a YAML alias."""
    file = tmp_path / "mine.yaml"
    file.write_text("product_tower: &tower {head_dim: 48}\npin_tower: *tower\n")
    for given in (None, file):
        config = load_config("tiny", given, ["product_tower.head_dim=32"])
        assert (config.product_tower.head_dim, config.pin_tower.head_dim) == (
            32,
            48 if given else 64,
        )


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["product_tower.fusion=unified"],
            r"product_tower\.fusion is 'unified', pin_tower\.fusion",
        ),
        (
            ["product_tower.fusion=unified", "pin_tower.fusion=unified", "pin_tower.mlp_dims=[8]"],
            r"must be equal: product_tower\.mlp_dims is \(1024, 1024\), pin_tower\.mlp_dims is",
        ),
        (["product_tower.item_tower=true"], "found it in product_tower with fusion 'transformer'"),
        (
            [
                "product_tower.fusion=unified",
                "pin_tower.fusion=unified",
                "pin_tower.item_tower=true",
            ],
            "item_tower is of products.*set pin_tower.item_tower to false",
        ),
        (["training.compatibility={query: [a_embedding]}"], "'product' or 'pin'"),
        (["query_tower.layer_rate_decay=1.5"], "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other(settings, message) -> None:
    with pytest.raises(InputError, match=message):
        load_config("tiny", None, settings)


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
