"""Baselines of a run made by hand, against answers that can be counted on the fingers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.report.shop_run import IDS, PAIRS, SEARCH, SIMILAR, TITLES, write_shop
from tfrs_sage.evaluation import pool_pairs, rows_of
from tfrs_sage.report.baselines import Baselines, compared_figures
from tfrs_sage.report.catalogue_fields import read_fields
from tfrs_sage.report.pretrained import PretrainedEncoder
from tfrs_sage.report.run_pairs import TrainingPairs
from tfrs_sage.schema.features import Task
from tfrs_sage.towers import QueryTokenizer, QueryTowerConfig, build_backbone


def figures_of(baselines: Baselines, task: str) -> dict:
    queries = sorted({query for query, _ in PAIRS[task]["test"]})
    pairs = PAIRS[task]["test"]
    rows = pool_pairs(
        [(rows_of([q for q, _ in pairs], queries), rows_of([c for _, c in pairs], IDS))]
    )
    return baselines.figures(Task.parse(task), queries, IDS, *rows)


def mrr(*ranks: int) -> float:
    return pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_fields_and_pairs_of_the_run(tmp_path) -> None:
    write_shop(tmp_path)
    fields = read_fields(tmp_path, "product")
    assert [fields.title(one) for one in ("p00", "p11")] == ["red sofa", "Bolt"]
    assert fields.document("p03") == "green sofa Acme"
    assert fields.num_images[:5].tolist() == [2, 2, 0, 0, 2]
    train = TrainingPairs(tmp_path)
    assert train.candidate_counts("product")["p01"] == 2
    assert train.query_counts("search") == {"red": 2, "seat": 2, "wood": 1}
    assert train.of(Task.parse("pin/product/click")) == ([], [])


def test_bm25_and_cooccurrence_by_hand(tmp_path, caplog) -> None:
    baselines = Baselines(tmp_path, write_shop(tmp_path))
    assert "no pretrained baseline" in caplog.text
    search, similar = figures_of(baselines, SEARCH), figures_of(baselines, SIMILAR)
    assert set(search) == set(similar) == {"bm25", "cooccurrence"}
    # "red": p00, p01, p02 alike, so p02 is third. "blue sofa": p06 alone has both words.
    # "oak wood or wood": all three oaks alike, p05 is the second of them.
    assert search["bm25"]["mrr"] == mrr(3, 1, 2)
    # p00 asks "red sofa": itself, then all with one of the two words, p01 first. p04 asks "green
    # lamp", which five have, then p00, p02, p06, p08, p09, p10 by row. p09 asks for its only text,
    # "Acme": eight have it, then p02, p05, p08.
    assert similar["bm25"]["mrr"] == mrr(2, 11, 11)
    # Baskets: red {p00, p01}, seat {p03, p06}, wood {p02}, p04 {p04, p07, p01}. By popularity p01,
    # then p00, p02, p03, p04, p06, p07, then the others by row.
    # "red" has p00, p01 and by p01 p04, p07; then comes p02. The other queries are new.
    assert search["cooccurrence"]["mrr"] == mrr(5, 6, 8)
    # p00 itself, then p01. p04: its own three and p00, then p02, p03, p06, then p05, p08, p09, p10.
    # p09 is in no basket: the popular seven, p05, p08.
    assert similar["cooccurrence"]["mrr"] == mrr(2, 11, 9)
    assert similar["cooccurrence"]["recall@10"] == pytest.approx(2 / 3)
    for figures in (*search.values(), *similar.values()):
        assert set(figures) == {"recall@10", "recall@100", "mrr", "intervals"}
        low, high = figures["intervals"]["mrr"]
        assert low <= figures["mrr"] <= high


def test_pretrained_is_the_mean_of_the_preset_s_tokens(tmp_path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "sofa", "lamp"]
    pieces += ["oak", "wood", "acme", "bolt"]
    keras.utils.set_random_seed(1)
    small = QueryTowerConfig(num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32)
    backbone, tokenizer = build_backbone(small, len(pieces)), QueryTokenizer(small, pieces)
    backbone.save_to_preset(tmp_path / "preset")
    tokenizer.tokenizer.save_to_preset(tmp_path / "preset")
    config = write_shop(
        tmp_path, settings=(f"query_tower.preset={tmp_path / 'preset'}", "query_tower.pooling=cls")
    )
    found = figures_of(Baselines(tmp_path, config), SEARCH)["pretrained"]

    def embed(text: str) -> np.ndarray:
        tokens = tokenizer(tf.constant([text]))
        mean = np.asarray(backbone(dict(tokens)))[0].mean(axis=0)
        return mean / np.linalg.norm(mean)

    titles = [
        title or brand for title, brand in zip(TITLES, ["Acme", "Acme", "Bolt"] * 4, strict=True)
    ]
    candidates = np.stack([embed(title) for title in titles])
    pairs = sorted(PAIRS[SEARCH]["test"])
    scores = np.stack([candidates @ embed(query) for query, _ in pairs])
    own = [scores[i, IDS.index(candidate)] for i, (_, candidate) in enumerate(pairs)]
    ranks = [(row > one + 1e-6).sum() + 1 for row, one in zip(scores, own, strict=True)]
    assert len(set(np.round(scores[0], 5))) > 5  # the encoder tells the titles apart
    assert found == compared_figures(np.array(ranks), np.arange(3), len(IDS))


def test_queries_that_are_texts_of_training(tmp_path) -> None:
    task = "search/query/click"
    pairs = {
        task: {
            "train": [("sofa", "red sofa"), ("couch", "red sofa"), ("couch", "blue sofa")],
            "test": [("sofa", "blue sofa")],
        }
    }
    baselines = Baselines(tmp_path, write_shop(tmp_path, pairs))
    texts = ["blue sofa", "red lamp", "red sofa"]
    one = np.array([0])
    found = baselines.figures(Task.parse(task), ["sofa"], texts, one, one)
    # By words both sofas alike; by training red sofa is sofa's own, and blue sofa came with it.
    assert found["bm25"]["mrr"] == 1.0
    assert found["cooccurrence"]["mrr"] == 0.5


def test_pretrained_vectors_are_kept(tmp_path, monkeypatch) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "sofa"]
    small = QueryTowerConfig(num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32)
    preset = tmp_path / "preset"
    build_backbone(small, len(pieces)).save_to_preset(preset)
    QueryTokenizer(small, pieces).tokenizer.save_to_preset(preset)
    first = PretrainedEncoder(str(preset), kept=tmp_path / "kept")(["red", "sofa", "red"])
    again = PretrainedEncoder(str(preset), kept=tmp_path / "kept")
    monkeypatch.setattr(again, "_embed", None)  # nothing may be embedded anew
    np.testing.assert_array_equal(again(["sofa", "red"]), first[[1, 2]])
    assert len(list((tmp_path / "kept").iterdir())) == 1
    # Another length, or other weights in the same folder, are another encoder.
    assert not PretrainedEncoder(str(preset), 8, tmp_path / "kept")._vectors
    (preset / "more.json").write_text("{}")
    assert not PretrainedEncoder(str(preset), kept=tmp_path / "kept")._vectors
