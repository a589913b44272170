"""Removal by chance in proportion to worth, and growth by the paths of three links through a layer."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import CHTs
from keras_dsr.methods.chts import _scores
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import values
from tests.helpers.views import updated, view


def score(mask: np.ndarray, output: int, unit: int) -> float:
    """CH2-L3n of one pair, by going through its paths of three links."""
    outputs = {b for b in range(len(mask)) if mask[b, unit]}
    inputs = {a for a in range(mask.shape[1]) if mask[output, a]}
    paths = [(b, a) for b in outputs for a in inputs if mask[b, a]]
    near_outputs, near_inputs = {b for b, _ in paths}, {a for _, a in paths}
    total = 0.0
    for b in near_outputs:
        inside = sum(bool(mask[b, a]) for a in near_inputs)
        total += (1 + inside) / (1 + mask[b].sum() - inside - 1)
    for a in near_inputs:
        inside = sum(bool(mask[b, a]) for b in near_outputs)
        total += (1 + inside) / (1 + mask[:, a].sum() - inside - 1)
    return total


def test_a_score_by_hand():
    # From input 0 to output 1 leads one path: 0 - output 0 - input 1 - output 1. Output 0 has the links 0 (the start),
    # 1 (inside) and 2 (outside); input 1 has output 0 (inside) and 1 (the end).
    mask = np.array([[1, 1, 1], [0, 1, 0]], bool)
    assert float(values(_scores(mask))[1, 0]) == pytest.approx((1 + 1) / (1 + 1) + (1 + 1) / (1 + 0))


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_the_paths(seed):
    mask = np.random.default_rng(seed).random((7, 9)) < 0.3
    received = values(_scores(mask))
    for output, unit in zip(*np.nonzero(~mask)):
        assert received[output, unit] == pytest.approx(score(mask, output, unit), rel=1e-5), (output, unit)


@pytest.mark.backends("torch")
def test_growth_is_by_chance_in_proportion_to_the_score():
    rng = np.random.default_rng(0)
    mask = rng.random((6, 5)) < 0.4
    weights = np.where(mask, 1, 0).astype("float32")
    seen = view([weights], [mask])
    method = CHTs(fraction=1.5 / mask.sum())  # one or two are removed; to look at, the first growth after none
    found = np.zeros(mask.shape)
    for seed in range(200):
        _, (new,), _ = updated(method, seen, method.init(seen), seed)
        found += values(new) & ~mask
    scores = values(_scores(mask.T)).T
    few, many = scores[~mask] <= np.median(scores[~mask]), scores[~mask] > np.median(scores[~mask])
    assert found[~mask][many].mean() > 1.3 * found[~mask][few].mean()


@pytest.mark.backends("torch")
@pytest.mark.parametrize(("step", "exponent"), [(0, 1.0), (100, 3.0)])
def test_removal_is_by_chance_and_harder_at_the_end(step, exponent):
    weights = np.float32([[1.0, 2.0]])
    seen = view([weights], [weights > 0], step=step)
    method = CHTs(fraction=0.5, end_step=100)
    stays = [0, 0]
    for seed in range(300):
        (now,), _, _ = updated(method, seen, method.init(seen), seed)
        kept = values(now).ravel() != 0  # what is removed is grown again, as there is no room, from 0
        stays = [stays[0] + kept[0], stays[1] + kept[1]]
    share = 2**exponent / (1 + 2**exponent)
    assert sum(stays) == 300
    assert stays[1] / 300 == pytest.approx(share, abs=0.08)


@pytest.mark.slow_on("tensorflow", "jax")
def test_relative_importance_keeps_the_only_link_of_a_node():
    weights = np.float32([[5, 5, 5, 0], [5, 5, 5, 0], [0, 0, 0, 0.1]])
    seen = view([weights], [weights > 0], step=10**6)
    method = CHTs(fraction=0.5, removal="relative_importance")
    kept = 0
    for seed in range(20):
        (now,), _, _ = updated(method, seen, method.init(seen), seed)
        kept += values(now)[2, 3] != 0
    assert kept >= 17


def test_networks_with_attention_train_by_it():
    inputs = keras.Input((6, 8))
    x = dsr.SparseMultiHeadAttention(2, 4, sparsity=0.6)(inputs, inputs)
    x = dsr.SparseDense(8, sparsity=0.6)(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x))
    model.compile("adam", "mse")
    before = sum(one.count() for one in dsr.sparse_weights(model))
    data = np.random.default_rng(0).normal(size=(16, 6, 8)).astype("float32")
    history = model.fit(data, data[:, 0], epochs=2, verbose=0, callbacks=[dsr.Reallocate(CHTs(0.3), period=1)])
    assert np.isfinite(history.history["loss"]).all()
    assert history.history["dsr_pruned"][-1] > 0
    assert sum(one.count() for one in dsr.sparse_weights(model)) == before


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: dsr.SparseConv2D(3, 3, sparsity=0.5), "is no matrix of single weights"),
        (lambda: dsr.SparseDense(4, sparsity=0.5, pattern="2:4"), "is no matrix of single weights"),
        (lambda: dsr.SparseDense(4, sparsity=0.9, storage="compact"), "is in compact storage"),
    ],
)
def test_what_has_no_such_topology_is_refused(layer, message):
    layer = layer()
    shape = (6, 6, 4) if isinstance(layer, keras.layers.Conv2D) else (8,)
    model = keras.Sequential([keras.Input(shape), layer])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=message):
        Reallocation(model, CHTs())


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"CHTs\(removal=...\) must be 'magnitude' or 'relative_importance'"):
        CHTs(removal="random")
    with pytest.raises(ValueError, match=r"CHTs\(fraction=...\)"):
        CHTs(fraction=1.0)
