import itertools
import math
import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.conversion.sparsify_report import SparsifyReport
from keras_dsr.ops.initial_masks import active_units
from keras_dsr.ops.sparsity_distributions import erdos_renyi_kernel
from tests.helpers.networks import active_counts, batch, bits, compiled, digits, fit, state_bits, values


def mlp(hidden=(24, 16)):
    """64-24-16-10, stock layers; the classes have no activation."""
    layers = [keras.layers.Dense(units, "relu", name=f"hidden_{i}") for i, units in enumerate(hidden, 1)]
    return keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10, name="classes")])


def mixed():
    """One of everything that `sparsify` treats in a way of its own; its only input is 64 token ids."""
    return keras.Sequential(
        [
            keras.Input((64,), dtype="int32"),
            keras.layers.Embedding(17, 4, name="tokens"),
            keras.layers.Reshape((16, 16, 1)),
            keras.layers.Conv2D(6, 3, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.SeparableConv2D(8, 3, name="separable"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(12, name="frozen", trainable=False),
            keras.layers.Dense(10, name="classes"),
        ]
    )


class Scale(keras.layers.Layer):
    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")

    def call(self, x):
        return x * self.factor


class MyDense(keras.layers.Dense):
    pass


def tokens():
    return (batch() * 16).astype("int32")


def short(names):
    """Names of weights without what comes before their layer's."""
    return ["/".join(name.split("/")[-2:]) for name in names]


def sparse_names(report):
    return short(row.name for row in report.rows)


def reasons(report):
    return dict(zip(short(row.name for row in report.skipped), (row.reason for row in report.skipped)))


def counts(model):
    return {weight.layer.name: weight.count() for weight in dsr.sparse_weights(model)}


def assert_unchanged_by_error(model, match, **arguments):
    before, classes = state_bits(model), [type(layer) for layer in model._flatten_layers()]
    with pytest.raises(ValueError, match=match):
        dsr.sparsify(model, **arguments)
    assert state_bits(model) == before
    assert [type(layer) for layer in model._flatten_layers()] == classes


# How much, and where


@pytest.mark.parametrize("sparsity", [0, 0.5, 0.9, 0.999])
def test_uniform_gives_each_weight_the_same_sparsity(sparsity):
    model = mlp()
    report = dsr.sparsify(model, sparsity)
    expected = [active_units(size, sparsity) for size in (64 * 24, 24 * 16, 16 * 10)]
    assert active_counts(model) == [row.active for row in report.rows] == expected


def test_the_default_is_one_weight_in_ten_at_random():
    model = mlp()
    dsr.sparsify(model)
    assert active_counts(model) == [154, 38, 16]


@pytest.mark.parametrize("sparsity", [0.3, 0.9, 0.99])
def test_erk_has_an_exact_total_and_makes_large_weights_sparser(sparsity):
    model, shapes = mlp(), [(64, 24), (24, 16), (16, 10)]
    report = dsr.sparsify(model, sparsity, distribution="erk")
    sizes = [math.prod(shape) for shape in shapes]
    assert report.active == sum(active_counts(model)) == round((1 - sparsity) * sum(sizes))
    assert active_counts(model) == erdos_renyi_kernel(shapes, sizes, report.active)
    assert report.rows[0].sparsity > report.rows[1].sparsity >= report.rows[2].sparsity


def test_a_mapping_may_name_a_layer_by_itself_its_name_its_path_or_its_class():
    for number, selectors in enumerate(
        [lambda m: {m.layers[0]: 0.5}, lambda m: {"hidden_1": 0.5}, lambda m: {".*hidden_1/kernel": 0.5}]
    ):
        model = mlp()
        dsr.sparsify(model, 0.9, distribution=selectors(model))
        assert counts(model) == {"hidden_1": 768, "hidden_2": 38, "classes": 16}, number
    model = mixed()
    dsr.sparsify(model, 0.9, distribution={keras.layers.Conv2D: 0.5})
    assert counts(model)["conv"] == 27 and counts(model)["classes"] == 12


def test_a_mapping_by_regular_expression_means_all_whose_whole_name_matches():
    model = mlp()
    dsr.sparsify(model, 0.9, distribution={"hidden_.*": 0.5})
    assert counts(model) == {"hidden_1": 768, "hidden_2": 192, "classes": 16}
    assert_unchanged_by_error(mlp(), "'hidden' matches no layer", distribution={"hidden": 0.5})


def test_in_a_mapping_a_layer_goes_before_the_model_that_it_lies_in_and_before_a_pattern():
    inner = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(8, name="b")])
    model = keras.Sequential([keras.Input((64,)), inner, keras.layers.Dense(10, name="c")])
    dsr.sparsify(model, 0.9, distribution={inner: 0.5, "b": 0.75, ".*": 0.5})
    assert counts(model) == {"a": 256, "b": 16, "c": 40}


def test_a_function_sees_the_candidate():
    seen = []

    def by_size(one):
        seen.append((one.layer.name, one.role, short([one.name])[0], one.shape, one.size))
        return 0.75 if one.size > 1000 else 0.5

    model = mlp()
    dsr.sparsify(model, distribution=by_size)
    assert counts(model) == {"hidden_1": 384, "hidden_2": 192, "classes": 80}
    assert seen[0] == ("hidden_1", "kernel", "hidden_1/kernel", (64, 24), 1536)


def test_at_least_one_weight_of_each_stays():
    model = mlp(hidden=(2, 1))
    dsr.sparsify(model, 0.999)
    assert active_counts(model) == [1, 1, 1]
    model = mlp(hidden=(2, 1))
    dsr.sparsify(model, 0.98, distribution="erk")  # 3 of 140
    assert active_counts(model) == [1, 1, 1]


@pytest.mark.slow_on("jax")
@settings(max_examples=12)
@given(
    widths=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    sparsity=st.floats(0, 0.95),
    distribution=st.sampled_from(["uniform", "erk"]),
    mask=st.sampled_from(["random", "magnitude"]),
    seed=st.integers(0, 2**31),
)
def test_totals_are_exact_for_any_shapes(widths, sparsity, distribution, mask, seed):
    model = keras.Sequential([keras.Input((widths[0],)), *map(keras.layers.Dense, widths[1:])])
    sizes = [a * b for a, b in itertools.pairwise(widths)]
    total = round((1 - sparsity) * sum(sizes))
    if distribution == "erk" and total < len(sizes):
        assert_unchanged_by_error(model, "budget is too small", sparsity=sparsity, distribution=distribution)
        return
    report = dsr.sparsify(model, sparsity, distribution=distribution, mask=mask, seed=seed)
    found = active_counts(model)
    assert found == [row.active for row in report.rows]
    assert all(1 <= active <= size for active, size in zip(found, sizes))
    if distribution == "erk":
        assert sum(found) == total
    else:
        assert found == [active_units(size, sparsity) for size in sizes]
    for weight in dsr.sparse_weights(model):
        assert not values(weight.variable)[~values(weight.mask)].any()


# Which weights


def test_by_default_kernels_of_all_kinds_are_sparse_and_the_rest_is_left_with_its_reason():
    report = dsr.sparsify(mixed(), 0.5)
    assert sparse_names(report) == ["conv/kernel", "separable/pointwise_kernel", "classes/kernel"]
    assert reasons(report) == {
        "tokens/embeddings": "embedding: dense by default",
        "conv/bias": "bias: dense by default",
        "norm/gamma": "normalization: dense by default",
        "norm/beta": "normalization: dense by default",
        "depthwise/kernel": "depthwise kernel: dense by default",
        "depthwise/bias": "bias: dense by default",
        "separable/depthwise_kernel": "depthwise kernel: dense by default",
        "separable/bias": "bias: dense by default",
        "frozen/kernel": "frozen: dense by default",
        "frozen/bias": "bias: dense by default",
        "classes/bias": "bias: dense by default",
    }


@pytest.mark.parametrize(
    ("include", "added"),
    [
        ("tokens", ["tokens/embeddings"]),
        (keras.layers.Embedding, ["tokens/embeddings"]),
        ("depthwise", ["depthwise/kernel"]),
        (keras.layers.DepthwiseConv2D, ["depthwise/kernel"]),
        ("separable", ["separable/depthwise_kernel"]),
        ("frozen", ["frozen/kernel"]),
        ("norm", ["norm/gamma", "norm/beta"]),
        ([keras.layers.BatchNormalization, "tokens"], ["tokens/embeddings", "norm/gamma", "norm/beta"]),
        (".*norm/gamma", ["norm/gamma"]),
        (".*/bias", [f"{name}/bias" for name in ("conv", "depthwise", "separable", "frozen", "classes")]),
        (".*conv/bias", ["conv/bias"]),
        ("classes", []),
    ],
)
def test_include_adds_what_is_left_out_by_default(include, added):
    model = mixed()
    report = dsr.sparsify(model, 0.5, include=include)
    default = ["conv/kernel", "separable/pointwise_kernel", "classes/kernel"]
    assert sorted(sparse_names(report)) == sorted(default + added)
    assert [(w.name, w.count()) for w in dsr.sparse_weights(model)] == [(row.name, row.active) for row in report.rows]
    assert np.isfinite(values(model(tokens()))).all()


def test_include_takes_a_layer_itself_and_a_model_with_all_in_it():
    model = mixed()
    report = dsr.sparsify(model, 0.5, include=[model.get_layer("tokens"), model.get_layer("norm")])
    assert {"tokens/embeddings", "norm/gamma", "norm/beta"} < set(sparse_names(report))
    model = mixed()
    report = dsr.sparsify(model, 0.5, include=model)
    assert {row.reason for row in report.skipped} == {"bias: dense by default"}


@pytest.mark.parametrize(
    "exclude",
    [
        lambda m: m.layers[1],
        lambda m: [m.layers[1]],
        lambda m: "hidden_2",
        lambda m: [re.escape(m.layers[1].kernel.path)],
        lambda m: ".*_2/kernel",
    ],
)
def test_exclude_leaves_weights_dense(exclude):
    model = mlp()
    kernel = bits(model.layers[1].kernel)
    report = dsr.sparsify(model, 0.9, exclude=exclude(model))
    assert sparse_names(report) == ["hidden_1/kernel", "classes/kernel"]
    assert reasons(report)["hidden_2/kernel"] == "excluded"
    assert type(model.layers[1]) is keras.layers.Dense
    assert bits(model.layers[1].kernel) == kernel


def test_exclude_goes_before_include():
    report = dsr.sparsify(mixed(), 0.5, include=[keras.layers.BatchNormalization, "conv"], exclude=["norm", "conv"])
    assert sparse_names(report) == ["separable/pointwise_kernel", "classes/kernel"]
    assert reasons(report)["norm/gamma"] == reasons(report)["conv/kernel"] == "excluded"
    assert dsr.sparsify(mixed(), 0.5, include=".*", exclude=".*").rows == ()


def test_a_class_means_its_subclasses_but_never_the_model_itself():
    report = dsr.sparsify(mlp(), 0.9, exclude=keras.layers.Dense)
    assert report.rows == () and "Nothing was made sparse" in str(report)
    with pytest.raises(ValueError, match="matches no layer and no weight"):
        dsr.sparsify(mlp(), 0.9, exclude=keras.Sequential)


# Masks


@pytest.mark.parametrize("pattern", ["element", "kernel"])
def test_the_pattern_is_that_of_the_layers(pattern):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(6, 3), keras.layers.Conv2D(8, 3), keras.layers.Flatten()]
        + [keras.layers.Dense(10)]
    )
    report = dsr.sparsify(model, 0.5, pattern=pattern)
    conv = dsr.sparse_weights(model)[1]
    mask = values(conv.mask)
    assert {weight.pattern for weight in dsr.sparse_weights(model)} == {pattern}
    assert (mask.any(axis=(0, 1)) == mask.all(axis=(0, 1))).all() == (pattern == "kernel")
    assert [row.active for row in report.rows] == [27, 216, 640]
    assert report.active == sum(active_counts(model)) == report.size / 2


@pytest.mark.parametrize("distribution", ["uniform", "erk"])
def test_magnitude_keeps_the_largest_weights_of_each(distribution):
    model = mlp()
    kernels = [values(layer.kernel) for layer in model.layers]
    dsr.sparsify(model, 0.7, distribution=distribution, mask="magnitude")
    for weight, kernel in zip(dsr.sparse_weights(model), kernels):
        mask = values(weight.mask)
        assert np.abs(kernel)[mask].min() >= np.abs(kernel)[~mask].max()
        assert values(weight.variable).tobytes() == np.where(mask, kernel, np.float32(0)).tobytes()


def test_magnitude_of_a_slice_is_its_mean():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    kernel = values(model.layers[0].kernel)
    dsr.sparsify(model, 0.75, mask="magnitude", pattern="kernel")
    slices = np.abs(kernel).mean(axis=(0, 1))
    kept = values(model.layers[0].kernel_mask).all(axis=(0, 1))
    assert kept.sum() == 3
    assert slices[kept].min() > slices[~kept].max()


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_ties_of_magnitude_keep_the_count_exact(value):
    model = mlp()
    for layer in model.layers:
        layer.kernel.assign(np.full(layer.kernel.shape, value))
    dsr.sparsify(model, 0.9, mask="magnitude")
    assert active_counts(model) == [154, 38, 16]


@pytest.mark.slow_on("tensorflow")
def test_the_seed_decides_random_masks_and_each_weight_has_its_own():
    def masks(seed):
        model = keras.Sequential([keras.Input((16,)), *(keras.layers.Dense(16) for _ in range(2))])
        dsr.sparsify(model, 0.5, seed=seed)
        return [bits(weight.mask) for weight in dsr.sparse_weights(model)]

    assert masks(3) == masks(3) != masks(4)
    assert masks(3)[0] != masks(3)[1]
    assert masks(None) != masks(None)
    keras.utils.set_random_seed(5)
    first = masks(None)
    keras.utils.set_random_seed(5)
    assert masks(None) == first


# What stays


def test_weights_graph_and_layers_stay():
    model = mlp()
    layers, variables, kernels = list(model.layers), list(model.weights), [values(w) for w in model.weights]
    dsr.sparsify(model, 0.5)
    assert all(one is other for one, other in zip(model.layers, layers))
    assert all(any(one is other for one in model.weights) for other in variables)
    masks = {id(weight.variable): values(weight.mask) for weight in dsr.sparse_weights(model)}
    for variable, kernel in zip(variables, kernels):
        assert bits(variable) == np.where(masks.get(id(variable), True), kernel, np.float32(0)).tobytes()


def test_a_model_that_is_sparse_already_keeps_its_masks():
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(24, name="sparse"), keras.layers.Dense(10)])
    mask = bits(model.layers[0].kernel_mask)
    report = dsr.sparsify(model, 0.9)
    assert len(report.rows) == 1
    assert {reasons(report)[name] for name in ("sparse/kernel", "sparse/bias")} == {"the layer is sparse already"}
    assert bits(model.layers[0].kernel_mask) == mask
    assert dsr.sparsify(model, 0.9).rows == ()


# Errors


@pytest.mark.parametrize("sparsity", [1, 1.0, -0.1, math.nan, "0.9", None, True])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    assert_unchanged_by_error(
        mlp(), r"sparsify\(sparsity=\.\.\.\) must be a number in \[0, 1\).*Received: sparsity=", sparsity=sparsity
    )


@pytest.mark.parametrize(
    ("argument", "wrong", "known"),
    [
        ("mask", "top", "'random',? or 'magnitude'"),
        ("pattern", "row", "'element'"),
        ("distribution", "er", "'uniform', 'erk', a mapping"),
        ("distribution", None, "'uniform', 'erk', a mapping"),
        ("distribution", 3, "'uniform', 'erk', a mapping"),
    ],
)
def test_unknown_choices_are_refused_with_the_known_ones(argument, wrong, known):
    match = rf"sparsify\({argument}=\.\.\.\) must be .*{known}.*Received: {argument}={wrong!r}"
    assert_unchanged_by_error(mlp(), match, **{argument: wrong})


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize(
    "selector", ["nothing", "hidden", "classes/bias/x", keras.layers.Conv2D, keras.layers.Dense(3)]
)
def test_a_selector_that_matches_nothing_is_refused_with_names_that_there_are(argument, selector):
    model = mlp()
    assert_unchanged_by_error(
        model, rf"sparsify\({argument}=\.\.\.\) names something that the model does not have", **{argument: [selector]}
    )
    assert_unchanged_by_error(model, "matches no layer and no weight.*/hidden_1/kernel'", **{argument: [selector]})


def test_what_is_no_selector_is_refused():
    for wrong in (3, int, None, keras.layers):
        assert_unchanged_by_error(mlp(), r"A selector in sparsify\(exclude=.*Received: exclude=", exclude=[wrong])


def test_a_selector_of_a_mapping_that_matches_nothing_is_refused():
    model = mlp()
    assert_unchanged_by_error(model, r"sparsify\(distribution=\.\.\.\) names .*'none'", distribution={"none": 0.5})
    assert_unchanged_by_error(
        model, r"distribution=\.\.\.\) names .*'classes'", distribution={"classes": 0.5}, exclude="classes"
    )
    assert_unchanged_by_error(model, r"Received: distribution=3", distribution={3: 0.5})


def test_a_mapping_that_contradicts_itself_is_refused():
    assert_unchanged_by_error(
        mlp(),
        r"gives '.*hidden_1/kernel' several sparsities: 'hidden_\.\*': 0\.5, '\.\*_1': 0\.7\. Leave one",
        distribution={"hidden_.*": 0.5, ".*_1": 0.7},
    )
    dsr.sparsify(mlp(), distribution={"hidden_.*": 0.5, ".*_1": 0.5})


def test_sparsities_of_a_distribution_are_checked():
    match = r"sparsify\(distribution=.*must be a number in \[0, 1\).*Received: distribution=.*1\.5"
    assert_unchanged_by_error(mlp(), match, distribution={"classes": 1.5})
    assert_unchanged_by_error(mlp(), match, distribution=lambda one: 1.5)


def test_a_budget_too_small_for_erk_is_refused():
    assert_unchanged_by_error(
        mlp(hidden=(2, 1)), "budget is too small for the number of tensors", sparsity=0.99, distribution="erk"
    )


def test_an_error_of_the_users_function_leaves_the_model_as_it_was():
    def fails(one):
        raise (
            ValueError("my own error" if one.layer.name == "classes" else "too early")
            if (one.layer.name == "classes")
            else None
        )

    def function(one):
        if one.layer.name == "classes":
            raise ValueError("my own error")
        return 0.5

    assert_unchanged_by_error(mlp(), "my own error", distribution=function)


def test_an_unbuilt_model_is_refused():
    model = keras.Sequential([keras.layers.Dense(4)])
    with pytest.raises(ValueError, match=r"has not been built.*an `Input`"):
        dsr.sparsify(model)
    with pytest.raises(ValueError, match="has not been built"):
        dsr.sparsify(Network())


# Layers that cannot be treated


def test_layers_that_cannot_be_treated_are_left_with_a_reason_and_the_rest_is_converted():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(16, name="plain"),
            Scale(name="scale"),
            MyDense(16, name="mine"),
            keras.layers.Dense(16, name="quantized"),
            keras.layers.Dense(16, name="lora"),
            keras.layers.SpectralNormalization(keras.layers.Dense(16, name="inner"), name="spectral"),
            dsr.TiedDense(16, name="tied"),
            keras.layers.Dense(10, name="classes"),
        ]
    )
    model.get_layer("quantized").quantize("int8")
    model.get_layer("lora").enable_lora(2)
    before, left = values(model(batch())), [bits(v) for layer in model.layers[1:-1] for v in layer.variables]

    report = dsr.sparsify(model, 0.0)  # every weight stays, so the outputs do

    assert sparse_names(report) == ["plain/kernel", "classes/kernel"]
    found = {}
    for row in report.skipped:
        found.setdefault(row.layer, set()).add(row.reason)
    assert found["Scale"] == {"no sparse class for Scale"}
    assert found["MyDense"] == {"no sparse class for MyDense, a subclass of Dense"}
    assert found["TiedDense"] == {"its kernel shares the values of a bank (HashedNet)"}
    assert found["Dense"] == {
        "bias: dense by default",
        "the layer is quantized (int8)",
        "the layer has LoRA weights",
        "SpectralNormalization writes the kernel itself",
    }
    assert bits(model(batch())) == before.tobytes()
    assert [bits(v) for layer in model.layers[1:-1] for v in layer.variables] == left


def test_what_cannot_be_treated_cannot_be_included():
    model = keras.Sequential([keras.Input((64,)), MyDense(16, name="mine"), keras.layers.Dense(10)])
    report = dsr.sparsify(model, 0.5, include="mine")
    assert reasons(report)["mine/kernel"] == "no sparse class for MyDense, a subclass of Dense"


# Models of every kind


class Block(keras.layers.Layer):
    """A block with layers in an attribute and in a list."""

    def __init__(self, units):
        super().__init__()
        self.first = keras.layers.Dense(units, "relu")
        self.rest = [keras.layers.Dense(units, "relu") for _ in range(2)]

    def call(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return x


class Network(keras.Model):
    """A subclassed model with nested subclassed blocks, and a Keras container."""

    def __init__(self):
        super().__init__()
        self.blocks = [Block(16), Block(12)]
        self.attention = keras.layers.MultiHeadAttention(2, 4)
        self.head = keras.layers.Dense(10)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        x = x[:, None]
        return self.head(self.attention(x, x)[:, 0])


def network():
    model = Network()
    model(batch())
    return model


@pytest.mark.slow_on("jax")
def test_subclassed_models_are_made_sparse_through_and_through():
    model = network()
    report = dsr.sparsify(model, 0.9)
    assert len(report.rows) == len(active_counts(model)) == 11
    assert active_counts(model) == [row.active for row in report.rows]
    assert report.own_classes == ("Block", "Network")
    fit(compiled(model), dsr.DSRCallback(target=20, period=3))
    assert sum(active_counts(model)) == report.active


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("suffix", [".keras", pytest.param(".weights.h5", marks=pytest.mark.thorough)])
def test_a_subclassed_model_is_loaded_as_the_report_says(tmp_path, suffix):
    arguments = {"sparsity": 0.8, "distribution": "erk", "exclude": keras.layers.MultiHeadAttention}
    model = network()
    report = dsr.sparsify(model, **arguments)
    fit(compiled(model), dsr.DSRCallback(target=20, period=2))
    path = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    expected = model.predict(batch(40), verbose=0)

    assert report.loading == (
        "To load what you save: build the model, call sparsify with the same arguments, then model.load_weights(path) "
        "(it reads .keras and .weights.h5). load_model cannot: Block, Network would make stock layers."
    )
    loaded = network()
    dsr.sparsify(loaded, **arguments)
    loaded.load_weights(path)
    assert bits(loaded.predict(batch(40), verbose=0)) == bits(expected)
    assert [bits(w.mask) for w in dsr.sparse_weights(loaded)] == [bits(w.mask) for w in dsr.sparse_weights(model)]


def test_nested_models_are_followed_and_load_by_load_model(tmp_path):
    def model_of():
        inner = keras.Sequential(
            [keras.Input((64,)), keras.layers.Dense(16, name="a"), keras.layers.Dense(8, name="b")]
        )
        inputs = keras.Input((64,))
        deeper = keras.Model(inputs, keras.layers.Dense(8, name="c")(inner(inputs)))
        return keras.Sequential([keras.Input((64,)), deeper, keras.layers.Dense(10, name="d")])

    model = model_of()
    report = dsr.sparsify(model, 0.5)
    assert sparse_names(report) == ["a/kernel", "b/kernel", "c/kernel", "d/kernel"]
    assert report.own_classes == () and report.loading.startswith("keras.models.load_model(path) loads")
    model.save(tmp_path / "model.keras")
    assert bits(keras.models.load_model(tmp_path / "model.keras")(batch())) == bits(model(batch()))


def test_a_shared_layer_is_counted_once(tmp_path):
    inputs = keras.Input((64,))
    shared = keras.layers.Dense(64, name="shared")
    model = keras.Model(inputs, keras.layers.Dense(10, name="classes")(shared(keras.layers.ReLU()(shared(inputs)))))
    report = dsr.sparsify(model, 0.9)
    assert sparse_names(report) == ["shared/kernel", "classes/kernel"]
    assert report.size == 64 * 64 + 640 and report.active == 410 + 64
    assert len(report.skipped) == 2
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert bits(loaded(batch())) == bits(model(batch()))
    assert active_counts(loaded) == [410, 64]


def test_a_model_that_is_called_in_several_models_is_sparse_in_all():
    tower = mlp()
    one, other = keras.Input((64,)), keras.Input((64,))
    both = keras.Model([one, other], keras.layers.Subtract()([tower(one), tower(other)]))
    report = dsr.sparsify(both, 0.9)
    assert len(report.rows) == 3
    assert active_counts(tower) == active_counts(both) == [154, 38, 16]
    expected = values(tower(batch())) - values(tower(batch()[::-1]))
    assert bits(both([batch(), batch()[::-1]])) == expected.tobytes()


def test_part_of_a_model_can_be_made_sparse():
    model = keras.Sequential([keras.Input((64,)), mlp(), keras.layers.Dense(4, name="rest")])
    dsr.sparsify(model.layers[0], 0.9)
    assert active_counts(model) == [154, 38, 16]


def test_attention_and_recurrent_layers_become_sparse_with_their_containers():
    inputs = keras.Input((8, 8))
    x = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))(x)
    x = keras.layers.RNN([keras.layers.GRUCell(4), keras.layers.SimpleRNNCell(4)])(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    report = dsr.sparsify(model, 0.5)
    assert [type(layer).__name__ for layer in model.layers[1:]] == [
        "SparseMultiHeadAttention",
        "SparseBidirectional",
        "RNN",
        "SparseDense",
    ]
    assert [row.layer for row in report.rows] == (
        ["EinsumDense"] * 4 + ["LSTMCell"] * 4 + ["GRUCell"] * 2 + ["SimpleRNNCell"] * 2 + ["Dense"]
    )


# The report


def test_the_report_has_a_row_for_each_weight_and_sums():
    model = mlp()
    report = dsr.sparsify(model, 0.9)
    assert isinstance(report, SparsifyReport)
    row = report.rows[0]
    assert (row.name, row.layer, row.shape, row.size, row.active) == (
        model.layers[0].variable_of("kernel").path,
        "Dense",
        (64, 24),
        1536,
        154,
    )
    assert row.sparsity == pytest.approx(1 - 154 / 1536)
    assert (report.size, report.active) == (1536 + 384 + 160, 154 + 38 + 16)
    assert report.sparsity == pytest.approx(0.9)
    assert [(row.size, row.layer) for row in report.skipped] == [(24, "Dense"), (16, "Dense"), (10, "Dense")]
    assert {row.name for row in report.rows} | {row.name for row in report.skipped} == {
        variable.path for variable in model.trainable_variables
    }


def test_the_printed_report_says_what_was_done_what_was_left_and_how_to_load():
    text = str(dsr.sparsify(mixed(), 0.9, exclude="conv"))
    for expected in (
        "Made sparse",
        "classes/kernel",
        "12x10",
        "90.00%",
        "in all",
        "Left as it was",
        "excluded",
        "normalization: dense by default",
        "norm/gamma",
        "keras.models.load_model(path) loads the saved model, masks included.",
    ):
        assert expected in text, text
    assert max(map(len, text.splitlines())) <= 80


def test_a_report_of_nothing_says_so():
    report = dsr.sparsify(keras.Sequential([keras.Input((4,)), keras.layers.ReLU()]))
    assert (report.rows, report.skipped, report.active, report.size, report.sparsity) == ((), (), 0, 0, 0.0)
    assert "Nothing was made sparse" in str(report)


# What it is for


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_trained_network_pruned_by_magnitude_is_fine_tuned_to_nearly_its_accuracy():
    images, classes = digits()
    train, test = slice(0, 1400), slice(1400, None)
    model = compiled(mlp(hidden=(300, 100)), keras.optimizers.Adam(2e-3))
    model.fit(images[train], classes[train], epochs=10, verbose=0)
    dense = model.evaluate(images[test], classes[test], verbose=0)[1]
    dsr.sparsify(model, 0.9, mask="magnitude")
    cut = model.evaluate(images[test], classes[test], verbose=0)[1]
    model.fit(images[train], classes[train], epochs=6, verbose=0)
    tuned = model.evaluate(images[test], classes[test], verbose=0)[1]
    assert dense > 0.9
    assert cut < tuned - 0.1
    assert tuned > dense - 0.04
    assert active_counts(model) == [1920, 3000, 100]
    for weight in dsr.sparse_weights(model):
        assert not values(weight.variable)[~values(weight.mask)].any()


def test_a_path_is_meant_with_or_without_the_name_of_the_model():
    for prefix in ("named/", ""):
        layers = [keras.layers.Dense(8, name="first"), keras.layers.Dense(4, name="second")]
        model = keras.Sequential([keras.Input((6,)), *layers], name="named")
        report = dsr.sparsify(model, 0.5, exclude=f"{prefix}first/kernel")
        assert [row.name for row in report.rows] == ["named/second/kernel"]
