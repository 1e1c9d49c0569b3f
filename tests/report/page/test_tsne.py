"""t-SNE against its definition: affinities, slope, planted groups."""

import numpy as np
import pytest

from tfrs_sage.report.page.tsne import gradient, joint_affinities, neighbours_kept, tsne


def groups(number=30, width=16):
    random = np.random.default_rng(0)
    middles = np.eye(3, width) * 4
    rows = np.concatenate([m + random.normal(size=(number, width)) * 0.1 for m in middles])
    return rows.astype(np.float32), np.repeat(np.arange(3), number)


def test_affinities_have_the_perplexity() -> None:
    rows = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    joint = joint_affinities(rows, 8.0)
    np.testing.assert_allclose(joint, joint.T)
    assert joint.sum() == pytest.approx(1, abs=1e-5) and np.diag(joint).max() == 0
    # Worked apart from it, point by point: the Gaussian whose entropy is log2(8) = 3 bits.
    square = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    given = np.zeros((40, 40))
    for i in range(40):
        others = np.delete(np.arange(40), i)
        low, high = 1e-6, 1e6
        for _ in range(200):
            beta = np.sqrt(low * high)
            p = np.exp(-beta * (square[i, others] - square[i, others].min()))
            p /= p.sum()
            bits = -(p * np.log2(np.maximum(p, 1e-300))).sum()
            low, high = (beta, high) if bits > 3 else (low, beta)
        given[i, others] = p
    np.testing.assert_allclose(joint, (given + given.T) / 80, atol=1e-5)


def test_slope_is_that_of_the_divergence() -> None:
    random = np.random.default_rng(2)
    near = joint_affinities(random.normal(size=(9, 4)).astype(np.float32), 2.0).astype(float)
    places = random.normal(size=(9, 2))

    def divergence(points: np.ndarray) -> float:
        kernel = 1 / (1 + ((points[:, None] - points[None]) ** 2).sum(-1))
        np.fill_diagonal(kernel, 0)
        q = kernel / kernel.sum()
        there = near > 0
        return float((near[there] * np.log(near[there] / q[there])).sum())

    slope, step = gradient(near, places), 1e-5
    for i, j in ((0, 0), (4, 1), (8, 0)):
        moved = places.copy()
        moved[i, j] += step
        back = places.copy()
        back[i, j] -= step
        numeric = (divergence(moved) - divergence(back)) / (2 * step)
        assert slope[i, j] == pytest.approx(numeric, rel=1e-3, abs=1e-7)


def test_planted_groups_lie_apart_and_no_chance_is_in_it() -> None:
    rows, labels = groups()
    places = tsne(rows, perplexity=10)
    middles = np.stack([places[labels == one].mean(0) for one in range(3)])
    own = np.linalg.norm(places - middles[labels], axis=1).max()
    apart = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert own < apart / 2
    np.testing.assert_array_equal(places, tsne(rows, perplexity=10))
    with pytest.raises(ValueError, match=r"two points or more. Received: 1"):
        tsne(rows[:1])
    assert np.isfinite(tsne(np.zeros((5, 3)))).all()  # all alike


def test_neighbours_kept() -> None:
    line = np.arange(8.0)[:, None]
    assert neighbours_kept(line, np.hstack([line, line]), 2) == 1
    # Every second one is sent far away: of the nearest (0's is 1, ...) none stays.
    scattered = np.array([0, 100, 1, 101, 2, 102, 3, 103.0])[:, None]
    assert neighbours_kept(line, scattered, 1) == 0
