import math

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.networks import batch, bits, compiled, fit, values


def mlp(*hidden, middle=None, **settings) -> keras.Model:
    """Stock layers of 64 units and more, with what `middle` makes behind each hidden one."""
    layers = [keras.Input((64,))]
    for number, units in enumerate(hidden):
        layers.append(keras.layers.Dense(units, "relu", name=f"hidden_{number}", **settings))
        layers += [middle()] if middle else []
    return keras.Sequential([*layers, keras.layers.Dense(10, name="classes", **settings)])


def kernels(model) -> list[np.ndarray]:
    return [values(weight) for weight in model.trainable_variables if weight.name == "kernel"]


def deep_line(report) -> bool:
    return "may not begin to learn. Pass initial_scale='active'." in " ".join(str(report).split())


# What is scaled


@pytest.mark.parametrize("storage", ["masked", "compact"])
def test_weights_that_stay_are_scaled_to_the_active_fan(storage):
    model = mlp(200)
    before = kernels(model)
    dsr.sparsify(model, sparsity=0.95, storage=storage, initial_scale="active", seed=1)
    for weight, old in zip(dsr.sparse_weights(model), before, strict=True):
        factor = math.sqrt(weight.size / weight.count())
        np.testing.assert_allclose(weight.values(), old.reshape(-1)[weight.positions()] * np.float32(factor), rtol=1e-6)
        assert weight.holder.get_config()["initial_scale"] == "active"
    assert dsr.sparse_weights(model)[0].values().std() == pytest.approx(math.sqrt(2 / (0.05 * 264)), rel=0.15)


def test_sparsify_draws_at_the_scale_of_a_layer_that_is_built_sparse():
    stock = mlp(200)
    dsr.sparsify(stock, sparsity=0.95, initial_scale="active", seed=1)
    layer = dsr.SparseDense(200, sparsity=0.95, initial_scale="active")
    layer.build((None, 64))
    of_sparsify, of_layer = (values(one.kernel) for one in (stock.layers[0], layer))
    assert np.abs(of_sparsify).max() == pytest.approx(np.abs(of_layer).max(), rel=0.02)


def test_dense_scale_is_the_default_and_keeps_every_bit():
    model = mlp(40)
    before = kernels(model)
    report = dsr.sparsify(model, sparsity=0.5, seed=1)
    for weight, old in zip(dsr.sparse_weights(model), before, strict=True):
        assert bits(weight.values()) == bits(old.reshape(-1)[weight.positions()])
        assert weight.holder.get_config()["initial_scale"] == "dense"
    assert report.notes == ()


def test_containers_keep_the_scale_in_their_configs():
    inputs = keras.Input((5, 16))
    x = keras.layers.MultiHeadAttention(2, 8)(inputs, inputs)
    model = keras.Model(inputs, keras.layers.Bidirectional(keras.layers.LSTM(12))(x))
    dsr.sparsify(model, sparsity=0.8, initial_scale="active")
    again = keras.Model.from_config(model.get_config())
    assert {weight.holder.initial_scale for weight in dsr.sparse_weights(again)} == {"active"}
    assert len(dsr.sparse_weights(again)) == 8


def test_the_report_names_what_is_left_as_drawn():
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(50, 20, name="tokens"),
            keras.layers.LSTM(30, name="memory"),
            keras.layers.Dense(10, kernel_initializer="random_normal", name="classes"),
        ]
    )
    before = [values(variable) for variable in model.trainable_variables]
    report = dsr.sparsify(model, sparsity=0.9, include="tokens", initial_scale="active", seed=1)
    (note,) = report.notes
    assert note.startswith("As drawn, since their initializers do not scale by fans: ")
    assert "tokens/embeddings" in note and "classes/kernel" in note and "memory" not in note
    assert note in " ".join(str(report).split())
    after = {weight.name.split("/")[-1]: weight for weight in dsr.sparse_weights(model)}
    assert bits(after["embeddings"].values()) == bits(before[0].reshape(-1)[after["embeddings"].positions()])
    recurrent = after["recurrent_kernel"]
    np.testing.assert_allclose(
        recurrent.values(),
        before[2].reshape(-1)[recurrent.positions()] * math.sqrt(recurrent.size / recurrent.count()),
        rtol=1e-5,
    )


@pytest.mark.once
def test_a_network_that_does_not_begin_to_learn_at_dense_scale_does_at_active():
    def accuracy(scale):
        keras.utils.set_random_seed(0)
        model = mlp(*[100] * 5, kernel_initializer="he_normal")
        sparsity = {"classes": 0.8}
        dsr.sparsify(model, 0.97, sparsity, initial_scale=scale, seed=0)
        return fit(compiled(model, keras.optimizers.SGD(0.05, 0.9)), batches=50, epochs=4).history["accuracy"][-1]

    assert accuracy("dense") < 0.2
    assert accuracy("active") > 0.4


# What cannot be scaled


def refused(model, match, **arguments):
    """Whether `sparsify` refuses to scale the weights of a model, and leaves it as it was."""
    before = [bits(variable) for variable in model.variables]
    with pytest.raises(ValueError, match=match):
        dsr.sparsify(model, **{"sparsity": 0.9, "initial_scale": "active", **arguments})
    assert [bits(variable) for variable in model.variables] == before
    assert not dsr.sparse_weights(model)


def test_a_trained_model_is_refused():
    model = compiled(mlp(20))
    fit(model, batches=3)
    refused(
        model, r"initial_scale='active'\) scales first weights, and 'sequential.*' has been trained for 3 steps\. Leave"
    )


def test_a_model_with_an_optimizer_of_its_own_that_was_stepped_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = mlp(20)
            self.inner_step = keras.optimizers.Adam()

        def call(self, x):
            return self.inner(x)

    model = Own()
    model(batch())
    model.inner_step.build(model.trainable_variables)
    model.inner_step.iterations.assign(7)
    refused(model, "has been trained for 7 steps")


def test_a_model_inside_that_was_trained_is_refused():
    inner = compiled(mlp(20))
    fit(inner, batches=2)
    refused(keras.Sequential([keras.Input((64,)), inner, keras.layers.Dense(30)]), "has been trained for 2 steps")


@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal", "orthogonal"])
def test_weights_that_no_initializer_drew_are_refused(initializer):
    model = mlp(20, kernel_initializer=initializer)
    kernel = values(model.layers[0].kernel)
    kernel[3, 4] = 2.5
    model.layers[0].kernel.assign(kernel)
    refused(
        model, r"hidden_0/kernel' has been trained, loaded or set: its largest weight is 2\.5, and \w+ draws at most"
    )


def test_the_largest_weights_are_refused():
    refused(mlp(20), r"needs mask='random': .*Received: mask='magnitude'", mask="magnitude")


def test_initializers_that_do_not_scale_are_refused():
    model = mlp(20, kernel_initializer="random_normal")
    refused(model, r"nothing to scale: .* scales by fans\. Received: RandomNormal\. Give the layers one that does")


@pytest.mark.parametrize("scale", ["sparse", None, 2])
def test_an_unknown_scale_is_refused(scale):
    refused(mlp(20), r"sparsify\(initial_scale=\.\.\.\) must be 'active'", initial_scale=scale)


# Networks that may not begin to learn


def test_a_deep_network_without_normalization_is_told_that_it_may_not_learn():
    report = dsr.sparsify(mlp(100, 100), sparsity=0.99)
    assert deep_line(report)
    assert report.notes[0].startswith("3 weights are sparser than 0.95, and no layer normalizes: ")


class RootMeanSquareNorm(keras.layers.Layer):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    "middle",
    [
        keras.layers.BatchNormalization,
        keras.layers.LayerNormalization,
        lambda: keras.layers.GroupNormalization(2),
        keras.layers.UnitNormalization,
        RootMeanSquareNorm,
    ],
)
def test_a_deep_network_with_normalization_is_told_nothing(middle):
    assert not deep_line(dsr.sparsify(mlp(100, 100, middle=middle), sparsity=0.99))


def test_inputs_that_are_normalized_do_not_count():
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Normalization(mean=0.0, variance=1.0), *mlp(100, 100).layers]
    )
    assert deep_line(dsr.sparsify(model, sparsity=0.99))


@pytest.mark.parametrize(
    ("hidden", "arguments"),
    [
        ((100,), {}),  # not deep
        ((100, 100), {"sparsity": 0.95}),
        ((100, 100), {"distribution": {"classes": 0.5}}),  # two of three
        ((100, 100), {"mask": "magnitude"}),
        ((100, 100), {"initial_scale": "active"}),
    ],
)
def test_others_are_told_nothing(hidden, arguments):
    assert not deep_line(dsr.sparsify(mlp(*hidden), **{"sparsity": 0.99, **arguments}))


def test_nothing_is_said_where_active_scale_would_change_nothing():
    assert not deep_line(dsr.sparsify(mlp(100, 100, kernel_initializer="random_normal"), sparsity=0.99))


def test_a_trained_network_is_told_nothing():
    model = compiled(mlp(100, 100))
    fit(model, batches=2)
    assert not deep_line(dsr.sparsify(model, sparsity=0.99))
