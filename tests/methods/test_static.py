import numpy as np

from keras_dsr.methods import Static
from tests.helpers.networks import bits
from tests.helpers.views import updated, view_of


def test_nothing_moves_and_nothing_is_remembered():
    seen = view_of([0.5, None, -0.001, 0], [None, 3, None])
    method = Static()
    assert method.init(seen) == {}
    weights, masks, state = updated(method, seen, {}, 0)
    assert state == {}
    assert [bits(part) for part in [*weights, *masks]] == [bits(part) for part in [*seen.weights, *seen.masks]]


def test_what_dead_places_hold_is_cleared():
    seen = view_of([0.5, None, 1])
    (weights,), _, _ = updated(Static(), seen._replace(weights=[np.array([0.5, np.nan, 1], "float32")]), {}, 0)
    np.testing.assert_array_equal(weights, [0.5, 0, 1])
