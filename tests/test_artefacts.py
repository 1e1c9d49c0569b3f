"""Files that appear whole or not at all."""

import pytest

from tfrs_sage.artefacts import whole_file


def test_a_file_appears_at_the_end_or_stays_as_it_was(tmp_path) -> None:
    target = tmp_path / "new" / "figures.json"
    with whole_file(target) as path:
        path.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(RuntimeError), whole_file(target) as path:
        path.write_text("half of tw")
        raise RuntimeError
    assert target.read_text() == "one"
    assert [one.name for one in target.parent.iterdir()] == ["figures.json"]
