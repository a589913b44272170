import keras
import numpy as np
import pytest
from keras import optimizers

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import (
    ELEMENTWISE_OPTIMIZERS,
    batches_a_step,
    batches_taken,
    is_elementwise,
    optimizer_slots,
)
from tests.helpers.networks import batch, compiled, fit, perceptron, values
from tests.helpers.optimizer_slots import OPTIMIZERS, per_layer_optimizer

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def all_slots(model):
    return [optimizer_slots(model.optimizer, weight.variable) for weight in dsr.sparse_weights(model)]


def square_model():
    """Three kernels of one shape and biases of another: only the index tells whose a slot is."""
    model = keras.Sequential([keras.Input((64,)), *(dsr.SparseDense(64, name=f"layer_{i}") for i in range(3))])
    return compiled(model)


@every_optimizer
def test_finds_every_slot_of_the_kernels_and_its_initial_value(name):
    make, numbers, initial_value = OPTIMIZERS[name]
    model = compiled(perceptron(), make())
    model.optimizer.build(model.trainable_variables)
    slots = all_slots(model)
    assert [len(row) for row in slots] == numbers
    for row, weight in zip(slots, dsr.sparse_weights(model)):
        for slot in row:
            assert slot.variable.shape == weight.variable.shape
            assert slot.initial_value == initial_value
            np.testing.assert_array_equal(values(slot.variable), np.float32(initial_value))
    variables = [slot.variable for row in slots for slot in row]
    assert len({id(variable) for variable in variables}) == len(variables)


def test_ftrl_starts_from_its_initial_accumulator_value():
    model = compiled(perceptron(), optimizers.Ftrl(0.01, initial_accumulator_value=0.3))
    model.optimizer.build(model.trainable_variables)
    for row in all_slots(model):
        assert sorted(slot.initial_value for slot in row) == [0, 0.3]
        for slot in row:
            np.testing.assert_array_equal(values(slot.variable), np.float32(slot.initial_value))


def test_slots_of_equal_shapes_belong_to_their_own_weight():
    model = square_model()
    model.optimizer.build(model.trainable_variables)
    for index, weight in enumerate(dsr.sparse_weights(model)):
        model.optimizer.apply(
            [
                keras.ops.full(variable.shape, float(variable is weight.variable))
                for variable in model.trainable_variables
            ]
        )
        moved = [[bool(values(slot.variable).any()) for slot in row] for row in all_slots(model)]
        assert moved == [[layer <= index] * 2 for layer in range(3)]


@pytest.mark.parametrize("optimizer", [None, optimizers.Adam()])
def test_without_a_built_optimizer_there_are_no_slots(optimizer):
    assert optimizer_slots(optimizer, perceptron().layers[0]._kernel) == []


def test_a_frozen_weight_has_no_slots():
    model = perceptron()
    model.layers[0].trainable = False
    compiled(model)
    model.optimizer.build(model.trainable_variables)
    assert [len(row) for row in all_slots(model)] == [0, 2]


@pytest.mark.parametrize(
    ("steps", "scaled"),
    [
        (None, True),
        (3, False),
        pytest.param(None, False, marks=pytest.mark.thorough),
        pytest.param(3, True, marks=pytest.mark.thorough),
    ],
)
def test_batches_are_counted_whatever_the_optimizer_makes_of_them(steps, scaled):
    optimizer = optimizers.Adam(gradient_accumulation_steps=steps)
    model = compiled(perceptron(), optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    fit(model, batches=5)
    assert batches_taken(model.optimizer) == 5
    assert batches_a_step(model.optimizer) == (steps or 1)


def test_batches_of_several_optimizers_are_counted_once():
    model = compiled(perceptron(), per_layer_optimizer())
    fit(model, batches=5)
    assert batches_taken(model.optimizer) == 5
    assert model(batch()).shape == (8, 10)


def test_the_elementwise_optimizers_of_keras_are_known_and_others_and_subclasses_are_not():
    class Own(optimizers.SGD):
        pass

    assert all(is_elementwise(kind()) for kind in ELEMENTWISE_OPTIMIZERS)
    assert not any(is_elementwise(kind()) for kind in (optimizers.Muon, optimizers.Adafactor, optimizers.Lamb, Own))
