"""RigL of constant fan-in whose outputs are ablated (SRigL), by hand and against plain NumPy."""

import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.methods import GradualPruning, RigL
from keras_dsr.ops.units import FanIn
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import compiled, values
from tests.helpers.networks_of_groups import network, trained
from tests.helpers.views import updated, view

pytestmark = pytest.mark.backends("tensorflow", "torch")

LATER = 10**7

# By outputs, of six inputs. The smallest four of twelve weights are 0.01 to 0.04, three of them of the last output.
WEIGHTS = [
    [0.9, 0.8, 0.7, 0, 0, 0],
    [0, 0.6, 0.65, 0.5, 0, 0],
    [0, 0, 0.55, 0.56, 0.01, 0],
    [0.02, 0, 0, 0, 0.03, 0.04],
]
GRADIENTS = [
    [9, 9, 9, 0.5, 0.1, 0.2],
    [0.1, 9, 9, 9, 0.3, 0.6],
    [0.7, 0.1, 9, 9, 0.2, 0.8],
    [9, 0.4, 0.1, 0.1, 9, 9],
]


def of_outputs(weights, gradients, min_salient, fraction=1 / 3):
    """Weights and mask by outputs after an update, of a kernel of which they are the transpose."""
    weights, gradients = (np.asarray(each, "float32").T for each in (weights, gradients))
    units = FanIn((1, *weights.shape), False)
    seen = view([weights], [weights != 0], [units], gradients=[gradients])
    method = RigL(fraction, end_step=LATER, min_salient=min_salient)
    (now,), (mask,), state = updated(method, seen, method.init(seen))
    return values(now).T, values(mask).T, int(state["pruned"])


def test_an_output_without_salient_weights_goes_and_the_others_have_its_weights():
    weights, mask, pruned = of_outputs(WEIGHTS, GRADIENTS, 0.5)
    np.testing.assert_array_equal(
        mask,
        np.array([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 1], [1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool),
    )
    np.testing.assert_array_equal(weights, np.where(mask, np.float32(WEIGHTS), 0))  # what has grown is 0
    assert pruned == 4


def test_salient_are_those_too_that_would_grow():
    gradients = np.array(GRADIENTS)
    gradients[3, 1:4] = [7, 6, 5]  # the largest of pruned weights: three of four
    _, mask, _ = of_outputs(WEIGHTS, gradients, 0.5)
    assert mask.sum(1).tolist() == [3, 3, 3, 3]


def test_no_output_goes_where_the_others_would_not_gain_a_whole_weight_each():
    weights = np.kron(np.eye(12), np.ones(2)) * np.linspace(1, 2, 24)  # 12 outputs of 2
    weights[0] *= 1e-3
    _, mask, _ = of_outputs(weights, np.ones_like(weights), 0.5, fraction=2 / 24)
    assert mask.sum(1).tolist() == [2] * 12


def by_numpy(weights, active, gradients, dropped: int, min_salient: float):
    """The mask after an update, of arrays of shape `(outputs, inputs)` without ties."""
    stay = active.copy()
    stay.flat[np.argsort(np.where(active, abs(weights), np.inf), axis=None)[:dropped]] = False
    salient = stay.copy()
    salient.flat[np.argsort(np.where(active, np.inf, -abs(gradients)), axis=None)[:dropped]] = True
    salient &= stay | ~active
    fans, total = active.sum(1), active.sum()
    alive = fans > 0
    too_few = alive & (salient.sum(1) < np.float32(min_salient) * fans.astype("float32"))
    fan_in = min(total // max(1, alive.sum() - too_few.sum()), active.shape[1])
    order = np.argsort(np.where(too_few, salient.sum(1), 10**6), kind="stable")
    ablated = order[: alive.sum() - total // fan_in]
    mask = stay.copy()
    mask[ablated] = False
    for output in np.flatnonzero(alive):
        if output not in ablated:
            free = np.flatnonzero(~mask[output])
            best = free[np.argsort(-abs(gradients[output, free]))]
            mask[output, best[: fan_in - mask[output].sum()]] = True
    return mask


@settings(max_examples=60)
@given(
    outputs=st.integers(2, 9),
    inputs=st.integers(2, 9),
    density=st.floats(0.1, 1),
    min_salient=st.floats(0.05, 0.95),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**31),
)
def test_as_plain_numpy(outputs, inputs, density, min_salient, fraction, seed):
    rng = np.random.default_rng(seed)
    fan_in = max(1, round(density * inputs))
    active = np.argsort(rng.random((outputs, inputs)), axis=1) < fan_in
    active[rng.random(outputs) < 0.2] = False  # ablated before
    active[0] |= not active.any() and np.arange(inputs) < fan_in
    scale = 10.0 ** rng.uniform(-3, 0, (outputs, 1))  # outputs of which some have little
    weights = (rng.permutation(outputs * inputs).reshape(outputs, inputs) + 1.0) * scale * active
    gradients = (rng.permutation(outputs * inputs).reshape(outputs, inputs) + 1.0) * scale
    weights, gradients = weights.astype("float32"), gradients.astype("float32")
    _, mask, _ = of_outputs(weights, gradients, min_salient, fraction)
    dropped = min(int(np.round(np.float32(fraction) * np.float32(active.sum()))), active.sum() - 1)
    np.testing.assert_array_equal(mask, by_numpy(weights, active, gradients, dropped, min_salient))
    fans = mask.sum(1)
    assert len(set(fans[fans > 0].tolist())) == 1
    assert active.sum() - fans.max() < fans.sum() <= active.sum()  # what a division leaves is less than one output


@pytest.mark.parametrize("by", ["layers", "optimizer"])
def test_outputs_stay_ablated_in_training_and_in_files(by, tmp_path):
    model = network("fan_in", by, sparsity=0.5)
    method = RigL(0.5, end_step=1000, min_salient=0.9)
    before = [weight.count() for weight in dsr.sparse_weights(model)]
    trained(model, dsr.Reallocate(method, period=2))
    masks = [values(weight.mask) for weight in dsr.sparse_weights(model)]
    fans = masks[-1].sum(0)
    assert len(set(fans[fans > 0].tolist())) == 1
    now = [weight.count() for weight in dsr.sparse_weights(model)]
    assert all(0 <= old - new <= 0.3 * old for old, new in zip(before, now))  # the outputs are few, and go ten times
    assert any((mask.reshape(-1, mask.shape[-1]).sum(0) == 0).any() for mask in masks)
    if by == "layers":
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        for weight, mask in zip(dsr.sparse_weights(loaded), masks, strict=True):
            weight.check()
            np.testing.assert_array_equal(values(weight.mask), mask)


def test_pruning_on_leaves_the_outputs_that_are_left_equally_many():
    model = network("fan_in", sparsity=0.25)
    weight = dsr.sparse_weights(model)[-1]
    mask = values(weight.mask).copy()
    mask[:, 1] = False
    weight.set_mask(mask)
    Reallocation(model, GradualPruning(0.8, 0.8, end_step=1), 0)()
    fans = values(weight.mask).sum(0)
    assert fans[1] == 0
    assert len(set(fans[fans > 0].tolist())) == 1
    assert abs(fans.sum() - 0.2 * mask.size) <= len(fans) / 2


def test_other_patterns_are_refused_with_what_to_do():
    model = compiled(keras.Sequential([keras.Input((8,)), dsr.SparseDense(4, sparsity=0.5)]))
    with pytest.raises(ValueError, match=re.escape("RigL(min_salient=...) ablates outputs of constant fan-in")):
        Reallocation(model, RigL(min_salient=0.3), 0)


@pytest.mark.parametrize("wrong", [0, 1, -0.3, float("nan"), "a", True])
def test_a_part_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="min_salient"):
        RigL(min_salient=wrong)
