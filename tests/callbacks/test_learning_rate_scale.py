"""The user's learning rate is scaled and given back, whoever changes it meanwhile."""

import keras
import numpy as np
import pytest

from keras_dsr.callbacks.learning_rate_scale import LearningRateScale, ScaledLearningRate
from tests.helpers.networks import compiled, fit, perceptron


def model_with(rate, wrap=lambda optimizer: optimizer) -> keras.Model:
    return compiled(perceptron(), wrap(keras.optimizers.SGD(rate)))


def decay():
    return keras.optimizers.schedules.ExponentialDecay(0.4, 10, 0.5)


def test_a_variable_is_multiplied_and_given_back_exactly():
    model = model_with(0.3)
    scale = LearningRateScale(model)
    before = np.float32(model.optimizer.learning_rate)
    for _ in range(5):
        assert not scale.scale_schedules(0.1)
        scale.scale_variables(0.1)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.03)
        scale.release()
        assert np.float32(model.optimizer.learning_rate) == before


def test_scaling_twice_scales_once():
    model = model_with(0.3)
    scale = LearningRateScale(model)
    scale.scale_variables(0.1)
    scale.scale_variables(0.5)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.15)


def test_what_another_callback_made_of_the_scaled_rate_is_kept():
    model = model_with(0.3)
    scale = LearningRateScale(model)
    scale.scale_variables(0.1)
    model.optimizer.learning_rate = 0.03 / 2  # as ReduceLROnPlateau does
    scale.release()
    assert float(model.optimizer.learning_rate) == pytest.approx(0.15)


def test_a_schedule_is_wrapped_and_unwrapped():
    schedule = decay()
    model = model_with(schedule)
    scale = LearningRateScale(model)
    assert scale.scale_schedules(0.1)
    assert not scale.scale_schedules(0.1)  # nothing to trace again
    assert float(model.optimizer.learning_rate) == pytest.approx(0.04)
    assert scale.scale_schedules(0.01)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.004)
    scale.undo()
    assert model.optimizer._learning_rate is schedule


def test_what_an_interrupted_training_left_is_undone():
    for rate in (0.3, decay()):
        model = model_with(rate)
        first, before = LearningRateScale(model), float(model.optimizer.learning_rate)
        first.scale_schedules(0.1)
        first.scale_variables(0.1)
        LearningRateScale(model)
        assert float(model.optimizer.learning_rate) == before


def test_a_rate_that_was_set_after_an_interruption_is_kept():
    model = model_with(0.3)
    LearningRateScale(model).scale_variables(0.1)
    model.optimizer.learning_rate = 0.7
    LearningRateScale(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.7)


def test_it_reaches_into_wrappers():
    model = model_with(0.3, keras.optimizers.LossScaleOptimizer)
    LearningRateScale(model).scale_variables(0.1)
    assert float(model.optimizer.inner_optimizer.learning_rate) == pytest.approx(0.03)


def test_a_scaled_schedule_is_saved_and_loaded_with_the_optimizer(tmp_path):
    model = model_with(decay())
    fit(model)
    LearningRateScale(model).scale_schedules(0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer._learning_rate, ScaledLearningRate)
    assert float(loaded.optimizer.learning_rate) == float(model.optimizer.learning_rate)
    LearningRateScale(loaded)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(10 * float(model.optimizer.learning_rate))
