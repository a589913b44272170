import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dsr.methods import GradualPruning
from keras_dsr.ops.initial_masks import active_units
from keras_dsr.ops.units import Slices
from tests.helpers.networks import bits, int32, values
from tests.helpers.views import updated, view, view_of, views

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = [pytest.mark.backends("tensorflow", "torch"), pytest.mark.slow_on("tensorflow")]


def update(method, seen):
    """Weights and masks as numpy arrays, and the number pruned."""
    weights, masks, state = updated(method, seen, method.init(seen), 0)
    return [values(part) for part in weights], [values(part) for part in masks], int(state["pruned"])


def dense(*sizes, step=0):
    """Tensors without a pruned position, of weights 1, -2, 3, ..."""
    return view_of(*([(-1.0) ** place * (place + 1) for place in range(size)] for size in sizes), step=step)


def counts_at(method, steps, *sizes):
    return [[int(mask.sum()) for mask in update(method, dense(*sizes, step=step))[1]] for step in steps]


# The schedule


def test_the_sparsity_is_that_of_the_paper():
    # s(t) = 0.8 - 0.8 * (1 - t)**3 of 1,000, with t = 0, 1/4, 1/2, 3/4, 1: what is left of 0.8 is 27/64, 1/8, 1/64, 0
    method = GradualPruning(final_sparsity=0.8, begin_step=100, end_step=500)
    assert counts_at(method, [100, 200, 300, 400, 500], 1000) == [[1000], [538], [300], [212], [200]]
    # 200 + 800 * 27/64 = 537.5, to the even 538;  200 + 800/8 = 300;  200 + 800/64 = 212.5, to the even 212


def test_it_starts_from_the_initial_sparsity():
    method = GradualPruning(initial_sparsity=0.2, final_sparsity=0.6, end_step=2)
    assert counts_at(method, [0, 1, 2], 100) == [[80], [45], [40]]  # 40 + 40/8


def test_nothing_is_pruned_before_it_begins_and_nothing_changes_after_its_end():
    method = GradualPruning(initial_sparsity=0.5, final_sparsity=0.75, begin_step=10, end_step=20)
    assert counts_at(method, [0, 9, 10, 20, 21, 2**31 - 1], 8) == [[8], [8], [4], [2], [2], [2]]


@pytest.mark.parametrize(("power", "counts"), [(1, [100, 75, 50, 25]), (2, [100, 56, 25, 6]), (0.5, [100, 87, 71, 50])])
def test_the_power_bends_the_schedule(power, counts):
    # the density of a final sparsity of nearly 1 would be (1 - t)**power: 100, 75, 50, 25 of 100 for power 1
    method = GradualPruning(final_sparsity=0.9999, end_step=4, power=power)
    assert counts_at(method, [0, 1, 2, 3], 100) == [[count] for count in counts]


def test_the_exponential_schedule_divides_the_density_by_the_same_in_equal_times():
    method = GradualPruning(final_sparsity=1 - 1 / 16, end_step=40, schedule="exponential")
    assert counts_at(method, [0, 10, 20, 30, 40, 50], 64) == [[64], [32], [16], [8], [4], [4]]
    method = GradualPruning(initial_sparsity=0.5, final_sparsity=1 - 1 / 32, end_step=2, schedule="exponential")
    assert counts_at(method, [0, 1, 2], 64) == [[32], [8], [2]]


@given(
    final=st.floats(0, 0.999),
    size=st.integers(1, 5000) | st.integers(2**24, 2**28),
    end=st.integers(1, 10_000),
    schedule=st.sampled_from(["polynomial", "exponential"]),
)
def test_the_goal_never_rises_and_ends_where_layers_of_that_sparsity_begin(final, size, end, schedule):
    method = GradualPruning(final_sparsity=final, end_step=end, schedule=schedule)
    steps = sorted({0, end // 2, max(end - 2, 0), end - 1, end, end + 1})
    goals = [int(method.goal(size, final, int32(step))) for step in steps]
    assert goals == sorted(goals, reverse=True)
    assert goals[-2:] == [active_units(size, final)] * 2


def test_just_before_the_end_no_more_is_pruned_than_at_the_end():
    # 0.7 of 15 leaves 4.500000000000001, so 5; in float32 it is 4.5, which rounds to 4, and nothing would grow back
    method = GradualPruning(final_sparsity=0.7, end_step=1000)
    assert counts_at(method, [999, 1000], 15) == [[5], [5]]


def test_above_two_to_the_24_places_the_final_number_is_exact():
    # float32 makes 3,355,454 of it
    method = GradualPruning(final_sparsity=0.8, end_step=1000)
    goals = [int(method.goal(2**24 + 57, 0.8, int32(step))) for step in (999, 1000)]
    assert goals == [active_units(2**24 + 57, 0.8)] * 2 == [3_355_455] * 2


# What is pruned


def test_the_smallest_active_weights_go():
    seen = view_of([5, -1, None, 4, 2, -3, None, 6], step=9)
    weights, masks, pruned = update(GradualPruning(final_sparsity=5 / 8, end_step=9), seen)
    assert pruned == 3
    np.testing.assert_array_equal(weights[0], [5, 0, 0, 4, 0, 0, 0, 6])
    np.testing.assert_array_equal(masks[0], [1, 0, 0, 1, 0, 0, 0, 1])


def test_a_tensor_that_is_sparser_than_the_schedule_is_left_alone():
    seen = view_of([1, None, None, None], [4, 3, 2, 1], step=5)
    weights, masks, pruned = update(GradualPruning(final_sparsity=0.5, end_step=5), seen)
    assert pruned == 2
    np.testing.assert_array_equal(masks[0], [1, 0, 0, 0])
    np.testing.assert_array_equal(weights[1], [4, 3, 0, 0])


def test_each_tensor_has_its_own_final_sparsity():
    method = GradualPruning(final_sparsity=[0.5, 0.9, 0.0], end_step=8)
    assert counts_at(method, [4, 8], 40, 40, 40) == [[22, 8, 40], [20, 4, 40]]  # 20 + 20/8 = 22.5; 4 + 36/8 = 8.5


def test_globally_the_smallest_go_wherever_they_are():
    seen = view_of([1, 2, 3, 4], [30, 40, 0.5, 50], step=5)
    weights, _, pruned = update(GradualPruning(final_sparsity=0.5, end_step=5, scope="global"), seen)
    assert pruned == 4
    np.testing.assert_array_equal(weights[0], [0, 0, 0, 4])
    np.testing.assert_array_equal(weights[1], [30, 40, 0, 50])


def test_globally_one_stays_in_each_tensor():
    seen = view_of([0.1, 0.3, 0.2], [30, 40, 20, 10, 50], step=5)
    method = GradualPruning(final_sparsity=6 / 8, end_step=5, scope="global")
    weights, _, pruned = update(method, seen)
    assert pruned == 6
    np.testing.assert_array_equal(weights[0], np.float32([0, 0.3, 0]))
    np.testing.assert_array_equal(weights[1], [0, 0, 0, 0, 50])
    _, masks, pruned = update(GradualPruning(final_sparsity=0.99, end_step=5, scope="global"), seen)
    assert pruned == 6  # one of eight would stay by the schedule, but there are two tensors
    assert [mask.sum() for mask in masks] == [1, 1]


def test_in_each_tensor_one_stays():
    assert counts_at(GradualPruning(final_sparsity=0.99, end_step=5), [5], 8, 3, 1) == [[1, 1, 1]]


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_slices_are_pruned_whole_by_their_mean(scope):
    kernel = np.zeros((2, 2, 1, 4), "float32")
    kernel[...] = [0.3, 0.1, 0.2, 0.4]
    kernel[0, 0, 0, 1] = 0.9  # mean 0.3; and the first slice 0.3 - 0.02
    kernel[0, 0, 0, 0] -= 0.08
    seen = view([kernel], [np.ones(kernel.shape, bool)], [Slices((0, 1))], step=5)
    _, masks, pruned = update(GradualPruning(final_sparsity=0.5, end_step=5, scope=scope), seen)
    assert pruned == 2
    np.testing.assert_array_equal(masks[0], np.broadcast_to(np.array([0, 1, 0, 1], bool), kernel.shape))


@pytest.mark.parametrize("scope", ["tensor", "global"])
@settings(max_examples=12)
@given(data=st.data())
def test_nothing_ever_grows_and_the_end_is_exact(scope, data):
    seen = data.draw(views(step=st.just(0)))
    final = data.draw(st.sampled_from([0.0, 0.3, 0.9, 0.999]))
    method = GradualPruning(final_sparsity=final, end_step=4, scope=scope)
    state, before = method.init(seen), [values(mask) for mask in seen.masks]
    units = [of.count(mask.shape) for mask, of in zip(before, seen.units)]
    first = [of.active(mask, np).sum() for mask, of in zip(before, seen.units)]
    for step in range(6):
        weights, masks, _ = updated(method, seen._replace(step=int32(step)), state)
        after = [values(mask) for mask in masks]
        assert not any((new & ~old).any() for new, old in zip(after, before))
        seen, before = seen._replace(weights=weights, masks=masks), after
    last = [of.active(mask, np).sum() for mask, of in zip(before, seen.units)]
    if scope == "tensor":
        assert last == [min(count, active_units(size, final)) for count, size in zip(first, units)]
    else:
        assert min(last) >= 1
        assert sum(last) == min(sum(first), max(active_units(sum(units), final), len(units)))


def test_an_update_at_the_end_changes_nothing_any_more():
    method = GradualPruning(final_sparsity=0.5, end_step=5)
    seen = dense(8, step=5)
    weights, masks, _ = update(method, seen)
    again_weights, again_masks, pruned = update(method, view(weights, masks, step=9))
    assert pruned == 0
    assert (bits(again_weights[0]), bits(again_masks[0])) == (bits(weights[0]), bits(masks[0]))


# Arguments


@pytest.mark.parametrize(
    "sparsities",
    [
        {"final_sparsity": 1.0},
        {"final_sparsity": -0.1},
        {"final_sparsity": True},
        {"final_sparsity": "0.9"},
        {"final_sparsity": None},
        {"final_sparsity": float("nan")},
        {"final_sparsity": []},
        {"final_sparsity": [0.5, 1.0]},
        {"initial_sparsity": 0.6, "final_sparsity": 0.5},
        {"initial_sparsity": 0.6, "final_sparsity": [0.9, 0.5]},
        {"initial_sparsity": -0.1},
        {"initial_sparsity": None},
    ],
)
def test_sparsities_are_shares_and_rise(sparsities):
    with pytest.raises(ValueError, match=r"needs 0 <= initial_sparsity <= final_sparsity < 1") as error:
        GradualPruning(**sparsities)
    assert repr(sparsities.get("final_sparsity", 0.9)) in str(error.value)


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (5, 5), (5, 4), (-1, 5), (0.5, 5), (0, 5.0), (None, 5), (0, "5")])
def test_steps_are_ints_and_rise(begin, end):
    with pytest.raises(ValueError, match=r"\(begin_step=.*, end_step=.*\) needs ints with 0 <= begin_step <") as error:
        GradualPruning(begin_step=begin, end_step=end)
    assert str(error.value).endswith(f"Received: begin_step={begin!r}, end_step={end!r}")


@pytest.mark.parametrize("power", [0, -1, float("nan"), float("inf"), "3", None])
def test_a_power_is_positive(power):
    with pytest.raises(ValueError, match=r"GradualPruning\(power=\.\.\.\) must be a positive number") as error:
        GradualPruning(power=power)
    assert str(error.value).endswith(f"Received: power={power!r}")


@pytest.mark.parametrize(
    ("argument", "known"),
    [({"schedule": "cubic"}, "'polynomial' or 'exponential'"), ({"scope": "layer"}, "'tensor' or 'global'")],
)
def test_an_unknown_schedule_or_scope_is_refused(argument, known):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=rf"GradualPruning\({name}=\.\.\.\) must be {known}") as error:
        GradualPruning(**argument)
    assert str(error.value).endswith(f"Received: {name}={value!r}")


@pytest.mark.parametrize("finals", [[0.5], [0.5, 0.9]])
def test_all_tensors_together_have_one_final_sparsity(finals):
    with pytest.raises(ValueError, match=r"GradualPruning\(scope='global'\) has one final_sparsity") as error:
        GradualPruning(final_sparsity=finals, scope="global")
    assert str(error.value).endswith(f"Received: final_sparsity={finals!r}")


def test_there_is_a_final_sparsity_for_each_tensor():
    with pytest.raises(ValueError, match=r"one number for each of the 3 sparse weights .* Received 2: \[0\.5, 0\.9\]"):
        GradualPruning(final_sparsity=[0.5, 0.9]).init(dense(4, 4, 4))


def test_each_tensor_has_its_own_final_sparsity_by_name():
    method = GradualPruning(final_sparsity={"layer_2/kernel": 0.75, "layer_0/kernel": 0.5}, end_step=5)
    assert counts_at(method, [5], 8, 8, 8) == [[4, 8, 2]]
    with pytest.raises(ValueError, match=r"GradualPruning has a sparsity for 'layer_9/kernel'"):
        GradualPruning(final_sparsity={"layer_9/kernel": 0.75}).init(dense(4))
    with pytest.raises(ValueError, match=r"0 <= initial_sparsity <= final_sparsity < 1"):
        GradualPruning(final_sparsity={"layer_0/kernel": 1.0})
    with pytest.raises(ValueError, match=r"0 <= initial_sparsity <= final_sparsity < 1"):
        GradualPruning(final_sparsity={})
