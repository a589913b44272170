"""Which storage a layer gets: what is asked for, what is possible, and with "auto" what a step was faster in."""

import random
import re
import warnings

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.layers import CompactConv2D, CompactDense, CompactEinsumDense
from keras_dsr.layers.storage_choice import MARGIN
from tests.helpers.networks import active_counts, bits, compiled, fit, selected, state_bits, values

pytestmark = pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends, and takes long there


def perceptron(storage="auto", **settings) -> keras.Model:
    """A wide layer with few weights, and a small one with many."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            dsr.SparseDense(1024, sparsity=0.9, mask_seed=1, activation="relu", name="first"),
            dsr.SparseDense(2048, sparsity=0.998, mask_seed=1, name="wide", storage=storage, **settings),
            dsr.SparseDense(10, sparsity=0.5, mask_seed=2, name="classes", storage=storage, **settings),
        ]
    )


def check_choice(choice) -> None:
    assert set(choice.seconds) == {"masked", "compact"}
    assert min(choice.seconds.values()) > 0
    is_faster = choice.seconds["masked"] >= MARGIN * choice.seconds["compact"]
    assert choice.storage == ("compact" if is_faster else "masked")


def test_each_layer_is_made_what_was_faster_and_says_so(capsys, tmp_path):
    model = compiled(perceptron(batch_size=32))
    printed = capsys.readouterr().out
    first, *others = model.layers
    assert not hasattr(first, "storage_choice")
    for layer in others:
        choice = layer.storage_choice
        check_choice(choice)
        assert isinstance(layer, {"masked": dsr.SparseDense, "compact": CompactDense}[choice.storage])
        assert f"SparseDense {layer.name!r}: {choice.storage} storage, as {choice.why}\n" in printed
    milliseconds = f"{others[0].storage_choice.seconds['masked'] * 1e3:,.2f} ms masked"
    assert f"a step with inputs of shape (32, 1024) takes {milliseconds}" in printed

    before = active_counts(model)
    fit(model, dsr.DSRCallback(target=50, period=2))
    assert sum(active_counts(model)) == sum(before) == 6_554 + 4_194 + 10_240
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    assert state_bits(loaded) == state_bits(model)
    assert capsys.readouterr().out == ""  # nothing was measured again

    dsr.strip(model)
    assert not any(hasattr(layer, name) for layer in model.layers for name in ("storage_choice", "pattern"))


def test_measuring_draws_no_random_numbers():
    drawn = []
    for storage in ("masked", "auto", "auto"):  # the second time nothing is measured
        keras.utils.set_random_seed(1)
        model = perceptron(storage)
        drawn.append(
            (random.random(), np.random.random(), bits(model.layers[0].kernel), bits(keras.random.normal((3,))))
        )
    assert drawn[1] == drawn[2]
    assert drawn[0][:3] == drawn[1][:3]


def test_it_is_chosen_when_a_subclassed_model_is_built_inside_fit():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.wide = dsr.SparseDense(512, sparsity=0.99, mask_seed=1, storage="auto")
            self.classes = keras.layers.Dense(10)

        def call(self, inputs):
            return self.classes(self.wide(inputs))

    model = compiled(Network())
    fit(model)
    fit(model, dsr.DSRCallback(target=20, period=2))
    check_choice(model.wide.storage_choice)
    assert active_counts(model) == [328]


def test_before_it_is_built_a_layer_is_copied_with_what_is_to_be_chosen():
    layer = dsr.SparseDense(8, storage="auto", capacity=2.0, batch_size=16)
    config = layer.get_config()
    assert (config["storage"], config["capacity"], config["batch_size"]) == ("auto", 2.0, 16)
    assert dsr.SparseDense.from_config(config).get_config() == config
    layer.build((None, 4))
    assert "storage" not in layer.get_config()


def test_the_report_says_how_much_each_layer_gained_and_all_of_them():
    model = keras.Sequential(
        [
            keras.Input((1024,)),
            keras.layers.Dense(2048, name="a"),
            keras.layers.Dense(10, name="b"),
            keras.layers.Dense(3, name="c", dtype="float16"),
        ]
    )
    report = dsr.sparsify(model, 0.99, storage="auto", batch_size=32, seed=1)
    for row in report.rows[:2]:
        check_choice(row)
        took, of_masked = row.seconds[row.storage], row.seconds["masked"]
        (line,) = [line for line in str(report).splitlines() if row.name in line and "ms" in line]
        assert f"{took * 1e3:.2f} ms" in line and f"{of_masked / took:.2f}" in line
    timed = [row.seconds for row in report.rows if row.seconds]
    assert len(timed) == 2
    chosen, masked = (sum(row.seconds[kind or row.storage] for row in report.rows[:2]) for kind in ("", "masked"))
    (line,) = [line for line in str(report).splitlines() if "of those timed" in line]
    assert f"{chosen * 1e3:.1f} ms" in line and f"{masked / chosen:.2f}" in line


@pytest.mark.parametrize(
    ("make", "shape", "why"),
    [
        (
            lambda: dsr.SparseDense(8, storage="auto", kernel_constraint="max_norm"),
            (None, 4),
            "kernel_constraint=.* None",
        ),
        (lambda: dsr.SparseDense(8, storage="auto", dtype="mixed_float16"), (None, 4), "float32 or float64"),
        (lambda: dsr.SparseConv2D(8, 3, storage="auto", dtype="mixed_bfloat16"), (None, 5, 5, 4), "float32 or float64"),
        (lambda: dsr.SparseDense(8, storage="auto", kernel_initializer="orthogonal"), (None, 4), "draw each weight"),
        (
            lambda: dsr.SparseDense(8, storage="auto", kernel_regularizer=keras.regularizers.OrthogonalRegularizer()),
            (None, 4),
            "None, L1, L2 or L1L2",
        ),
        (
            lambda: dsr.SparseDense(8, storage="auto"),
            (None, None, 4),
            r"shape \(None, None, 4\) leave open in how many",
        ),
    ],
)
def test_what_cannot_be_compact_or_timed_is_masked_and_says_why(make, shape, why, capsys):
    layer = make()
    layer.build(shape)
    assert type(layer) in (dsr.SparseDense, dsr.SparseConv2D)
    assert layer.storage_choice.storage == "masked"
    assert layer.storage_choice.seconds is None
    assert re.search(why, layer.storage_choice.why)
    assert layer.storage_choice.why in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: dsr.SparseConv2D(64, 1, sparsity=0.99, strides=2, storage="auto", batch_size=2), (None, 9, 9, 32)),
        (lambda: dsr.SparseEinsumDense("abc,cd->abd", (None, 64), sparsity=0.99, storage="auto"), (2, 3, 128)),
        (
            lambda: dsr.SparseDense(
                64, sparsity={"kernel": 0.99}, activation=lambda x: x, kernel_regularizer="l2", storage="auto"
            ),
            (None, 128),
        ),
    ],
)
def test_every_kind_is_timed(layer, shape):
    layer = layer()
    layer.build(shape)
    check_choice(layer.storage_choice)
    assert layer(np.ones((2, *shape[1:]), "float32")).shape[0] == 2


def test_it_is_timed_for_the_batch_that_is_asked_for_or_else_known():
    for given, known, expected in ((16, 1, 16), (None, 8, 8), (None, None, 64)):
        layer = dsr.SparseDense(8, sparsity=0.9, storage="auto", batch_size=given)
        layer.build((known, 4))
        assert f"inputs of shape ({expected}, 4)" in layer.storage_choice.why


def test_a_subclass_can_only_be_masked():
    class Doubled(dsr.SparseDense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    for storage in ("compact", "auto"):
        with pytest.raises(ValueError, match=r"Doubled\(storage=...\) must be 'masked' in a subclass"):
            Doubled(8, storage=storage)
    assert type(Doubled(8, storage="masked")) is Doubled


def test_a_capacity_below_the_weights_is_refused_each_time_that_it_is_built():
    layer = dsr.SparseDense(30, sparsity=0.9, storage="auto", capacity=59)
    for _ in range(2):
        with pytest.raises(ValueError, match="must have room for the 60 weights"):
            layer.build((None, 20))


def test_beside_slices_that_move_as_wholes_a_unit_of_a_list_is_one_weight(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(8, 3, name="window"),
            keras.layers.Conv2D(16, 1, name="pixels"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    dsr.sparsify(compiled(model), 0.8, pattern="kernel", storage="compact", exclude=keras.layers.Dense, seed=1)
    assert type(model.get_layer("pixels")) is CompactConv2D
    budget = sum(active_counts(model))
    fit(model, dsr.DSRCallback(target=5, period=2))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    history = fit(loaded, dsr.DSRCallback(target=5, period=2)).history
    assert history["dsr_pruned"][-1] > 0
    # Of units: slices of 9 weights, and weights.
    window, pixels = active_counts(loaded)
    assert window % 9 == 0
    assert window // 9 + pixels == 2 + budget - 18


@pytest.mark.backends("tensorflow", "torch")  # JAX's positions have 32 bits
def test_a_kernel_that_does_not_fit_when_dense_is_compact_without_being_timed():
    layer = dsr.SparseDense(200_000, sparsity=1 - 1e-7, mask_seed=1, storage="auto", use_bias=False)
    layer.build((None, 200_000))
    assert type(layer) is CompactDense
    assert layer.storage_choice.seconds is None
    assert "takes most of this machine's memory" in layer.storage_choice.why
    assert layer.kernel_count == 4_000


def test_a_sparsity_that_is_too_low_to_pay_is_warned_of():
    with pytest.warns(
        UserWarning, match=r"at sparsity 0\.5 it is likely to be slower.*breaks even at a sparsity of 0\.8 to 0\.9"
    ):
        layer = dsr.SparseDense(8, sparsity=0.5, storage="compact")
    assert type(layer) is CompactDense
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dsr.SparseDense(8, sparsity=0.95, storage="compact")
        dsr.SparseDense(8, sparsity=0.5, storage="masked")
        CompactDense.from_config(layer.get_config())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"storage": "csr"}, r"SparseDense\(storage=...\) must be 'masked' .* 'compact' .* or 'auto'.*storage='csr'"),
        ({"capacity": 2.0}, "is for storage='compact' and 'auto'"),
        ({"storage": "auto", "capacity": 0.5}, "must be a float of at least 1"),
        ({"storage": "compact", "batch_size": 8}, "is for storage='auto'"),
        ({"storage": "auto", "batch_size": 0}, "must be an int of at least 1. Received: batch_size=0"),
        ({"storage": "auto", "batch_size": 2.5}, "must be an int of at least 1"),
    ],
)
def test_bad_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dsr.SparseDense(8, **settings)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=message.replace("SparseDense", "sparsify")):
        dsr.sparsify(model, 0.5, **settings)
    assert type(model.layers[0]) is keras.layers.Dense


# sparsify


def stock() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, name="window")(inputs)
    x = keras.layers.Conv2D(16, 1, activation="relu", name="pixels")(x)
    x = keras.layers.Reshape((36, 16))(x)
    x = keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = keras.layers.EinsumDense("abc,cd->abd", (36, 8), bias_axes="d", name="einsum")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10, kernel_regularizer="l2", name="classes")(x))


@pytest.mark.parametrize("mask", selected(["random", "magnitude"], ["magnitude"]))
def test_sparsify_makes_products_compact_in_place(mask, tmp_path):
    masked, compact = compiled(stock()), compiled(stock())
    compact.set_weights(masked.get_weights())
    settings = {"sparsity": 0.8, "mask": mask, "seed": 3}
    dsr.sparsify(masked, **settings)
    report = dsr.sparsify(compact, **settings, storage="compact", capacity=2.0)
    kinds = {layer.name: type(layer) for layer in compact.layers}
    assert (kinds["pixels"], kinds["einsum"], kinds["classes"]) == (CompactConv2D, CompactEinsumDense, CompactDense)
    assert kinds["window"] is CompactConv2D
    assert [row.storage for row in report.rows].count("compact") == 4
    for line in ("How it is held", "MultiHeadAttention makes masked layers when it is loaded"):
        assert line in " ".join(str(report).split())

    inputs = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(values(compact(inputs)), values(masked(inputs)), atol=1e-5)
    for one, other in zip(dsr.sparse_weights(masked), dsr.sparse_weights(compact), strict=True):
        np.testing.assert_array_equal(one.positions(), other.positions())
        np.testing.assert_array_equal(one.values(), other.values())
        assert other.mask is not None or other.capacity == min(2 * other.count(), other.size)
    np.testing.assert_allclose(*(float(model.losses[0]) for model in (masked, compact)), rtol=1e-5)

    targets = np.arange(5)
    compact.fit(inputs, targets, epochs=3, verbose=0, callbacks=[dsr.DSRCallback(target=20, period=1)])
    assert sum(active_counts(compact)) == sum(active_counts(masked))
    compact.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert state_bits(loaded) == state_bits(compact)
    dsr.densify(compact)
    np.testing.assert_allclose(values(compact(inputs)), values(loaded(inputs)), atol=1e-5)
    assert type(compact.get_layer("einsum")) is keras.layers.EinsumDense


def test_sparsify_chooses_what_was_faster():
    model = keras.Sequential([keras.Input((1024,)), keras.layers.Dense(1024, "relu"), keras.layers.Dense(10)])
    report = dsr.sparsify(model, distribution={model.layers[0]: 0.998}, sparsity=0.5, storage="auto", batch_size=16)
    for row, layer in zip(report.rows, model.layers, strict=True):
        assert row.storage == ("compact" if isinstance(layer, CompactDense) else "masked")
        assert "a step with inputs of shape (16, 1024) takes" in row.why


def test_variables_that_an_optimizer_keeps_sparse_are_not_replaced():
    optimizer = dsr.SparseOptimizer("adam", sparsity=0.9, select=".*first.*")
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(16, name="first"), keras.layers.Dense(10)])
    fit(compiled(model, optimizer))
    before = state_bits(model)
    for layers in (model.layers, model.layers[1:]):
        with pytest.raises(ValueError, match="must be 'masked' for a model .* a SparseOptimizer|would be sparse twice"):
            dsr.sparsify(model, 0.95, include=layers, exclude=[] if len(layers) == 2 else "first", storage="compact")
    assert state_bits(model) == before
    assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2


@pytest.mark.backends("tensorflow")
def test_a_model_that_xla_was_to_compile_no_longer_is():
    model = compiled(keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)]), jit_compile=True)
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        dsr.sparsify(model, 0.95, storage="compact")
    fit(model)
    dsr.densify(model)
    assert compiled(model, jit_compile=True).jit_compile
    fit(model)


@pytest.mark.backends("tensorflow")
def test_nothing_is_left_that_a_saved_model_would_look_for(tmp_path):
    import tensorflow as tf

    model = perceptron()
    dsr.strip(model)
    tf.saved_model.save(model, tmp_path / "model")


def test_a_model_inside_that_is_compiled_by_itself_knows_its_new_variables():
    inner = compiled(keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, name="inner")]))
    outer = compiled(keras.Sequential([keras.Input((64,)), inner]))
    fit(inner), fit(outer)
    dsr.sparsify(outer, 0.95, storage="compact")
    fit(inner), fit(outer)
    assert active_counts(outer) == [32]


def test_where_loading_would_choose_anew_the_report_says_so():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.classes = keras.layers.Dense(10)

        def call(self, inputs):
            return self.classes(inputs)

    model = Network()
    model(np.zeros((1, 64)))
    report = dsr.sparsify(model, 0.95, storage="compact")
    assert "call sparsify once with storage='compact' for these" in report.loading
    other = dsr.SparseDense(10, sparsity=0.95)
    other.build((None, 64))
    entries: dict = {}
    model.classes.save_own_variables(entries)
    with pytest.raises(ValueError, match="of a layer in compact storage, and this one is masked"):
        other.load_own_variables(entries)


@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_the_report_doubts_what_is_not_expected_to_pay(sparsity):
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    (row,) = dsr.sparsify(model, sparsity, storage="compact").rows
    assert ("likely to be slower" in row.why) == (sparsity < 0.8)


def test_a_capacity_below_the_weights_leaves_the_model_as_it_was():
    model = compiled(keras.Sequential([keras.Input((64,)), keras.layers.Dense(8), keras.layers.Dense(100)]))
    before = state_bits(model)
    for capacity in (60, np.int64(60)):
        with pytest.raises(ValueError, match="must have room for the 80 weights.*capacity=(np.int64.)?60"):
            dsr.sparsify(model, 0.9, storage="compact", capacity=capacity)
    assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2
    assert state_bits(model) == before
