"""Sparse weights of a `SparseOptimizer`: every act and method works on them as on those of sparse layers."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr import methods
from keras_dsr.ops.units import SINGLE
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import (
    active_counts,
    batch,
    bits,
    compiled,
    digits,
    fit,
    gradient_of,
    perceptron,
    selected,
    state_bits,
    values,
)

METHODS = [
    methods.RigL(fraction=0.3, end_step=60),
    methods.SNFS(fraction=0.3, end_step=60),
    methods.DSR(target=30),
    methods.SET(fraction=0.3),
    methods.DeepR(temperature=1e-4),
    methods.Static(),
]


def some_methods(*default):
    return pytest.mark.parametrize(
        "method",
        [pytest.param(one, marks=() if type(one) in default else pytest.mark.thorough) for one in METHODS],
        ids=lambda method: type(method).__name__,
    )


def plain_perceptron() -> keras.Model:
    layers = [keras.layers.Dense(24, activation="relu", name="hidden"), keras.layers.Dense(10, name="classes")]
    return keras.Sequential([keras.Input((64,)), *layers])


def wrapped(optimizer="adam", sparsity=0.8, **settings) -> keras.Model:
    """A perceptron of stock layers, 64-24-10, that a `SparseOptimizer` keeps sparse: 307 and 48 active weights."""
    return compiled(plain_perceptron(), dsr.SparseOptimizer(optimizer, sparsity=sparsity, seed=1, **settings))


def reallocating(method) -> dsr.Reallocate:
    return dsr.Reallocate(method, period=None if method.every_step else 3)


def masks(model) -> list[bytes]:
    return [bits(weight.mask) for weight in dsr.sparse_weights(model)]


def assert_dead_is_zero(model):
    for weight in dsr.sparse_weights(model):
        assert not values(weight.variable)[~values(weight.mask)].any()


def test_the_weights_have_the_face_of_those_of_layers():
    model = wrapped()
    weights = dsr.sparse_weights(model)  # it builds the optimizer
    assert [(weight.role, weight.layer, weight.shape) for weight in weights] == [
        ("kernel", model.layers[0], (64, 24)),
        ("kernel", model.layers[1], (24, 10)),
    ]
    assert active_counts(model) == [307, 48]
    for weight in weights:
        assert (weight.pattern, weight.units, weight.states, weight.gradient) == ("element", SINGLE, {}, None)
        assert weight.values().tobytes() == values(weight.variable)[values(weight.mask)].tobytes()
        assert np.array_equal(weight.positions(), np.flatnonzero(values(weight.variable)))
    assert dsr.summary(model).active == 355


@pytest.mark.one_case_on("tensorflow", "jax")
@some_methods(methods.RigL, methods.SET, methods.Static)
def test_a_method_moves_them_and_keeps_the_total(method):
    model = wrapped()
    first = masks(model)
    fit(model, reallocating(method), batches=12)
    assert sum(active_counts(model)) == 355
    assert (masks(model) == first) == isinstance(method, methods.Static)
    assert_dead_is_zero(model)
    assert all(np.isfinite(values(variable)).all() for variable in model.trainable_variables)


@pytest.mark.slow_on("jax")
@some_methods(methods.DeepR)
def test_a_loaded_model_goes_on_to_the_same_bits(method, tmp_path):
    model = wrapped()
    fit(model, reallocating(method))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert masks(loaded) == masks(model)
    for one in (model, loaded):
        fit(one, reallocating(method))
    assert state_bits(loaded) == state_bits(model)


@pytest.mark.slow_on("tensorflow")
def test_gradual_pruning_cuts_them_to_the_end():
    model = wrapped(sparsity=0.0)
    assert active_counts(model) == [1536, 240]
    fit(model, dsr.Reallocate(methods.GradualPruning(final_sparsity=0.9, end_step=9), period=3), batches=12)
    assert active_counts(model) == [154, 24]
    assert_dead_is_zero(model)


def test_the_slots_of_newborn_weights_start_over():
    model = wrapped(keras.optimizers.SGD(0.1, momentum=0.9))
    fit(model)
    before = [values(weight.mask) for weight in dsr.sparse_weights(model)]
    Reallocation(model, methods.SET(fraction=0.5))()
    momenta = model.optimizer.inner_optimizer.momentums
    for weight, old, momentum in zip(dsr.sparse_weights(model), before, (momenta[0], momenta[2])):
        mask = values(weight.mask)
        assert not values(momentum)[~mask].any() and not values(momentum)[mask & ~old].any()
        assert values(momentum)[mask & old].any()


@pytest.mark.parametrize("method", [methods.RigL(fraction=0.3, end_step=60), methods.SNFS(fraction=0.3, end_step=60)])
def test_growth_sees_the_dense_gradient_of_the_loss(method):
    model = wrapped(keras.optimizers.SGD(0.0))
    images, classes = (part[:32] for part in digits())
    fit(model, dsr.Reallocate(method, period=1000), batches=1)

    def loss():
        return model.compute_loss(y=keras.ops.convert_to_tensor(classes), y_pred=model(images, training=True))

    for weight in dsr.sparse_weights(model):
        gradient = gradient_of(loss, weight.variable)
        expected = (1 - method.gradient_decay) * values(gradient)
        np.testing.assert_allclose(values(weight.gradient), expected, rtol=1e-4, atol=1e-7)
        assert expected[~values(weight.mask)].any()


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_second_fit_by_a_method_that_needs_gradients_has_them():
    model = wrapped()
    fit(model, reallocating(methods.SET()))
    fit(model, reallocating(methods.SNFS(fraction=0.3, end_step=60)))
    assert all(values(weight.gradient).any() for weight in dsr.sparse_weights(model))
    assert model.optimizer.gradient_decay == 0.9
    fit(model, reallocating(methods.RigL(fraction=0.3, end_step=60)))
    assert model.optimizer.gradient_decay == 0.0


def test_growth_from_the_initializer_knows_that_of_a_stock_layer():
    model = plain_perceptron()
    model.layers[0].kernel_initializer = keras.initializers.RandomUniform(2, 3)
    compiled(model, dsr.SparseOptimizer(keras.optimizers.SGD(0.0), sparsity=0.8, seed=1))
    before = [values(weight.mask) for weight in dsr.sparse_weights(model)]
    Reallocation(model, methods.SET(fraction=0.5, growth="initializer"))()
    weight = dsr.sparse_weights(model)[0]
    born = values(weight.variable)[values(weight.mask) & ~before[0]]
    assert born.size > 100 and (born >= 2).all() and (born < 3).all()


def test_a_weight_that_is_sparse_twice_is_refused():
    model = compiled(perceptron(), dsr.SparseOptimizer("adam"))
    with pytest.raises(ValueError, match="hidden/kernel' is sparse twice.*densify"):
        dsr.sparse_weights(model)


@pytest.mark.slow_on("tensorflow", "jax")
def test_sparse_layers_and_a_sparse_optimizer_share_a_model():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            dsr.SparseDense(24, sparsity=0.8, mask_seed=1, name="hidden"),
            keras.layers.Dense(10, name="classes"),
        ]
    )
    compiled(model, dsr.SparseOptimizer("adam", sparsity=0.8, select=".*classes/kernel", seed=1))
    fit(model, reallocating(methods.DSR(target=30)), batches=12)
    assert [weight.name.split("/")[-2] for weight in dsr.sparse_weights(model)] == ["hidden", "classes"]
    assert sum(active_counts(model)) == 307 + 48


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("undo", selected([dsr.strip, dsr.densify], [dsr.strip]))
def test_without_masks_the_optimizer_inside_goes_on(undo, tmp_path):
    model = wrapped()
    fit(model)
    inner, expected = model.optimizer.inner_optimizer, bits(model(batch()))
    seen = digits()[0][: 32 * 6].any(axis=0)  # some pixels are always 0
    assert undo(model) is model and model.optimizer is inner
    assert bits(model(batch())) == expected
    fit(model)
    assert (values(model.layers[0].kernel)[seen] != 0).mean() > 0.6, "more than the 0.2 that were active"
    assert int(inner.iterations) == 12
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").optimizer
    assert isinstance(loaded, keras.optimizers.Adam) and type(loaded) is type(inner)


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("policy", selected(["float32", "mixed_float16"], ["mixed_float16"]))
def test_a_saved_file_is_plain_and_the_model_trains_on(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = wrapped()
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model)
    optimizer, counts = model.optimizer, active_counts(model)
    dsr.save(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    names = [type(part).__name__ for part in (loaded.optimizer, getattr(loaded.optimizer, "inner_optimizer", None))]
    assert names == (["Adam", "NoneType"] if policy == "float32" else ["LossScaleOptimizer", "Adam"])
    assert [np.count_nonzero(values(layer.kernel)) for layer in loaded.layers] == counts == [307, 48]
    assert model.optimizer is optimizer
    fit(model)
    assert active_counts(model) == [307, 48]
    assert_dead_is_zero(model)


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_selected_layer_of_the_users_own_needs_no_sparse_class():
    class Own(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 10), name="kernel")

        def call(self, x):
            return keras.ops.matmul(x, self.kernel)

    model = compiled(keras.Sequential([keras.Input((64,)), Own()]), dsr.SparseOptimizer("adam", sparsity=0.9))
    fit(model, reallocating(methods.RigL(fraction=0.3, end_step=60)), batches=12)
    assert active_counts(model) == [64]
    with pytest.raises(ValueError, match="growth='initializer' needs to know how .*Own is no layer whose"):
        fit(model, reallocating(methods.SET(growth="initializer")))
