"""`shrink` on real models: small ones worked by hand, and random ones whose outputs must stay."""

import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import keras_dsr as dsr
from keras_dsr.shrinking import shrink
from tests.helpers.networks import fill_dead, perceptron, values
from tests.helpers.shrinking_networks import fill, outputs, shrunk, units

pytestmark = pytest.mark.slow_on("jax")  # it is above the backends, and takes long there


def three_neurons(use_bias=True, activation="sigmoid") -> keras.Model:
    """Of three hidden neurons one has no input (and 0 + its bias), one no output, one both."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(3, activation=activation, name="hidden"),
            layers.Dense(2, use_bias=use_bias, name="classes"),
        ]
    )
    model.layers[0].set_weights([np.array([[0, 1, 2], [0, 3, 4]]), np.zeros(3)])
    model.layers[1].set_weights([np.array([[7, 8], [0, 0], [9, 0]]), np.array([1, 2])][: 1 + use_bias])
    return model


def test_a_constant_goes_into_the_bias_and_a_neuron_without_output_goes():
    report = shrunk(three_neurons())
    hidden, classes = report.model.layers
    assert isinstance(report.model, keras.Sequential)
    assert [hidden.name, classes.name, hidden.units] == ["hidden", "classes", 1]
    np.testing.assert_array_equal(values(hidden.kernel), [[2], [4]])
    np.testing.assert_array_equal(values(classes.kernel), [[9, 0]])
    np.testing.assert_allclose(values(classes.bias), [1 + 7 / 2, 2 + 8 / 2])  # sigmoid(0) is 1/2
    assert report.parameters == (9 + 8, 3 + 4)
    assert [(row.name, row.units, row.reason) for row in report.left] == [("classes", 1, "an output of the model")]


def test_a_layer_gets_a_bias_only_for_a_constant_that_is_not_zero():
    assert shrunk(three_neurons(use_bias=False)).model.layers[1].use_bias
    assert not shrunk(three_neurons(use_bias=False, activation="relu")).model.layers[1].use_bias


def two_convolutions(padding: str, constant: float, **of_second) -> keras.Model:
    """The first convolution returns a constant in its first channel, and nothing reads its last."""
    inputs = keras.Input((9, 9, 2))
    x = layers.Conv2D(3, 3, name="first", padding=padding)(inputs)
    outputs = layers.Conv2D(2, 3, name="second", padding=padding, **of_second)(x)
    model = fill(keras.Model(inputs, outputs), 1.0, 0)
    kernel, bias = values(model.get_layer("first").kernel), np.array([constant, 1, 2])
    kernel[..., 0] = 0
    model.get_layer("first").set_weights([kernel, bias])
    kernel = values(model.get_layer("second").kernel)
    kernel[:, :, 2] = 0
    model.get_layer("second").kernel.assign(kernel)
    return model


def test_a_constant_before_a_convolution_without_padding_goes_into_its_bias():
    assert units(shrunk(two_convolutions("valid", 5.0)))["first"] == (3, 1)
    assert units(shrunk(two_convolutions("valid", 5.0, strides=2, use_bias=False)))["first"] == (3, 1)
    assert units(shrunk(two_convolutions("valid", 5.0, dilation_rate=2)))["first"] == (3, 1)


def test_a_constant_before_a_convolution_that_pads_stays_unless_it_is_zero():
    assert units(shrunk(two_convolutions("same", 0.0)))["first"] == (3, 1)
    report = shrunk(two_convolutions("same", 5.0))
    assert units(report)["first"] == (3, 2)
    (row,) = report.left
    assert (row.name, row.units) == ("first", 1)
    assert "'second' pads with zeros" in row.reason and "'second' pads with zeros" in " ".join(str(report).split())


def residual(branch_density: float = 1.0) -> keras.Model:
    """Stem, a residual block of two convolutions, and a classifier; pre-activation, no biases."""
    inputs = keras.Input((4, 4, 2))
    stem = layers.Conv2D(4, 1, use_bias=False, name="stem")(inputs)
    x = layers.Conv2D(3, 3, padding="same", use_bias=False, name="one")(layers.ReLU()(stem))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="two")(layers.ReLU()(x))
    x = layers.GlobalAveragePooling2D()(layers.Add(name="join")([x, stem]))
    return fill(keras.Model(inputs, layers.Dense(2, name="classes")(x)), 1.0, 0)


def clear(layer, channels, axis: int) -> None:
    kernel = np.moveaxis(values(layer.kernel), axis, 0)
    kernel[channels] = 0
    layer.kernel.assign(np.moveaxis(kernel, 0, axis))


def test_a_channel_of_a_residual_join_goes_if_no_branch_needs_it():
    model = residual()
    clear(model.get_layer("classes"), [1, 2], 0)  # nothing reads 1 and 2 after the join
    clear(model.get_layer("one"), [1], -2)  # and the branch does not read 1
    report = shrunk(model)
    assert units(report) == {"stem": (4, 3), "one": (3, 3), "two": (4, 3), "classes": (2, 2)}
    assert [(row.name, row.units) for row in report.left] == [("two", 1)]
    assert "other branches of 'join'" in report.left[0].reason


def test_a_residual_branch_of_zeros_goes_with_all_that_makes_it():
    model = residual()
    clear(model.get_layer("two"), slice(None), -1)
    report = shrunk(model)
    assert units(report) == {"stem": (4, 4), "one": (3, 0), "two": (4, 0), "classes": (2, 2)}
    assert [layer.name for layer in report.model.layers if layer.weights] == ["stem", "classes"]
    assert not report.left


def test_a_dead_layer_keeps_one_unit():
    model = fill(keras.Sequential([keras.Input((3,)), layers.Dense(4, name="dead"), layers.Dense(2)]), 0.0, 0)
    report = shrunk(model)
    assert units(report)["dead"] == (4, 1)
    assert ("dead", 1, "a layer keeps one unit at least") in [(row.name, row.units, row.reason) for row in report.left]


def test_layers_that_mix_channels_keep_all_of_them_and_are_named():
    inputs = keras.Input((4, 3))
    x = layers.LSTM(5, name="recurrent")(layers.Dense(6, name="before")(inputs))
    x = layers.Dense(4, name="between", activation="softmax")(x)
    model = fill(keras.Model(inputs, layers.Dense(2)(layers.LayerNormalization(name="mixed")(x))), 0.0, 0)
    report = shrunk(model)
    assert units(report)["before"] == (6, 6) and units(report)["between"] == (4, 4)
    assert report.barriers == (("recurrent", "LSTM"), ("mixed", "LayerNormalization"))
    assert ("before", 6, "'recurrent' is not looked through") in [(r.name, r.units, r.reason) for r in report.left]
    shown = " ".join(str(report).split())
    assert "Not looked through" in shown and "recurrent (LSTM)" in shown


def test_a_shared_layer_keeps_its_channels_and_its_weights():
    one, other = keras.Input((3,)), keras.Input((3,))
    shared = layers.Dense(4, activation="relu", name="shared")
    x = layers.Concatenate()([shared(one), shared(other)])
    report = shrunk(fill(keras.Model([one, other], layers.Dense(2)(x)), 0.3, 0))
    assert units(report)["shared"] == (4, 4)
    assert report.barriers == (("shared", "Dense"),)


def test_models_inside_a_model_are_taken_apart():
    def inner(name):
        return keras.Sequential([keras.Input((6,)), layers.Dense(6, activation="relu", name="dense")], name=name)

    inputs = keras.Input((6,))
    model = fill(keras.Model(inputs, layers.Dense(2)(inner("second")(inner("first")(inputs)))), 0.2, 3)
    report = shrunk(model)
    assert list(units(report))[:2] == ["dense", "second_dense"]
    assert sum(after for _, after in units(report).values()) < 14
    assert not report.barriers


def test_a_sequential_model_around_a_residual_one_becomes_functional():
    inputs = keras.Input((6,))
    block = keras.Model(inputs, layers.Add()([inputs, layers.Dense(6, activation="relu")(inputs)]))
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6), block, layers.Dense(2)])
    report = shrunk(fill(model, 0.2, 0))
    assert not isinstance(report.model, keras.Sequential)
    assert report.parameters[1] < report.parameters[0]


def test_a_layer_without_a_usable_configuration_is_named():
    class Scale(layers.Layer):
        def __init__(self, factor):
            super().__init__(name="scale")
            self.factor = factor

        def call(self, inputs):
            return inputs * self.factor

        def get_config(self):
            return {"name": self.name}

    with pytest.raises(ValueError, match=r"failed for 'scale', of the class Scale\. Give it a `get_config`"):
        shrink(keras.Sequential([keras.Input((3,)), layers.Dense(2), Scale(2.0)]))


def test_a_layer_that_is_not_called_as_at_inference_is_not_looked_through():
    inputs = keras.Input((3,))
    x = layers.Dropout(0.5, name="always")(layers.Dense(4)(inputs), training=True)
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert shrink(model).barriers == (("always", "Dropout"),)


def test_a_model_written_with_operators_is_looked_through():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="one")(inputs)
    x = keras.ops.sigmoid(x + layers.Dense(8, name="two")(keras.ops.relu(x)))
    report = shrunk(fill(keras.Model(inputs, layers.Dense(2)(x)), 0.1, 0))
    assert not report.barriers and report.parameters[1] < report.parameters[0]


def test_inputs_and_outputs_keep_names_structure_and_shape():
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((3,), name="b")}
    hidden = layers.Dense(5, activation="tanh", name="hidden")(layers.Concatenate()([inputs["a"], inputs["b"]]))
    returned = {"hidden": hidden, "sum": layers.Dense(2)(hidden)}
    report = shrunk(fill(keras.Model(inputs, returned, name="two_by_two"), 0.1, 0))
    assert report.model.name == "two_by_two"
    assert set(report.model.output) == {"hidden", "sum"}
    assert report.model.output["hidden"].shape == (None, 5)


@pytest.mark.parametrize("kind", ["layers", "optimizer", "tied"])
def test_every_kind_of_sparse_model_is_read_as_it_computes_and_left_as_it_was(kind, tmp_path):
    if kind == "layers":
        model = perceptron(sparsity=0.97)
        fill_dead(model.layers[0], 3.0)  # stored where no network sees it
    elif kind == "optimizer":
        model = keras.Sequential([keras.Input((64,)), layers.Dense(24, "relu"), layers.Dense(10)])
        model.compile(dsr.SparseOptimizer("adam", sparsity=0.97), "mse")
        dsr.sparse_weights(model)
    else:
        model = keras.Sequential([keras.Input((64,)), dsr.TiedDense(24, 0.9, activation="relu"), layers.Dense(10)])
        fill_columns = values(model.layers[1].kernel)
        fill_columns[:12] = 0
        model.layers[1].kernel.assign(fill_columns)
        model.layers[1].bias.assign(np.arange(10))
    before, kinds = outputs(model)[0], [type(layer) for layer in model.layers]
    masks = [values(weight.mask) for weight in dsr.sparse_weights(model)]
    report = shrink(model)
    np.testing.assert_array_equal(outputs(model)[0], before)
    assert [type(layer) for layer in model.layers] == kinds
    for weight, mask in zip(dsr.sparse_weights(model), masks, strict=True):
        np.testing.assert_array_equal(values(weight.mask), mask)
    np.testing.assert_allclose(outputs(report.model)[0], before, rtol=1e-4, atol=1e-5)
    assert units(report)[report.rows[0].name][1] < 24

    report.model.save(tmp_path / "small.keras")
    with zipfile.ZipFile(tmp_path / "small.keras") as file:
        assert b"keras_dsr" not in file.read("config.json")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(outputs(loaded)[0], outputs(report.model)[0])


def test_precision_policies_stay():
    inputs = keras.Input((6,))
    x = layers.Dense(16, activation="sigmoid", dtype="mixed_bfloat16")(inputs)
    model = fill(keras.Model(inputs, layers.Dense(2, dtype="float32")(x)), 0.1, 0)
    report = shrunk(model, tolerance=0.03)
    policies = [layer.dtype_policy.name for layer in report.model.layers if layer.weights]
    assert policies == ["mixed_bfloat16", "float32"]
    assert report.model.layers[1].units < 16


@pytest.mark.backends("tensorflow")  # Keras does not compute all in float64 on the others
def test_constants_have_the_precision_of_the_model():
    inputs = keras.Input((6,), dtype="float64")
    x = layers.Dense(16, activation="sigmoid", dtype="float64")(inputs)
    x = keras.ops.tanh(layers.Dense(16, dtype="float64")(x))
    model = fill(keras.Model(inputs, layers.Dense(2, dtype="float64")(x)), 0.1, 0)
    model.layers[-1].bias.assign([1 / 3, 2 / 3])
    assert shrunk(model, tolerance=1e-14).model.layers[1].units < 16


@pytest.mark.backends("tensorflow")  # the other backends have no tensors of strings
def test_what_looked_up_strings_have_learned_stays():
    tf = pytest.importorskip("tensorflow")

    def preprocessed(normalization):
        numbers, words = keras.Input((2,), name="numbers"), keras.Input((1,), dtype="string", name="words")
        x = layers.Concatenate()([normalization(numbers), looked_up(words)])
        return keras.Model([numbers, words], layers.Dense(2)(layers.Dense(6, activation="relu")(x)))

    normalization, looked_up = layers.Normalization(), layers.StringLookup(output_mode="multi_hot")
    normalization.adapt(np.array([[1.0, 20.0], [3.0, 60.0]]))
    looked_up.adapt(["red", "green"])
    given = [keras.ops.convert_to_tensor([[1.0, 2.0], [3.0, 4.0]]), tf.constant([["green"], ["blue"]])]
    inner = keras.Sequential([keras.Input((2,)), normalization])
    for layer in (normalization, lambda x: inner(inner(x))):  # the inner model is called twice, so not taken apart
        model = preprocessed(layer)
        np.testing.assert_allclose(shrink(model).model(given), model(given), rtol=1e-5)


def test_what_cannot_be_shrunk_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    own = Own()
    own(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"functional or sequential.*'own'.*Own\. Build it as keras\.Model"):
        shrink(own)
    with pytest.raises(ValueError, match=r"built model: 'later' has no weights yet\. Give it an `Input`"):
        shrink(keras.Sequential([layers.Dense(2)], name="later"))


FEWER = 4 if keras.backend.backend() == "jax" else 1  # which compiles every operation at every shape
ACTIVATIONS = ("relu", "sigmoid", "tanh", "linear", "elu", "softplus", "gelu")


def random_perceptron(rng) -> keras.Model:
    x = inputs = keras.Input((5,))
    for _ in range(rng.integers(1, 4)):
        size, activation = int(rng.integers(1, 9)), str(rng.choice(ACTIVATIONS))
        if rng.random() < 0.4:
            x = layers.Dense(size, use_bias=False)(x)
            x = layers.Activation(activation)(layers.BatchNormalization(scale=bool(rng.random() < 0.5))(x))
        else:
            x = layers.Dense(size, activation=activation, use_bias=bool(rng.random() < 0.5))(x)
        if rng.random() < 0.3:
            x = layers.Add()([x, layers.Dense(size, use_bias=False)(x)])
        if rng.random() < 0.3:
            x = layers.Concatenate()([x, layers.Dense(3, activation="relu")(x)])
        if rng.random() < 0.2:
            x = layers.Multiply()([x, layers.Dense(x.shape[-1], activation="hard_sigmoid")(x)])
    return keras.Model(inputs, layers.Dense(2, use_bias=bool(rng.random() < 0.5))(x))


def random_convolutional(rng) -> keras.Model:
    x = inputs = keras.Input((6, 6, 2))
    for _ in range(rng.integers(1, 3)):
        padding, activation = str(rng.choice(["same", "valid"])), str(rng.choice(ACTIVATIONS))
        x = layers.Conv2D(int(rng.integers(1, 6)), int(rng.integers(1, 3)), padding=padding, use_bias=False)(x)
        if rng.random() < 0.5:
            x = layers.BatchNormalization()(x)
        x = layers.Activation(activation)(x)
        if rng.random() < 0.5:
            y = layers.Conv2D(x.shape[-1], 3, padding="same")(layers.BatchNormalization()(x))
            x = layers.Add()([y, x])
        if rng.random() < 0.3:
            x = layers.DepthwiseConv2D(2, padding=padding, activation="relu")(x)
        if rng.random() < 0.3:
            x = layers.Concatenate()([x, layers.Conv2D(2, 1)(x)])
        if rng.random() < 0.2:
            x = layers.ZeroPadding2D(1)(x)
    pool = rng.choice([layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D])
    x = pool()(layers.AveragePooling2D(2, padding="same")(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(5, activation="relu")(x)))


@pytest.mark.parametrize("build", [random_perceptron, random_convolutional])
@settings(max_examples=settings.default.max_examples // FEWER)
@given(seed=st.integers(0, 2**31), density=st.sampled_from([0.0, 0.05, 0.2, 0.5]))
def test_random_networks_return_what_they_did_and_shrink_once(build, seed, density):
    report = shrunk(fill(build(np.random.default_rng(seed)), density, seed))
    assert not report.barriers
    again = shrink(report.model)
    assert again.parameters == (report.parameters[1], report.parameters[1])
