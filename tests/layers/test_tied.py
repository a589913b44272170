import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.conversion.convert import stripped
from keras_dsr.layers.hashing import bank_size
from tests.helpers.files import run_without_keras_dsr
from tests.helpers.networks import batch, bits, compiled, digits, fit, gradient_of, selected, state_bits, values

LAYERS = {
    "dense": (lambda **k: dsr.TiedDense(12, **k), (7,)),
    "conv2d": (lambda **k: dsr.TiedConv2D(6, (3, 2), **k), (8, 8, 4)),
    "grouped": (lambda **k: dsr.TiedConv2D(6, 3, groups=2, padding="same", **k), (8, 8, 4)),
    "strided": (lambda **k: dsr.TiedConv2D(6, 1, strides=2, use_bias=False, **k), (8, 8, 4)),
}
pytestmark = pytest.mark.slow_on("tensorflow", "jax")
every_layer = pytest.mark.parametrize("kind", LAYERS)
signed_or_not = pytest.mark.parametrize("signed", [False, True])


def built(kind, **arguments):
    make, shape = LAYERS[kind]
    layer = make(**{"budget": 0.3, "seed": 3, **arguments})
    layer.build((None, *shape))
    return layer


def inputs(kind, examples=2):
    return np.random.default_rng(0).normal(size=(examples, *LAYERS[kind][1])).astype("float32")


def expanded(layer):
    """The full kernel, in numpy."""
    factors = 1 if layer._signs is None else layer._signs
    return (values(layer.bank)[layer._index] * factors).astype("float32").reshape(layer.kernel.shape)


def convolutional_model(seed=1, dtype=None):
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            dsr.TiedConv2D(8, 3, budget=30, signed=True, seed=seed, activation="relu", dtype=dtype),
            keras.layers.Flatten(),
            dsr.TiedDense(10, budget=0.2, seed=seed, dtype=dtype),
        ]
    )


def mixed_model():
    """Tied, sparse and stock layers, one of them nested and one shared."""
    inputs = keras.Input((64,))
    shared = dsr.TiedDense(64, budget=0.05, signed=True, activation="relu")
    x = shared(shared(inputs))
    x = keras.Sequential([keras.Input((64,)), dsr.TiedDense(20, budget=50, use_bias=False)])(x)
    x = dsr.SparseDense(20, sparsity=0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


MODELS = [convolutional_model, mixed_model]
every_model = pytest.mark.parametrize("build", MODELS)


# The expanded kernel


def test_the_kernel_of_a_small_layer_worked_by_hand():
    layer = dsr.TiedDense(3, budget=2)
    layer.build((None, 2))
    layer._index = np.array([1, 0, 0, 1, 1, 0], "int32")
    layer.bank.assign([2.0, 5.0])
    np.testing.assert_array_equal(values(layer.kernel), [[5, 2, 2], [5, 5, 2]])
    np.testing.assert_array_equal(values(layer(np.array([[1.0, 10.0]]))), [[55, 52, 22]])
    layer._signs = np.array([1, 1, -1, -1, 1, 1], "int8")
    np.testing.assert_array_equal(values(layer.kernel), [[5, 2, -2], [-5, 5, 2]])


@signed_or_not
@every_layer
def test_the_output_is_that_of_the_stock_layer_with_the_expanded_kernel(kind, signed):
    layer = built(kind, signed=signed)
    config = {k: v for k, v in layer.get_config().items() if k not in ("budget", "signed", "seed")}
    twin = layer.stock_class.from_config(config)
    twin.build((None, *LAYERS[kind][1]))
    bias = [] if layer.bias is None else [np.arange(layer.bias.shape[0], dtype="float32")]
    twin.set_weights([expanded(layer), *bias])
    layer.set_weights([values(layer.bank), *bias])
    assert bits(layer.kernel) == expanded(layer).tobytes()
    assert bits(layer(inputs(kind))) == bits(twin(inputs(kind)))


# PyTorch 2.13 gets the kernel gradient of a 1 x 1 convolution with strides wrong on a CPU, also of a stock layer.
WITH_GRADIENT = [
    pytest.param(kind, marks=pytest.mark.backends("tensorflow", "jax")) if kind == "strided" else kind
    for kind in LAYERS
]


@signed_or_not
@pytest.mark.parametrize("kind", WITH_GRADIENT)
def test_the_gradient_of_a_value_is_the_sum_over_its_positions(kind, signed):
    layer = built(kind, signed=signed)
    x = keras.ops.convert_to_tensor(inputs(kind))
    stock = type(layer).stock_class
    gradient = gradient_of(lambda: keras.ops.sum(keras.ops.square(layer(x))), layer.bank)
    assert keras.ops.is_tensor(gradient)  # TensorFlow has sparse ones too

    kernel = keras.Variable(expanded(layer))

    def loss():  # the bias is 0
        product = x @ kernel.value if stock is keras.layers.Dense else layer.convolution_op(x, kernel.value)
        return keras.ops.sum(keras.ops.square(product))

    of_kernel = values(gradient_of(loss, kernel)).reshape(-1)
    expected = np.zeros(layer.bank.shape, "float64")
    np.add.at(expected, layer._index, of_kernel * (layer._signs if signed else 1))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-3)


@settings(max_examples=10)
@given(
    inputs=st.integers(1, 12),
    units=st.integers(1, 12),
    budget=st.one_of(st.integers(1, 144), st.floats(0.001, 0.999)),
    seed=st.integers(0, 2**40),
    signed=st.booleans(),
)
def test_any_shape_budget_and_seed(inputs, units, budget, seed, signed):
    layer = dsr.TiedDense(units, budget=budget, seed=seed, signed=signed)
    if isinstance(budget, int) and budget > inputs * units:
        with pytest.raises(ValueError, match=f"at most {inputs * units}"):
            layer.build((None, inputs))
        return
    layer.build((None, inputs))
    assert layer.bank.shape == (bank_size(budget, (inputs, units), ""),)
    assert layer.kernel.shape == (inputs, units)
    assert set(np.abs(values(layer.kernel)).reshape(-1)) <= set(np.abs(values(layer.bank)))
    again = dsr.TiedDense.from_config(layer.get_config())
    again.build((None, inputs))
    again.set_weights(layer.get_weights())
    assert bits(again.kernel) == bits(layer.kernel)


# The bank


@every_layer
def test_the_bank_and_the_bias_are_the_only_variables(kind):
    layer = built(kind, budget=20)
    names = ["bank"] if layer.bias is None else ["bank", "bias"]
    assert [variable.name for variable in layer.variables] == names
    assert [variable.name for variable in layer.trainable_variables] == names
    assert layer.count_params() == 20 + (0 if layer.bias is None else layer.bias.shape[0])
    assert layer.bank.path.endswith(f"{layer.name}/bank")


def test_the_initial_values_have_the_distribution_for_the_full_kernel():
    layer = dsr.TiedDense(500, budget=0.1, kernel_initializer="he_normal")
    layer.build((None, 200))
    assert values(layer.bank).std() == pytest.approx(np.sqrt(2 / 200), rel=0.05)
    assert values(layer.bank).mean() == pytest.approx(0, abs=0.005)
    convolution = dsr.TiedConv2D(64, 3, budget=0.3)
    convolution.build((None, 8, 8, 32))
    limit = np.sqrt(6 / (9 * 32 + 9 * 64))
    assert limit * 0.99 < np.abs(values(convolution.bank)).max() <= limit


def test_a_seeded_initializer_gives_the_first_weights_of_the_full_kernel():
    layer = built("dense", budget=5, kernel_initializer=keras.initializers.GlorotUniform(seed=4))
    full = values(keras.initializers.GlorotUniform(seed=4)((7, 12))).reshape(-1)
    assert bits(layer.bank) == full[:5].tobytes()


def test_a_regularizer_sees_each_shared_value_once():
    layer = built("dense", kernel_regularizer=keras.regularizers.L2(1.0))
    assert float(layer.losses[0]) == pytest.approx(float(np.square(values(layer.bank)).sum()), rel=1e-6)


def test_the_seed_decides_the_index_and_none_draws_another():
    first, same, other = (built("dense", seed=seed, signed=True) for seed in (3, 3, 4))
    assert bits(first._index) == bits(same._index) != bits(other._index)
    assert bits(first._signs) == bits(same._signs) != bits(other._signs)
    assert bits(built("dense", seed=None)._index) != bits(built("dense", seed=None)._index)
    assert bits(built("dense", signed=False)._index) == bits(first._index)


def test_set_random_seed_fixes_the_index_of_a_layer_without_a_seed():
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        drawn.append(bits(built("conv2d", seed=None)._index))
    assert drawn[0] == drawn[1]


# Training


@pytest.mark.parametrize("run_eagerly", selected([False, True], [False]))
def test_fit_learns_the_digits(run_eagerly):
    model = compiled(convolutional_model(), keras.optimizers.Adam(0.01), run_eagerly=run_eagerly)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 30 + 8 + round(0.2 * 2880) + 10
    fit(model, batches=40, epochs=1 if run_eagerly else 5)
    assert model.evaluate(*digits(), verbose=0)[1] > (0.6 if run_eagerly else 0.9)


@pytest.mark.backends("tensorflow")  # on JAX it always is, on torch never
def test_fit_under_xla():
    model = compiled(convolutional_model(), keras.optimizers.Adam(0.01), jit_compile=True)
    before = bits(model.layers[1].bank)
    fit(model, batches=2)
    assert bits(model.layers[1].bank) != before


class LateModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = dsr.TiedDense(20, budget=0.2, signed=True, activation="relu")
        self.classes = dsr.TiedDense(10, budget=0.5)

    def call(self, x):
        return self.classes(self.hidden(x))


def test_a_model_that_fit_builds():
    model = compiled(LateModel())
    fit(model)
    assert model.hidden.bank.shape == (256,)
    assert bits(model.hidden.kernel) == expanded(model.hidden).tobytes()


HALF = [(kind, half, signed) for kind in LAYERS for half in ("float16", "bfloat16") for signed in (False, True)]
SOME_HALF = [("dense", "float16", True), ("conv2d", "bfloat16", False)]


@pytest.mark.parametrize(
    ("kind", "compute", "signed"),
    [pytest.param(*case, marks=[] if case in SOME_HALF else pytest.mark.thorough) for case in HALF],
)
def test_mixed_precision_computes_in_half_and_stores_in_full(kind, compute, signed):
    layer = built(kind, dtype=f"mixed_{compute}", signed=signed)
    output = layer(inputs(kind))
    assert keras.backend.standardize_dtype(output.dtype) == compute
    assert layer.bank.dtype == "float32"
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == "float32"
    twin = layer.stock_class.from_config(
        {k: v for k, v in layer.get_config().items() if k not in ("budget", "signed", "seed")}
    )
    twin.build((None, *LAYERS[kind][1]))
    twin.set_weights([expanded(layer), *layer.get_weights()[1:]])
    assert bits(output) == bits(twin(inputs(kind)))


@pytest.mark.parametrize("policy", selected(["mixed_float16", "mixed_bfloat16"], ["mixed_float16"]))
def test_mixed_precision_trains(policy):
    model = compiled(convolutional_model(dtype=policy), keras.optimizers.Adam(0.01))
    fit(model, batches=40, epochs=3)
    assert model.evaluate(*digits(), verbose=0)[1] > 0.8


# Configuration and refusals


@pytest.mark.parametrize("budget", [7, 0.4])
@every_layer
def test_the_configuration_makes_the_same_layer(kind, budget):
    layer = built(kind, budget=budget, signed=True, seed=None, activation="relu")
    config = layer.get_config()
    assert (config["budget"], config["signed"], config["seed"]) == (budget, True, layer.seed)
    assert type(config["budget"]) is type(budget)
    again = type(layer).from_config(config)
    again.build((None, *LAYERS[kind][1]))
    assert again.get_config() == config
    assert bits(again._index) == bits(layer._index)
    assert bits(again._signs) == bits(layer._signs)


@pytest.mark.parametrize("budget", [True, 0, 1.0, "0.1"])
@every_layer
def test_a_budget_out_of_range_is_refused_at_once(kind, budget):
    with pytest.raises(ValueError, match=r"Tied(Dense|Conv2D)\(budget=\.\.\.\) must be an int >= 1") as e:
        LAYERS[kind][0](budget=budget)
    assert str(e.value).endswith(f"Received: budget={budget!r}")


def test_a_bank_larger_than_the_kernel_is_refused_at_build():
    with pytest.raises(ValueError, match=r"TiedDense\(budget=\.\.\.\) must be at most 84, the number of positions"):
        built("dense", budget=85)
    assert built("dense", budget=84).bank.shape == (84,)


@pytest.mark.parametrize("seed", [-1, 0.5, True, "1"])
def test_a_seed_that_is_no_count_is_refused(seed):
    with pytest.raises(
        ValueError, match=r"TiedDense\(seed=\.\.\.\) must be None or an int of at least 0\. Received: seed="
    ):
        dsr.TiedDense(4, seed=seed)


def test_signed_must_be_a_bool():
    with pytest.raises(ValueError, match=r"TiedDense\(signed=\.\.\.\) must be True or False\. Received: signed='no'"):
        dsr.TiedDense(4, signed="no")


@every_layer
def test_a_kernel_constraint_is_refused(kind):
    with pytest.raises(ValueError, match=r"Tied\w+\(kernel_constraint=\.\.\.\) must be None: Keras would apply it to"):
        LAYERS[kind][0](kernel_constraint="non_neg")


@every_layer
def test_lora_is_refused(kind):
    with pytest.raises(
        NotImplementedError, match=r"cannot have LoRA weights: .*Call `keras_dsr\.strip\(model\)` first"
    ):
        LAYERS[kind][0](lora_rank=2)
    layer = built(kind)
    with pytest.raises(NotImplementedError, match="cannot have LoRA weights"):
        layer.enable_lora(2)
    assert layer.bank.trainable


@pytest.mark.parametrize("mode", ["int8", "float8"])
@every_layer
def test_quantization_is_refused(kind, mode):
    layer = built(kind)
    before = bits(layer(inputs(kind)))
    with pytest.raises(NotImplementedError, match=r"cannot be quantized: .*Call `keras_dsr\.strip\(model\)` first"):
        layer.quantize(mode)
    assert bits(layer(inputs(kind))) == before
    with pytest.raises(NotImplementedError, match="cannot be quantized"):
        built(kind, dtype=f"{mode}_from_float32")


def test_a_stripped_layer_can_be_quantized_and_have_lora():
    model = dsr.strip(convolutional_model())
    model.layers[1].enable_lora(2)
    model.layers[-1].quantize("int8")
    assert model.layers[-1].dtype_policy.quantization_mode == "int8"
    assert np.isfinite(values(model(batch()))).all()


@pytest.mark.backends("tensorflow", "jax")  # on torch the message of any property is lost
def test_the_kernel_of_an_unbuilt_layer_is_refused_as_by_keras():
    with pytest.raises(AttributeError, match="build the layer"):
        _ = dsr.TiedDense(4).kernel


# Files


def stored_sizes(path):
    sizes = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
    return sorted(sizes)


@pytest.mark.parametrize(
    ("build", "suffix"),
    [
        (mixed_model, ".keras"),
        (convolutional_model, ".weights.h5"),
        (mixed_model, ".h5"),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in [(convolutional_model, ".keras"), (mixed_model, ".weights.h5"), (convolutional_model, ".h5")]
        ),
    ],
)
def test_files_restore_the_network_exactly(tmp_path, build, suffix):
    model = build()
    path = tmp_path / f"model{suffix}"
    if suffix == ".weights.h5":
        model.save_weights(path)
        loaded = keras.models.clone_model(model)
        assert bits(loaded(batch())) != bits(model(batch()))
        loaded.load_weights(path)
    else:
        model.save(path)
        loaded = keras.models.load_model(path)
    assert bits(loaded(batch())) == bits(model(batch()))
    assert list(map(bits, loaded.variables)) == list(map(bits, model.variables))


def test_files_hold_the_bank_and_the_bias_only(tmp_path):
    model = keras.Sequential([keras.Input((300,)), dsr.TiedDense(400, budget=100, signed=True)])
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        archive.extract("model.weights.h5", tmp_path / "archive")
    for path in (tmp_path / "model.weights.h5", tmp_path / "archive" / "model.weights.h5"):
        assert stored_sizes(path) == [100, 400]
        assert path.stat().st_size < 20_000  # a full kernel would take 480,000 bytes
    assert (tmp_path / "model.keras").stat().st_size < 30_000


def test_training_goes_on_from_a_file_as_without_it(tmp_path):
    model = compiled(convolutional_model())
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        fit(each)
    assert state_bits(loaded) == state_bits(model)


def test_weights_of_a_bank_of_another_size_are_refused(tmp_path):
    models = [keras.Sequential([keras.Input((7,)), dsr.TiedDense(12, budget=budget)]) for budget in (20, 21)]
    models[0].save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="shape"):
        models[1].load_weights(tmp_path / "a.weights.h5")


# Stripping


def types_of(model):
    return [type(layer) for layer in model._flatten_layers()]


@every_model
def test_strip_leaves_the_same_network_of_stock_layers(build):
    model = build()
    before = bits(model(batch()))
    assert dsr.strip(model) is model
    assert bits(model(batch())) == before
    assert not any(cls.__module__.startswith("keras_dsr") for cls in types_of(model))
    assert {variable.name for variable in model.variables} == {"kernel", "bias"}
    assert state_bits(dsr.strip(model)) == state_bits(model)


def test_strip_puts_the_kernel_where_a_stock_layer_has_it():
    model = convolutional_model()
    kernels = [expanded(model.layers[1]), expanded(model.layers[-1])]
    dsr.strip(model)
    conv, dense = model.layers[1], model.layers[-1]
    assert [v.path.split("/")[-2:] for v in model.trainable_variables] == [
        [layer.name, name] for layer in (conv, dense) for name in ("kernel", "bias")
    ]
    assert [values(layer._kernel).tobytes() for layer in (conv, dense)] == [kernel.tobytes() for kernel in kernels]
    assert not any(hasattr(conv, name) for name in ("_index", "_signs", "bank"))


def test_a_frozen_layer_is_stripped_frozen():
    model = convolutional_model()
    model.layers[1].trainable = False
    dsr.strip(model)
    assert not model.layers[1]._kernel.trainable
    assert len(model.trainable_variables) == 2
    model.layers[1].trainable = True
    assert len(model.trainable_variables) == 4


def test_a_regularizer_goes_to_the_kernel_of_a_stripped_layer():
    regularizer = keras.regularizers.L2(1.0)
    model = keras.Sequential([keras.Input((7,)), dsr.TiedDense(12, kernel_regularizer=regularizer)])
    bank_loss = float(model.losses[0])
    kernel_loss = float(np.square(expanded(model.layers[0])).sum())
    with stripped(model):
        assert float(model.losses[0]) == pytest.approx(kernel_loss, rel=1e-5)
    assert float(model.losses[0]) == pytest.approx(bank_loss, rel=1e-6)


@pytest.mark.parametrize("policy", selected([None, "mixed_float16"], ["mixed_float16"]))
def test_a_stripped_compiled_model_trains_with_a_fresh_optimizer(policy):
    model = compiled(convolutional_model(dtype=policy), keras.optimizers.SGD(0.05, momentum=0.9))
    fit(model)
    old, results = model.optimizer, model.evaluate(*digits(), verbose=0)
    dsr.strip(model)
    assert model.evaluate(*digits(), verbose=0) == pytest.approx(results)
    assert model.optimizer is not old
    assert model.optimizer.get_config() == old.get_config()
    assert int(model.optimizer.iterations) == 0
    before = values(model.layers[-1]._kernel)
    fit(model)
    assert (values(model.layers[-1]._kernel) != before).any()
    assert int(model.optimizer.iterations) == 6


def test_inside_stripped_layers_are_stock_and_after_it_as_they_were():
    for build in MODELS:
        model = compiled(build())
        fit(model)
        variables, before, classes = [*map(id, model.variables)], state_bits(model), types_of(model)
        output = bits(model(batch()))
        with stripped(model):
            assert not any(cls.__module__.startswith("keras_dsr") for cls in types_of(model))
            assert bits(model(batch())) == output
        assert types_of(model) == classes
        assert [*map(id, model.variables)] == variables
        assert state_bits(model) == before
        fit(model)
        assert state_bits(model) != before


def test_an_error_inside_stripped_brings_the_bank_back():
    model = mixed_model()
    before, classes, variables = state_bits(model), types_of(model), [*map(id, model.variables)]
    with pytest.raises(KeyError), stripped(model):
        raise KeyError
    assert (state_bits(model), types_of(model), [*map(id, model.variables)]) == (before, classes, variables)


def test_strip_refuses_an_unbuilt_tied_layer():
    with pytest.raises(ValueError, match="has not been built"):
        dsr.strip(keras.Sequential([dsr.TiedDense(4)]))

    class Unused(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.unused = keras.layers.Dense(4), dsr.TiedDense(4, name="unused")

        def call(self, x):
            return self.used(x)

    model = Unused()
    model(batch())
    with pytest.raises(ValueError, match="a layer of it, 'unused', has not been built"):
        dsr.strip(model)


def test_training_goes_on_as_if_nothing_had_been_saved(tmp_path):
    def trained(interlude):
        keras.utils.set_random_seed(0)
        model = compiled(convolutional_model())
        fit(model)
        interlude(model)
        fit(model)
        return model

    def written(model):
        dsr.save(model, tmp_path / "model.keras")
        if keras.backend.backend() == "tensorflow":
            dsr.export(model, tmp_path / "exported")

    assert state_bits(trained(written)) == state_bits(trained(lambda model: None))


def test_a_saved_model_is_plain_keras_and_evaluates_the_same(tmp_path):
    model = compiled(convolutional_model())
    fit(model)
    dsr.save(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not any(cls.__module__.startswith("keras_dsr") for cls in types_of(loaded))
    assert bits(loaded(batch())) == bits(model(batch()))
    assert loaded.evaluate(*digits(), verbose=0) == pytest.approx(model.evaluate(*digits(), verbose=0))
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = archive.read("config.json").decode()
    assert not any(word in config for word in ("keras_dsr", "budget", "signed"))


@pytest.mark.thorough  # as test_save and test_export do with other layers
@pytest.mark.backends("tensorflow")
def test_saved_models_and_exports_work_where_keras_dsr_cannot_be_imported(tmp_path):
    np.save(tmp_path / "images.npy", batch(20))
    for number, build in enumerate(MODELS):
        model = build()
        dsr.save(model, tmp_path / f"{number}.keras")
        dsr.export(model, tmp_path / f"{number}")
        np.save(tmp_path / f"{number}.npy", model.predict(batch(20), verbose=0))
    run_without_keras_dsr(
        f"""
import keras, numpy as np, tensorflow as tf
images = np.load("images.npy")
for number in range({len(MODELS)}):
    expected = np.load(f"{{number}}.npy")
    outputs = keras.models.load_model(f"{{number}}.keras").predict(images, verbose=0)
    np.testing.assert_array_equal(outputs, expected)
    served = tf.saved_model.load(str(number))
    np.testing.assert_allclose(served.serve(images), expected, atol=1e-5)
""",
        tmp_path,
    )
