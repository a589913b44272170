import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.exporting.csr_kinds import is_product, matrix_of

tf = pytest.importorskip("tensorflow")
from keras_dsr.exporting.csr import csr_matrix, multiply  # noqa: E402
from keras_dsr.exporting.csr_layers import by_csr, recording_rows  # noqa: E402
from keras_dsr.exporting.csr_timing import ProductTime, measure  # noqa: E402

pytestmark = pytest.mark.backends("tensorflow")  # whose operations multiply


def sparse_kernel(shape, density, seed=0, dtype="float32"):
    random = np.random.default_rng(seed)
    return np.where(random.random(shape) < density, random.normal(size=shape), 0).astype(dtype)


def transposed(kernel):
    turned = np.ascontiguousarray(kernel.T)
    positions = np.flatnonzero(turned)
    return csr_matrix(tf.constant(turned.reshape(-1)[positions]), tf.constant(positions), turned.shape)


@given(
    st.lists(st.integers(1, 5), max_size=2),
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0, 1),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 2**16),
)
def test_the_product_is_that_of_the_dense_kernel(rows, inputs, outputs, density, dtype, seed):
    kernel = sparse_kernel((inputs, outputs), density, seed, dtype)
    x = np.random.default_rng(seed).normal(size=(2, *rows, inputs)).astype(dtype)
    product = multiply(tf.constant(x), transposed(kernel), outputs)
    assert product.dtype == dtype and product.shape == (2, *rows, outputs)
    np.testing.assert_allclose(product, x @ kernel, rtol=1e-4, atol=1e-5)


def test_a_matrix_from_a_variable_is_known_again_in_a_graph():
    kernel = sparse_kernel((6, 4), 0.5)
    held = tf.raw_ops.VarHandleOp(dtype=tf.variant, shape=[], shared_name="held")
    tf.raw_ops.AssignVariableOp(resource=held, value=transposed(kernel))

    @tf.function
    def product(x):
        matrix = tf.raw_ops.ReadVariableOp(resource=held, dtype=tf.variant)
        return multiply(x, matrix, 4)

    @tf.function
    def product_in_a_loop(x):
        matrix = tf.raw_ops.ReadVariableOp(resource=held, dtype=tf.variant)
        return tf.while_loop(
            lambda step, _: step < 2, lambda step, _: (step + 1, multiply(x, matrix, 4)), (0, x[:, :4])
        )

    x = tf.ones([3, 6])
    np.testing.assert_allclose(product(x), np.ones((3, 6)) @ kernel, rtol=1e-5)
    np.testing.assert_allclose(product_in_a_loop(x)[1], np.ones((3, 6)) @ kernel, rtol=1e-5)


LAYERS = [
    (lambda: keras.layers.Dense(5, activation="relu"), (7,)),
    (lambda: keras.layers.Dense(5, use_bias=False), (3, 4, 7)),
    (lambda: keras.layers.Conv1D(5, 1, strides=2), (9, 7)),
    (lambda: keras.layers.Conv2D(5, 1, strides=(2, 3), activation="tanh"), (5, 8, 7)),
    (lambda: keras.layers.Conv2D(5, (1, 1), padding="same", use_bias=False), (5, 8, 7)),
    (lambda: keras.layers.Conv3D(5, 1, dilation_rate=2), (2, 3, 4, 7)),
]


@pytest.mark.parametrize(("build", "shape"), LAYERS)
def test_a_layer_computes_the_same_by_csr_and_is_itself_again_after_it(build, shape):
    layer = build()
    layer.build((None, *shape))
    assert is_product(layer)
    layer._kernel.assign(sparse_kernel(layer._kernel.shape, 0.4))
    if layer.use_bias:
        layer.bias.assign(np.arange(5))
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    expected = layer(x)
    matrix = transposed(matrix_of(np.array(layer._kernel)))
    layer._kernel.assign(keras.ops.zeros_like(layer._kernel))  # so that the product can only come from the matrix
    with by_csr({layer: matrix}):
        found = layer(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.shape == expected.shape
    assert "call" not in vars(layer) and np.ptp(layer(x)[0]) <= np.ptp(expected[0])


def test_whole_numbers_are_taken_as_the_layer_takes_them():
    layer = keras.layers.Dense(5)
    layer.build((None, 7))
    layer._kernel.assign(sparse_kernel((7, 5), 0.4))
    x = np.arange(14, dtype="int32").reshape(2, 7)
    with by_csr({layer: transposed(np.array(layer._kernel))}):
        found = layer(x)
    np.testing.assert_allclose(found, layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Conv2D(4, 3),
        lambda: keras.layers.Conv2D(4, 1, groups=2),
        lambda: keras.layers.Conv2D(4, 1, data_format="channels_first"),
        lambda: keras.layers.Dense(4, dtype="mixed_float16"),
        lambda: keras.layers.Dense(4, lora_rank=2),
        lambda: keras.layers.EinsumDense("ab,bc->ac", 4),
        lambda: keras.layers.Embedding(4, 4),
    ],
)
def test_other_layers_are_no_products(layer):
    layer = layer()
    layer.build((None, 8, 8, 4) if isinstance(layer, keras.layers.Conv2D) else (None, 4))
    assert not is_product(layer)


def test_rows_are_counted_at_each_call():
    dense, convolution = keras.layers.Dense(4), keras.layers.Conv2D(4, 1, strides=2)
    x = keras.Input((5, 6, 4))
    model = keras.Model(x, dense(convolution(dense(x))))
    with recording_rows([dense, convolution]) as rows:
        model(np.zeros((2, 5, 6, 4)))
    assert rows == {dense: [30, 9], convolution: [9]}


def test_times_are_of_products_that_were_done():
    taken = measure(sparse_kernel((300, 200), 0.1), rows=4, rounds=3)
    assert taken.rows == 4 and taken.dense > 0 and taken.csr > 0
    assert taken.speedup == taken.dense / taken.csr
    assert ProductTime(rows=1, dense=3.0, csr=1.5).speedup == 2
