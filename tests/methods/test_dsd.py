"""DSD cuts the smallest weights once and restores them at zero: by hand, and as promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.methods import DSD
from keras_dsr.ops.units import Slices
from tests.helpers.networks import values
from tests.helpers.views import SEEDS, updated, view, view_of, views

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")

EIGHT = [0.5, -0.09, 0.1, -0.3, 0.05, 0.2, -0.01, 0.4]


def update(method, seen, seed=0):
    weights, masks, state = updated(method, seen, method.init(seen), seed)
    return [values(w) for w in weights], [values(m) for m in masks], int(state["pruned"])


def test_the_three_phases_of_eight_weights():
    method = DSD([(0, 0.0), (10, 0.5), (20, 0.0)])
    (weights,), (mask,), pruned = update(method, view_of(EIGHT, step=9))
    np.testing.assert_array_equal(weights, np.float32(EIGHT))
    assert mask.all() and pruned == 0

    (weights,), (mask,), pruned = update(method, view_of(EIGHT, step=10))
    np.testing.assert_array_equal(mask, [True, False, False, True, False, True, False, True])
    np.testing.assert_array_equal(weights, np.float32([0.5, 0, 0, -0.3, 0, 0.2, 0, 0.4]))
    assert pruned == 4

    # It is cut once: a small weight that is left stays, however small it has become.
    sparse = view_of([0.001, None, None, -0.3, None, 0.2, None, 0.4], step=19)
    (weights,), (same,), pruned = update(method, sparse)
    np.testing.assert_array_equal(same, mask)
    np.testing.assert_array_equal(weights, values(sparse.weights[0]))
    assert pruned == 0

    (weights,), (mask,), pruned = update(method, sparse._replace(step=sparse.step + 1))
    np.testing.assert_array_equal(weights, values(sparse.weights[0]))  # restored at 0
    assert mask.all() and pruned == 0


def test_what_a_dead_place_stores_is_not_restored():
    seen = view([np.float32([1.0, 7.0])], [np.array([True, False])])
    (weights,), _, _ = update(DSD(0.0), seen)
    np.testing.assert_array_equal(weights, [1.0, 0.0])


def test_each_tensor_has_its_own_sparsity_by_name():
    seen = view_of([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4])
    _, masks, pruned = update(DSD({"layer_0/kernel": 0.5, "layer_2/kernel": 0.75}), seen)
    assert [mask.sum() for mask in masks] == [2, 4, 1] and pruned == 5


def test_ties_are_cut_to_the_exact_number():
    _, (mask,), _ = update(DSD(0.5), view_of([1] * 7))
    assert mask.sum() == 4  # round(3.5)


def test_slices_are_cut_whole():
    kernel = np.ones((2, 2, 1, 4), "float32") * [4, 1, 3, 2]
    _, (mask,), pruned = update(DSD(0.5), view([kernel], [np.ones(kernel.shape, bool)], [Slices((0, 1))]))
    np.testing.assert_array_equal(mask, np.broadcast_to([True, False, True, False], kernel.shape))
    assert pruned == 2


@given(seen=views(), sparsity=st.floats(0, 0.999), cut=st.sampled_from(["magnitude", "random"]), seed=SEEDS)
def test_the_number_cut_is_exact_and_a_second_update_changes_nothing(seen, sparsity, cut, seed):
    method = DSD(sparsity, cut)
    weights, masks, _ = updated(method, seen, method.init(seen), seed)
    for old, new, of in zip(map(values, seen.masks), map(values, masks), seen.units):
        size = of.count(old.shape)
        goal = max(1, round((1 - sparsity) * size))
        old, new = (of.active(mask, np).sum() for mask in (old, new))
        assert new == (size if goal == size else min(old, goal))
    seen = seen._replace(weights=weights, masks=masks)
    again, same, state = updated(method, seen, method.init(seen), seed + 1)
    for one, other in zip([*weights, *masks], [*again, *same]):
        np.testing.assert_array_equal(values(one), values(other))
    assert int(state["pruned"]) == 0


@given(seen=views(slices=False), sparsity=st.floats(0, 0.99), seed=SEEDS)
def test_no_weight_that_is_cut_is_larger_than_one_that_stays(seen, sparsity, seed):
    _, masks, _ = updated(DSD(sparsity), seen, {}, seed)
    for weight, old, new in zip(seen.weights, seen.masks, masks):
        magnitudes = np.abs(values(weight).astype("float32"))
        cut, stay = values(old & ~new), values(old & new)
        assert not cut.any() or magnitudes[cut].max() <= magnitudes[stay].min()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"DSD\(sparsity=...\) must be a number in \[0, 1\).*Received: sparsity=1.0"),
        ({"sparsity": {"a": -0.1}}, r"must be a number in \[0, 1\).*Received: sparsity=\{'a': -0.1\}"),
        ({"sparsity": [(5, 0.5)]}, r"increasing starts, the first at 0"),
        ({"sparsity": [(0, 0.5), (2.5, 0.0)]}, r"whole steps, ints of at most 2147483647. Received: sparsity="),
        ({"sparsity": "half"}, r"must be a number in \[0, 1\)"),
        ({"cut": "smallest"}, r"DSD\(cut=...\) must be 'random', or 'magnitude'.*Received: cut='smallest'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DSD(**arguments)


def test_a_name_that_the_model_does_not_have():
    method = DSD({"layer_7/kernel": 0.5})
    with pytest.raises(ValueError, match=r"'layer_7/kernel'.*'layer_0/kernel'.*Received: 1 unknown of 1"):
        method.init(view_of(EIGHT))
