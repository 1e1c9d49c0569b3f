"""Data checks of a run made by hand, with one fault of each kind."""

import pytest

from tests.report.shop_run import PAIRS, SEARCH, SIMILAR, write_shop
from tfrs_sage.artefacts import write_json
from tfrs_sage.errors import InputError
from tfrs_sage.report.data_checks import check_data


def test_faults_are_found_with_their_numbers(tmp_path) -> None:
    tests = [*PAIRS[SEARCH]["test"], ("RED!", "p01"), ("red", "p00")]  # a duplicate, a leak
    write_shop(tmp_path, {**PAIRS, SEARCH: {**PAIRS[SEARCH], "test": tests}})
    interval = {"intervals": {"recall@10": [0.2, 0.7]}}
    write_json(tmp_path / "metrics" / "evaluate-test.json", {"tasks": {SEARCH: interval}})
    found = check_data(tmp_path)
    search = found["tasks"][SEARCH]
    assert search["num_pairs"] == 5 and search["num_queries"] == 4
    assert search["leakage"]["shared_pairs"] == 1 and search["leakage"]["shared_queries"] == 1
    assert search["duplicates"]["examples"] == [("RED!", "red")]
    # Other training pairs: of p00, p03, p06, p02 none, of p01 one more by p04.
    assert search["drift"]["popularity"]["train_mean"] == pytest.approx(1 / 5)
    assert search["drift"]["popularity"]["test_mean"] == pytest.approx((1 + 1 + 0 + 2 + 1) / 5)
    # Queries of training have one word; "RED!" and "red" too, "blue sofa" two, the last four.
    assert search["drift"]["query words"]["test_mean"] == 2.0
    assert search["interval"] == [0.2, 0.7]
    assert "duplicates" not in found["tasks"][SIMILAR]
    # p09 and p10 have their brand alone, which is Acme.
    assert found["catalogue"]["product"]["examples"] == [["p09", "p10"]]
    told = "\n".join(found["warnings"])
    for fault in (
        f"{SEARCH}: 4 test queries",
        "0.200 to 0.700",
        "1 of 5 test pairs (20.0%)",
        "1 of 4 test queries (25.0%)",
        "2 of 12 products",
        f"{SIMILAR}: 3 test queries",
    ):
        assert fault in told
    assert told.count(f"{SIMILAR}:") == 1  # nothing else is wrong with it that can be seen


def test_a_split_without_pairs(tmp_path) -> None:
    write_shop(tmp_path)
    with pytest.raises(InputError, match=r"pairs of the validation split. Found: none"):
        check_data(tmp_path, "validation")
