import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dsr.methods import SNFS
from keras_dsr.methods.snfs import contributions
from keras_dsr.ops.apportionment import LARGEST_TOTAL
from keras_dsr.ops.units import Slices
from tests.helpers.networks import bits, values
from tests.helpers.views import normal_view, updated, view, view_of, views

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")

LATER = 10**7  # an end so far away that the fraction is as good as that of step 0
HALF = SNFS(fraction=0.5, end_step=LATER)


def update(method, seen):
    """Weights and masks as numpy arrays, and the number dropped."""
    weights, masks, state = updated(method, seen, method.init(seen), 0)
    return [values(part) for part in weights], [values(part) for part in masks], int(state["pruned"])


# Within a tensor


def test_eight_weights_by_hand():
    # Dropped are 1, 2 and 3 of six, at 0, 2 and 4; of the four pruned positions that at 7 has the smallest momentum.
    seen = view_of(
        [1, 6, -2, 5, 3, -4, None, None, None, None], gradients=[np.array([9, 0, 9, 0, 9, 0, 0.2, 0.1, -0.3, 0.4])]
    )
    (weights,), (mask,), pruned = update(HALF, seen)
    assert pruned == 3
    np.testing.assert_array_equal(mask, [0, 1, 0, 1, 0, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(weights, [0, 6, 0, 5, 0, -4, 0, 0, 0, 0])


def test_momenta_that_are_not_numbers_attract_nothing():
    seen = view_of([2, 1, None, None, None], gradients=[np.array([0, 0, np.nan, 0.1, np.inf])])
    _, (mask,), _ = update(HALF, seen)
    np.testing.assert_array_equal(mask, [1, 0, 0, 1, 0])


def test_slices_grow_by_their_mean_momentum_and_whole():
    kernel = np.zeros((2, 2, 1, 4), "float32")
    kernel[..., 0], kernel[..., 1] = 2, 1
    gradient = np.zeros(kernel.shape)
    gradient[0, 0, 0] = [0, 9, 1, 0]
    gradient[..., 3] = -0.3
    seen = view([kernel], [kernel > 0], [Slices((0, 1))], gradients=[gradient])
    (weights,), (mask,), pruned = update(HALF, seen)
    assert pruned == 1
    np.testing.assert_array_equal(mask.reshape(4, 4), [[1, 0, 0, 1]] * 4)
    np.testing.assert_array_equal(weights.reshape(4, 4), [[2, 0, 0, 0]] * 4)


# Across tensors


def test_what_was_dropped_is_shared_by_the_mean_momentum_of_active_weights():
    # Two of four are dropped in each; the means are (1 + 1 + 0 + 2) / 4 = 1 and (8 + 4 + 0 + 0) / 4 = 3, of what was
    # active before the drop; the large momenta of pruned positions do not count.
    seen = view_of(
        [4, 3, 2, 1, None, None, None, None],
        [4, 3, 2, 1, None, None, None, None],
        gradients=[np.array([1, -1, 0, 2, 70, 90, 80, 60]), np.array([0, 0, 8, -4, 0.1, 0.4, 0.2, 0.3])],
    )
    _, masks, pruned = update(HALF, seen)
    assert pruned == 4
    np.testing.assert_array_equal(masks[0], [1, 1, 0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(masks[1], [1, 1, 0, 0, 0, 1, 1, 1])


def test_tensors_of_equal_mean_share_equally_whatever_their_size():
    seen = view_of([6, 5, 4, 3, 2, 1] + [None] * 6, [2, 1] + [None] * 6, gradients=[np.full(12, 0.5), np.full(8, 0.5)])
    _, masks, pruned = update(HALF, seen)
    assert pruned == 3 + 1
    assert [mask.sum() for mask in masks] == [3 + 2, 1 + 2]


def test_what_a_full_tensor_cannot_take_goes_to_the_others_even_to_one_without_momentum():
    seen = view_of([4, 3, 2, 1, None], [4, 3, 2, 1] + [None] * 6, gradients=[np.full(5, 1.0), np.zeros(10)])
    _, masks, pruned = update(HALF, seen)
    assert pruned == 4
    np.testing.assert_array_equal(masks[0], [1, 1, 0, 0, 1])
    assert masks[1].sum() == 2 + 3


def test_without_any_momentum_all_share_equally():
    seen = view_of([2, 1, None, None], [2, 1, None, None], gradients=[np.zeros(4)] * 2)
    _, masks, _ = update(HALF, seen)
    np.testing.assert_array_equal(masks, [[1, 0, 1, 0]] * 2)


def test_where_there_is_no_room_what_was_dropped_starts_over():
    seen = view_of([4, 3, 2, 1], [2, 1, None], gradients=[np.array([0, 0, 5, 1]), np.array([1, 1, 1])])
    weights, masks, pruned = update(HALF, seen)  # three dropped, one place was pruned
    assert pruned == 3
    assert sum(mask.sum() for mask in masks) == 6
    np.testing.assert_array_equal(masks[0], [1, 1, 1, 1])  # 6/4 against 1: two of three
    np.testing.assert_array_equal(weights[0], [4, 3, 0, 0])
    np.testing.assert_array_equal(masks[1], [1, 1, 0])
    np.testing.assert_array_equal(weights[1], [2, 0, 0])


@settings(max_examples=15)
@given(seen=views(step=st.just(7)), fraction=st.floats(0.001, 0.999))
def test_the_total_is_kept_and_growth_is_where_momentum_is_largest(seen, fraction):
    _, masks, pruned = update(SNFS(fraction=fraction, end_step=LATER), seen)
    units = [[values(of.active(mask)) for mask, of in zip(group, seen.units)] for group in (masks, seen.masks)]
    assert sum(mask.sum() for mask in units[0]) == sum(mask.sum() for mask in units[1])
    room = sum((~mask).sum() for mask in units[1])
    for gradient, new, old, of in zip(seen.gradients, *units, seen.units):
        if of.are_single and pruned <= room:
            momentum = np.nan_to_num(np.abs(values(gradient).astype("float32")))
            grown, passed_over = momentum[new & ~old], momentum[~new & ~old]
            assert not grown.size or not passed_over.size or grown.min() >= passed_over.max()


# contributions


def shares_of(*means):
    """Contributions of tensors of one active unit with that momentum; another unit is pruned."""
    momenta = [np.array([mean, 1e30], "float32") for mean in means]
    weights, masks = [np.ones(2, "float32")] * len(means), [np.array([True, False])] * len(means)
    return values(contributions(view(weights, masks, gradients=momenta)))


def test_contributions_are_in_proportion_and_at_least_one():
    assert shares_of(1, 3, 0, 0.75).tolist() == pytest.approx([2**24 / 3, 2**24, 1, 2**22], abs=3)


@pytest.mark.parametrize("means", [[0], [0, 0, 0], [1e-42, 0]])
def test_without_momentum_contributions_are_equal(means):
    assert np.ptp(shares_of(*means)) <= 2**24 * 1e-4


@pytest.mark.parametrize("count", [1, 2, 32, 33, 100])
@pytest.mark.parametrize("mean", [1e-30, 1.0, 3.4e38])
def test_their_sum_is_what_can_be_shared(count, mean):
    received = shares_of(*[mean] * count)
    assert received.min() == received.max() > 1
    assert received.sum(dtype="int64") < LARGEST_TOTAL


def test_momenta_whose_sum_is_infinite_count_as_the_largest():
    huge, small, ones = np.full(4, 3e38, "float32"), np.full(4, 1, "float32"), np.ones(4, bool)
    received = values(contributions(view([small] * 3, [ones] * 3, gradients=[huge, small, huge])))
    assert received[0] == received[2] > 2**23
    assert received[1] == 1


# When, and arguments


@pytest.mark.parametrize(("step", "pruned"), [(0, 100), (25, 85), (50, 50), (75, 15), (100, 0), (10**6, 0)])
def test_the_number_follows_the_cosine(step, pruned):
    tensor = [1.0 + place for place in range(200)] + [None] * 200
    assert update(SNFS(fraction=0.5, end_step=100), view_of(tensor, step=step))[2] == pruned


def test_from_the_end_on_nothing_changes():
    seen = normal_view(step=1000)
    weights, masks, pruned = update(SNFS(fraction=0.9, end_step=1000), seen)
    assert pruned == 0
    assert [bits(mask) for mask in masks] == [bits(mask) for mask in seen.masks]
    for received, weight, mask in zip(weights, seen.weights, seen.masks):
        assert bits(received) == bits(np.where(mask, weight, np.float32(0)))


def test_momentum_is_the_decay_of_the_gradients_that_it_asks_for():
    assert SNFS().gradient_decay == 0.9
    assert SNFS(momentum=0.5).gradient_decay == 0.5
    assert type(SNFS(momentum=0).gradient_decay) is float


@pytest.mark.parametrize("momentum", [1, -0.1, 1.5, float("nan"), "0.9", None, True, False])
def test_momentum_is_in_0_1(momentum):
    with pytest.raises(ValueError, match=r"SNFS\(momentum=\.\.\.\) must be a float in \[0, 1\)") as error:
        SNFS(momentum=momentum)
    assert str(error.value).endswith(f"Received: momentum={momentum!r}")


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"SNFS\(fraction=\.\.\.\) must be a float in \(0, 1\).*fraction=0$"):
        SNFS(fraction=0)
    with pytest.raises(ValueError, match=r"SNFS\(end_step=\.\.\.\) must be a positive int.*end_step=2.5$"):
        SNFS(end_step=2.5)
