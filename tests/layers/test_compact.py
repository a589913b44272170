import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import keras_dsr as dsr
from keras_dsr.layers import CompactConv2D, CompactDense, CompactEinsumDense
from tests.helpers.compact_networks import perceptron
from tests.helpers.files import run_without_keras_dsr
from tests.helpers.networks import batch, bits, compiled, fit, gradient_of, values
from tests.helpers.runs import ROOT

# Each with the shape of a batch of its inputs.
KINDS = {
    "dense": (lambda **settings: dsr.SparseDense(7, activation="relu", **settings), (5, 6)),
    "dense of sequences": (lambda **settings: dsr.SparseDense(7, use_bias=False, **settings), (5, 3, 6)),
    "einsum to heads": (
        lambda **settings: dsr.SparseEinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de", **settings),
        (5, 3, 6),
    ),
    "einsum from heads": (
        lambda **settings: dsr.SparseEinsumDense("abde,dec->abc", (None, 6), bias_axes="c", **settings),
        (5, 3, 2, 4),
    ),
    "einsum with an ellipsis": (lambda **settings: dsr.SparseEinsumDense("...a,ab->...b", (7,), **settings), (5, 6)),
    "convolution": (lambda **settings: dsr.SparseConv2D(7, 1, **settings), (2, 4, 5, 6)),
    "strided convolution": (lambda **settings: dsr.SparseConv2D(7, 1, strides=(2, 3), **settings), (2, 5, 7, 6)),
    "window": (lambda **settings: dsr.SparseConv2D(7, 3, padding="same", activation="relu", **settings), (3, 6, 5, 4)),
    "strided window": (
        lambda **settings: dsr.SparseConv2D(7, (3, 2), strides=2, use_bias=False, **settings),
        (3, 9, 8, 4),
    ),
    "dilated window": (lambda **settings: dsr.SparseConv2D(7, 3, dilation_rate=2, **settings), (3, 9, 8, 4)),
    "causal window": (lambda **settings: dsr.SparseConv1D(7, 3, padding="causal", **settings), (3, 9, 4)),
    "volume": (lambda **settings: dsr.SparseConv3D(5, 3, padding="same", strides=2, **settings), (3, 5, 6, 7, 2)),
}
if keras.backend.backend() != "tensorflow":  # whose processor has no gradients of such masked convolutions
    KINDS |= {
        "groups": (lambda **settings: dsr.SparseConv2D(6, 3, groups=2, **settings), (3, 6, 5, 4)),
        "channels first": (
            lambda **settings: dsr.SparseConv2D(6, 3, padding="same", data_format="channels_first", **settings),
            (3, 4, 6, 5),
        ),
    }


def built(kind: str, dtype: str = "float32", **settings):
    make, shape = KINDS[kind]
    layer = make(sparsity=0.7, mask_seed=3, dtype=dtype, **settings)
    layer.build((None, *shape[1:]))
    return layer


def masked_like(layer, kind: str, dtype: str = "float32", **settings):
    """A masked layer with the positions and values of a compact one."""
    other = built(kind, dtype, **settings)
    (weight,) = dsr.sparse_weights(layer)
    mask = np.zeros(weight.size, bool)
    mask[weight.positions()] = True
    (masked,) = dsr.sparse_weights(other)
    masked.set_mask(mask.reshape(weight.shape))
    masked.variable.assign(values(layer.kernel))
    if layer.bias is not None:
        shape = tuple(layer.bias.shape)
        layer.bias.assign(np.linspace(-1, 1, int(np.prod(shape))).reshape(shape))
        other.bias.assign(layer.bias)
    return other


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow_on("tensorflow", "jax"))])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_a_masked_layer(kind, dtype):
    compact = built(kind, dtype, storage="compact")
    masked = masked_like(compact, kind, dtype)
    rng = np.random.default_rng(0)
    inputs = keras.Variable(rng.normal(size=KINDS[kind][1]), dtype=dtype)
    upstream = ops.convert_to_tensor(rng.normal(size=compact(inputs).shape), dtype)
    exact = dtype == "float64" and keras.backend.backend() == "tensorflow"  # Keras on torch multiplies in float32
    tolerance = {"rtol": 0, "atol": 1e-12 if exact else 1e-5}

    np.testing.assert_allclose(values(compact(inputs)), values(masked(inputs)), **tolerance)

    def loss(layer):
        return lambda: ops.sum(layer(inputs) * upstream)

    of_inputs = [values(gradient_of(loss(layer), inputs)) for layer in (compact, masked)]
    np.testing.assert_allclose(*of_inputs, **tolerance)
    (weight,) = dsr.sparse_weights(compact)
    of_values = values(gradient_of(loss(compact), compact.kernel_values))
    of_kernel = values(gradient_of(loss(masked), masked.variable_of("kernel"))).reshape(-1)
    np.testing.assert_allclose(of_values[: weight.count()], of_kernel[weight.positions()], **tolerance)
    assert not of_values[weight.count() :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_with_the_weights_of_its_sparsity_and_room_for_half_as_many_more(kind):
    layer = built(kind, storage="compact")
    (weight,) = dsr.sparse_weights(layer)
    assert weight.mask is None
    assert weight.count() == round(0.3 * weight.size)
    assert weight.capacity == int(np.ceil(1.5 * weight.count()))
    positions = weight.positions()
    assert positions.dtype == "int64"
    assert (np.diff(positions) > 0).all()
    assert positions[0] >= 0 and positions[-1] < weight.size
    np.testing.assert_array_equal(values(layer.kernel).reshape(-1)[positions], weight.values())
    assert np.count_nonzero(values(layer.kernel)) == weight.count()


@pytest.mark.parametrize(("capacity", "room"), [(100, 100), (1.0, 60), (2.25, 135), (10_000, 600)])
def test_the_capacity_is_a_multiple_of_the_weights_or_their_number(capacity, room):
    layer = dsr.SparseDense(30, sparsity=0.9, storage="compact", capacity=capacity)
    layer.build((None, 20))
    assert layer.kernel_values.shape == (room,)


@pytest.mark.parametrize(
    "initializer",
    ["glorot_uniform", "he_normal", keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"), "ones"],
)
def test_values_are_drawn_as_those_of_a_whole_kernel(initializer):
    layer = dsr.SparseDense(400, sparsity=0.9, kernel_initializer=initializer, storage="compact")
    layer.build((None, 300))
    (weight,) = dsr.sparse_weights(layer)
    whole = values(keras.initializers.get(initializer)((300, 400), "float32"))
    assert weight.values().std() == pytest.approx(whole.std(), rel=0.02)
    assert weight.values().mean() == pytest.approx(whole.mean(), abs=0.003)


def test_nothing_of_the_size_of_a_kernel_is_made_in_a_step():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("looks at TensorFlow's graph")
    import tensorflow as tf

    model = keras.Sequential(
        [keras.Input((500,)), *(dsr.SparseDense(500, sparsity=0.99, storage="compact") for _ in range(2))]
    )
    model.compile("adam", "mse")
    model.fit(np.ones((4, 500)), np.ones((4, 500)), verbose=0)
    step = tf.function(model.train_step, autograph=False)
    graphs = [step.get_concrete_function((tf.ones((4, 500)), tf.ones((4, 500)))).graph]
    sizes = []
    while graphs:
        graph = graphs.pop()
        graphs += [function.graph for function in graph._functions.values() if hasattr(function, "graph")]
        for operation in graph.get_operations():
            sizes += [output.shape.num_elements() or 0 for output in operation.outputs if output.shape.rank is not None]
    assert len(sizes) > 50
    assert max(sizes) < 10_000  # 250,000 positions, 2,500 weights, 3,750 of capacity
    assert max(np.prod(variable.shape) for variable in [*model.variables, *model.optimizer.variables]) == 2 * 3_750


@pytest.mark.backends("tensorflow")
def test_a_model_with_it_is_not_compiled_by_xla_which_has_no_such_product():
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model = compiled(perceptron(), jit_compile=True)
    fit(model)
    assert not model.jit_compile
    assert not CompactDense.from_config(model.layers[0].get_config()).supports_jit


@pytest.mark.backends("jax")
def test_nothing_of_the_size_of_a_kernel_is_made_in_a_program_of_jax():
    import jax

    layer = dsr.SparseDense(500, sparsity=0.99, storage="compact")
    layer.build((None, 500))

    def loss(values, inputs):
        with keras.StatelessScope([(layer.kernel_values, values)]):
            return ops.sum(layer(inputs) ** 2)

    program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(layer.kernel_values.value, np.ones((4, 500), "float32"))
    sizes = [size for equation in equations_of(program.jaxpr) for size in map(size_of, equation.outvars)]
    assert len(sizes) > 10
    assert max(sizes) < 10_000  # 250,000 positions, 2,500 weights, 3,750 of capacity


def size_of(variable) -> int:
    return int(np.prod(getattr(variable.aval, "shape", ())))


def equations_of(program):
    """Of a program of JAX and of those in it."""
    for equation in program.eqns:
        yield equation
        for part in equation.params.values():
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from equations_of(inner)


# Saving


@pytest.mark.slow_on("jax")
def test_a_file_holds_the_weights_that_exist(tmp_path):
    model = compiled(perceptron())
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [type(layer) for layer in loaded.layers] == [CompactDense, CompactDense]
    for one, other in zip(model.variables, loaded.variables, strict=True):
        assert bits(one) == bits(other)
    model.save_weights(tmp_path / "a.weights.h5")
    other = perceptron()
    other.load_weights(tmp_path / "a.weights.h5")
    assert bits(other(batch())) == bits(model(batch()))


@pytest.mark.slow_on("jax")
def test_the_plain_file_is_of_stock_layers_and_the_model_stays_as_it_was(tmp_path):
    model = compiled(perceptron())
    fit(model)
    before = [bits(variable) for variable in [*model.variables, *model.optimizer.variables]]
    dsr.save(model, tmp_path / "plain.keras")
    assert [bits(variable) for variable in [*model.variables, *model.optimizer.variables]] == before
    plain = keras.models.load_model(tmp_path / "plain.keras")
    assert [type(layer) for layer in plain.layers] == [keras.layers.Dense] * 2
    np.testing.assert_allclose(values(plain(batch())), values(model(batch())), atol=1e-5)
    fit(model)  # and it goes on
    with zipfile.ZipFile(tmp_path / "plain.keras") as file:
        assert file.testzip() is None


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("act", [dsr.strip, dsr.densify])
def test_stock_layers_compute_the_same_and_train_on(act):
    model = compiled(perceptron())
    fit(model)
    before = values(model(batch()))
    assert act(model) is model
    assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2
    assert dsr.sparse_weights(model) == []
    assert not any(
        "kernel_" in name for layer in model.layers for name in vars(layer) if name in ("kernel_rows", "kernel_count")
    )
    np.testing.assert_allclose(values(model(batch())), before, atol=1e-5)
    fit(model)
    assert np.count_nonzero(values(model.layers[0].kernel)) > 307


def test_the_export_computes_the_same(tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("writes a SavedModel")
    import tensorflow as tf

    model = compiled(perceptron())
    fit(model)
    before = values(model(batch()))
    dsr.export(model, tmp_path / "model")
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(values(loaded.serve(batch())), before, atol=1e-5)
    assert bits(model(batch())) == bits(before)


def damaged(change):
    def load(tmp_path):
        import h5py

        model = perceptron()
        model.save_weights(tmp_path / "a.weights.h5")
        with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
            change(
                file["layers/sparse_dense/vars"]
                if "sparse_dense" in file["layers"]
                else next(iter(file["layers"].values()))["vars"]
            )
        return tmp_path / "a.weights.h5"

    return load


def replaced(name, value):
    def change(group):
        given = value(group[name][()])
        del group[name]
        group[name] = given

    return change


def removed(name):
    def change(group):
        del group[name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("kernel_rows", lambda rows: rows[::-1]), "in increasing order"),
        (replaced("kernel_columns", lambda columns: np.zeros_like(columns)), "in increasing order"),
        (replaced("kernel_rows", lambda rows: rows + 1_000), "not distinct positions of a matrix of shape"),
        (replaced("kernel_values", lambda held: held[:-3]), "not distinct positions"),
        (removed("kernel_rows"), "not those of a compact layer"),
        (removed("bias"), "not those of a compact layer"),
    ],
)
def test_a_damaged_file_changes_nothing(tmp_path, change, message):
    path = damaged(change)(tmp_path)
    model = perceptron()
    before = [bits(variable) for variable in model.layers[0].variables]
    with pytest.raises(ValueError, match=message):
        model.load_weights(path)
    assert [bits(variable) for variable in model.layers[0].variables] == before


def test_a_file_with_more_weights_than_there_is_room_for_is_refused(tmp_path):
    perceptron().save_weights(tmp_path / "a.weights.h5")
    model = keras.Sequential(
        [
            keras.Input((64,)),
            dsr.SparseDense(24, sparsity=0.95, storage="compact"),
            dsr.SparseDense(10, sparsity=0.8, storage="compact"),
        ]
    )
    with pytest.raises(ValueError, match=r"has room for 116 weights. Received: 307 in the file.*capacity=307"):
        model.load_weights(tmp_path / "a.weights.h5")


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dsr.SparseDense(3, sparsity=1.0, storage="compact"), "number in .0, 1."),
        (lambda: dsr.SparseDense(3, sparsity={"bias": 0.5}, storage="compact"), "the bias stays dense"),
        (lambda: dsr.SparseDense(3, storage="compact", capacity=0.5), "capacity=.* must be a float of at least 1"),
        (lambda: dsr.SparseDense(3, storage="compact", capacity=True), "capacity=.* must be a float of at least 1"),
        (lambda: dsr.SparseDense(3, storage="compact", dtype="mixed_float16"), "computes in float32 or float64"),
        (lambda: dsr.SparseConv2D(3, 3, storage="compact", dtype="mixed_bfloat16"), "computes in float32 or float64"),
        (lambda: dsr.SparseDense(3, storage="compact", kernel_constraint="max_norm"), "kernel_constraint=.* None"),
        (lambda: dsr.SparseDense(3, storage="compact", kernel_initializer="orthogonal"), "draw each weight by itself"),
        (
            lambda: dsr.SparseConv2DTranspose(3, 1, storage="compact"),
            "Unrecognized .* SparseConv2DTranspose: .*storage.: .compact",
        ),
        (lambda: dsr.SparseEinsumDense("abc,bde->ade", (2, 3), storage="compact"), "a product with a matrix"),
        (lambda: dsr.SparseEinsumDense("abc,acd->abd", (2, 3), storage="compact"), "a product with a matrix"),
    ],
)
def test_what_cannot_be_compact_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_capacity_below_the_weights_is_refused_when_they_are_known():
    layer = dsr.SparseDense(30, sparsity=0.9, storage="compact", capacity=59)
    with pytest.raises(ValueError, match="must have room for the 60 weights"):
        layer.build((None, 20))


def test_a_mask_of_the_size_of_the_kernel_is_refused():
    (weight,) = dsr.sparse_weights(built("dense", storage="compact"))
    with pytest.raises(NotImplementedError, match="in compact storage and takes no mask. Build the layer"):
        weight.set_mask(np.ones(weight.shape, bool))


@pytest.mark.parametrize("act", [lambda layer: layer.enable_lora(2), lambda layer: layer.quantize("int8")])
def test_lora_and_quantization_are_refused(act):
    layer = built("dense", storage="compact")
    with pytest.raises(NotImplementedError, match="no variable of its own"):
        act(layer)


@pytest.mark.backends("tensorflow", "torch")  # JAX's positions have 32 bits
def test_a_network_that_would_not_fit_when_dense_is_never_made_dense(tmp_path):
    model = keras.Sequential([keras.Input((65_536,))])
    for _ in range(6):
        model.add(dsr.SparseDense(65_536, sparsity=1 - 1e-6, storage="compact", use_bias=False))
    assert sum(weight.size for weight in dsr.sparse_weights(model)) * 4 > 100e9
    with pytest.raises(MemoryError, match=r"would take 103\.1 GB.*resumable=True"):
        dsr.strip(model)
    with pytest.raises(MemoryError, match="would take"):
        dsr.save(model, tmp_path / "plain.keras")
    assert list(tmp_path.iterdir()) == []
    assert {type(layer) for layer in model.layers} == {CompactDense}

    model.compile("sgd", "mse", jit_compile=False)
    inputs = np.ones((2, 65_536), "float32")
    model.fit(inputs, inputs, verbose=0, callbacks=[dsr.DSRCallback(target=0.1, period=1)])
    dsr.save(model, tmp_path / "model.keras", resumable=True)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert bits(loaded(inputs)) == bits(model(inputs))
    assert dsr.summary(loaded).active == 6 * 4_295
    dsr.report(loaded, tmp_path / "report.html", batch_sizes=())
    assert "of 4,294,967,296 weights active" in (tmp_path / "report.html").read_text()


@pytest.mark.backends("jax")
def test_more_places_than_its_positions_can_tell_apart_are_refused():
    layer = dsr.SparseDense(65_536, sparsity=0.999999, storage="compact")
    with pytest.raises(ValueError, match=r"at most 1,073,741,824 positions on jax.*shape \(65536, 65536\)"):
        layer.build((None, 65_536))


def test_classes_are_those_of_their_kinds():
    kinds = [type(built(kind, storage="compact")) for kind in ("dense", "einsum to heads", "convolution")]
    assert kinds == [CompactDense, CompactEinsumDense, CompactConv2D]


WITHOUT_NUMBA = """
import logging, sys
if "without" in sys.argv:
    sys.modules["numba"] = None
logging.basicConfig(level="INFO", format="%(message)s")
from tests.layers.test_compact import KINDS, test_outputs_and_gradients_are_those_of_a_masked_layer
for kind in KINDS:
    test_outputs_and_gradients_are_those_of_a_masked_layer(kind, "float32")
print(len(KINDS), "kinds")
import keras, keras_dsr as dsr
model = keras.Sequential([keras.Input((4,)), dsr.SparseDense(3, sparsity=0.9, storage="compact")])
try:
    dsr.Reallocator(model, dsr.methods.RigL())
except ValueError as error:
    print(error)
"""


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("how", ["without", "that does not compile"])
def test_without_numba_the_products_of_the_backend_serve_and_it_says_so_once(how):
    command = [sys.executable, "-c", WITHOUT_NUMBA, how]
    environment = os.environ | ({} if how == "without" else {"NUMBA_DISABLE_JIT": "1"})
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{len(KINDS)} kinds" in done.stdout
    assert "without numba the layer does not see them. Install keras-dsr[fast], or use DSR, SET" in done.stdout
    assert done.stderr.count("as numba does not work") == 1
    assert "pip install keras-dsr[fast]" in done.stderr


@pytest.mark.slow_on("jax")
@pytest.mark.backends("tensorflow", "jax")
def test_what_keras_exports_itself_needs_nothing_of_ours(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((6, 5, 3)),
            dsr.SparseConv2D(4, 3, sparsity=0.8, storage="compact"),
            keras.layers.Flatten(),
            dsr.SparseDense(2, sparsity=0.8, storage="compact"),
        ]
    )
    images = np.random.default_rng(0).normal(size=(3, 6, 5, 3)).astype("float32")
    expected = model.predict(images, verbose=0)
    model.export(tmp_path / "model", verbose=False)
    np.save(tmp_path / "images.npy", images)
    code = "import numpy as np, tensorflow as tf; model = tf.saved_model.load('model'); "
    run_without_keras_dsr(code + "np.save('outputs.npy', model.serve(np.load('images.npy')))", tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, atol=1e-5)


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("kind", ["dense", "window"])
def test_a_gradient_has_a_gradient(kind):
    """As the gradient penalty of a GAN's critic has, which is trained on the gradient of its inputs."""
    compact = built(kind, "float64", storage="compact", use_bias=False)
    masked = masked_like(compact, kind, "float64", use_bias=False)
    inputs = np.random.default_rng(0).normal(size=KINDS[kind][1])
    found, expected = (second_gradient(layer, inputs) for layer in (compact, masked))
    (weight,) = dsr.sparse_weights(compact)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        found[1][: weight.count()], expected[1].reshape(-1)[weight.positions()], rtol=1e-3, atol=1e-4
    )
    assert np.abs(found[1]).max() > 0.01


def second_gradient(layer, inputs) -> tuple[np.ndarray, np.ndarray]:
    """Of the squared norm of the gradient of the inputs, by the inputs and by the weights."""
    (weight,) = layer.trainable_variables

    def squares(outputs):
        return ops.sum(outputs**3)

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        given = tf.constant(inputs)
        with tf.GradientTape() as outer:
            outer.watch(given)
            with tf.GradientTape() as inner:
                inner.watch(given)
                loss = squares(layer(given))
            penalty = tf.reduce_sum(inner.gradient(loss, given) ** 2)
        return tuple(values(each) for each in outer.gradient(penalty, [given, weight.value]))
    if backend == "jax":
        import jax

        def penalty(given, weights):
            def loss(given):
                with keras.StatelessScope([(weight, weights)]):
                    return squares(layer(given))

            return ops.sum(jax.grad(loss)(given) ** 2)

        return tuple(values(each) for each in jax.grad(penalty, (0, 1))(inputs, weight.value))
    import torch

    given = torch.tensor(inputs, requires_grad=True)
    (gradient,) = torch.autograd.grad(squares(layer(given)), given, create_graph=True)
    return tuple(values(each) for each in torch.autograd.grad((gradient**2).sum(), [given, weight.value]))
