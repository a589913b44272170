"""The analysis on steps worked by hand: constants forward, what is wanted backward, and what lies aligned."""

import numpy as np
import pytest

from keras_dsr.shrinking.analysis import Network, analyse
from keras_dsr.shrinking.channel_rules import Barrier, Channelwise, Concatenation, Flattening, Join, Linear
from keras_dsr.shrinking.reasons import JOINED, LAST, OUTPUT, PADDED, causes

pytestmark = pytest.mark.backends("torch")  # no backend does any of it
NAN = np.nan


def linear(source, target, kernel, bias=None, folds=True):
    kernel = np.array(kernel, float)
    bias = np.zeros(kernel.shape[1]) if bias is None else np.array(bias, float)
    return Linear((source,), (target,), kernel, kernel != 0, bias, folds, lambda values: values)


def relu(source, target, size):
    return Channelwise((source,), (target,), size, lambda values: np.where(values < 0, 0, values))


def add(sources, target, size):
    return Join(tuple(sources), (target,), size, lambda values: values.sum(axis=0), adds=True)


def numbers(kept):
    return [np.flatnonzero(of_tensor).tolist() for of_tensor in kept]


# Three hidden neurons: one without input (its bias is 5), one without output, one alive.
INTO, OUT_OF = [[0, 1, 2], [0, 3, 4]], [[7, 8], [0, 0], [9, 0]]


def test_a_neuron_without_input_is_constant_and_one_without_output_is_not_wanted():
    network = Network([2, 3, 3, 2], [linear(0, 1, INTO, [5, 0, 0]), relu(1, 2, 3), linear(2, 3, OUT_OF)], [0], [3])
    found = analyse(network)
    np.testing.assert_array_equal(found.constants[2], [5, NAN, NAN])
    np.testing.assert_array_equal(found.constants[3], [NAN, 40])  # 5 * 8
    assert numbers(found.kept) == [[0, 1], [2], [2], [0, 1]]


def test_a_constant_that_is_not_zero_stays_where_the_next_layer_pads():
    def kept(bias):
        network = Network([2, 3, 2], [linear(0, 1, INTO, [bias, 0, 0]), linear(1, 2, OUT_OF, folds=False)], [0], [2])
        found = analyse(network)
        return numbers(found.kept)[1], causes(network, found)[1][0] // 2

    assert kept(bias=0) == ([2], LAST)
    assert kept(bias=5) == ([0, 2], PADDED)


def test_what_only_a_removed_neuron_reads_is_removed_with_it():
    first = linear(0, 1, [[1, 1]])
    second = linear(1, 2, [[1, 0], [0, 1]])
    third = linear(2, 3, [[1], [0]])
    assert numbers(analyse(Network([1, 2, 2, 1], [first, second, third], [0], [3])).kept) == [[0], [0], [0], [0]]


def test_a_channel_of_a_join_goes_only_if_it_is_dead_in_every_branch():
    steps = [
        linear(0, 1, [[1, 1, 0]]),  # 2 is constant here
        linear(0, 2, [[1, 0, 0]]),  # 1 and 2 are
        add((1, 2), 3, 3),
        linear(3, 4, [[1], [1], [1]]),
    ]
    network = Network([1, 3, 3, 3, 1], steps, [0], [4])
    found = analyse(network)
    assert numbers(found.kept) == [[0], [0, 1], [0, 1], [0, 1], [0]]
    why = causes(network, found)
    assert divmod(why[2][1], len(steps)) == (JOINED, 2)
    assert why[4][0] // len(steps) == OUTPUT


def test_an_operand_of_a_sum_that_is_zero_where_it_matters_is_dropped():
    steps = [
        linear(0, 1, [[1, 1]]),
        linear(0, 2, [[0, 1]]),  # alive in channel 1 alone, to which nothing listens
        add((1, 2), 3, 2),
        linear(3, 4, [[1], [0]]),
    ]
    found = analyse(Network([1, 2, 2, 2, 1], steps, [0], [4]))
    assert found.dropped[2] == {1}
    assert found.reached == [True, True, False, True, True]
    assert numbers(found.kept)[3] == [0]


def test_a_tensor_of_which_nothing_matters_keeps_one_channel_and_its_constant():
    steps = [linear(0, 1, np.zeros((2, 3)), [4, 5, 6]), linear(1, 2, np.ones((3, 1)))]
    network = Network([2, 3, 1], steps, [0], [2])
    found = analyse(network)
    assert numbers(found.kept) == [[0, 1], [0], [0]]
    assert found.wanted[1].tolist() == [True, False, False]
    np.testing.assert_array_equal(found.constants[2], [15])
    assert causes(network, found)[1][0] // 2 == LAST


def test_a_channel_that_is_flattened_goes_with_all_its_units():
    steps = [
        linear(0, 1, [[1, 1, 1]]),
        Flattening((1,), (2,), positions=2, size=3),  # units: 0 1 2 | 0 1 2
        linear(2, 3, [[1], [0], [0], [0], [0], [1]]),
    ]
    found = analyse(Network([1, 3, 6, 1], steps, [0], [3]))
    assert numbers(found.kept) == [[0], [0, 2], [0, 2, 3, 5], [0]]


def test_a_concatenation_shifts_channels_and_loses_an_operand_that_is_empty():
    steps = [
        linear(0, 1, [[1, 1]]),
        linear(0, 2, [[1, 1]]),
        Concatenation((1, 2), (3,), (2, 2)),
        linear(3, 4, [[0], [0], [0], [1]]),
    ]
    found = analyse(Network([1, 2, 2, 4, 1], steps, [0], [4]))
    assert numbers(found.kept) == [[0], [], [1], [3], [0]]
    assert found.dropped[2] == {0}
    assert not found.reached[1]


def test_a_barrier_keeps_what_it_reads_and_what_it_returns():
    steps = [
        linear(0, 1, [[0, 1]]),
        Barrier((1,), (2,), ((2,), (2,))),
        linear(2, 3, [[1], [0]]),
    ]
    found = analyse(Network([1, 2, 2, 1], steps, [0], [3]))
    assert numbers(found.kept) == [[0], [0, 1], [0, 1], [0]]
    assert np.isnan(found.constants[2]).all()


def test_a_channel_that_does_not_depend_on_its_input_leaves_it_unwanted():
    normalization = Channelwise(  # gamma is 0 in channel 0
        (1,), (2,), 2, lambda values: np.where([True, False], 3.0, values), blind=np.array([True, False])
    )
    steps = [linear(0, 1, [[1, 1]]), normalization, linear(2, 3, [[2], [1]])]
    found = analyse(Network([1, 2, 2, 1], steps, [0], [3]))
    assert found.constants[2][0] == 3
    assert numbers(found.kept) == [[0], [1], [1], [0]]


def test_a_constant_that_stays_for_one_reader_stays_for_the_other():
    steps = [
        linear(0, 1, [[0, 1]], [5, 0]),
        linear(1, 2, [[1], [1]], folds=False),
        linear(1, 3, [[1], [1]]),
    ]
    found = analyse(Network([1, 2, 1, 1], steps, [0], [2, 3]))
    assert numbers(found.kept)[1] == [0, 1]
    assert found.wanted[1].all()
