"""Functions of Python that programs of JAX call with their own memory."""

import gc
import weakref

import keras
import numpy as np
import pytest

import keras_dsr as dsr

pytestmark = pytest.mark.backends("jax")
if keras.backend.backend() == "jax":
    import jax

    from keras_dsr.backend import jax_host_calls
    from keras_dsr.backend.jax_host_calls import call, memory_of, numbered


@pytest.fixture(params=["ffi", "callback"])
def way(request, monkeypatch):
    """Both ways to call: that of one device, and where that cannot be."""
    assert jax_host_calls._is_registered()
    if request.param == "callback":
        monkeypatch.setattr(jax_host_calls, "_is_registered", lambda: False)


def sums(arguments, results):
    x, count = arguments
    results[0][...] = x.sum(0) * count
    results[1][...] = int(count) + 1


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_it_reads_its_arguments_and_writes_its_results(way, dtype):
    number = numbered(sums)

    @jax.jit
    def program(x):
        shapes = [jax.ShapeDtypeStruct((3,), dtype), jax.ShapeDtypeStruct((), "int32")]
        first, second = call(number, shapes, x * 2, np.int32(5))
        return first + 1, second

    first, second = program(np.arange(6, dtype=dtype).reshape(2, 3))
    np.testing.assert_array_equal(first, np.array([3, 5, 7]) * 2 * 5 + 1)
    assert int(second) == 6


def test_arrays_may_be_empty(way):
    number = numbered(sums)
    shapes = [jax.ShapeDtypeStruct((0,), "float32"), jax.ShapeDtypeStruct((), "int32")]
    first, second = call(number, shapes, np.zeros((4, 0), "float32"), np.int32(1))
    assert first.shape == (0,) and int(second) == 2


def test_an_error_reaches_the_caller_in_its_words(way):
    def fails(arguments, results):
        raise ValueError("rows must be columns")

    number = numbered(fails)
    with pytest.raises(Exception, match="rows must be columns"):
        jax.block_until_ready(call(number, [jax.ShapeDtypeStruct((2,), "float32")], np.zeros(2, "float32")))


def test_it_is_called_for_each_of_a_batch(way):
    number = numbered(sums)
    shapes = [jax.ShapeDtypeStruct((3,), "float32"), jax.ShapeDtypeStruct((), "int32")]
    x = np.arange(12, dtype="float32").reshape(2, 2, 3)
    first, _ = jax.vmap(lambda one: tuple(call(number, shapes, one, np.int32(1))))(x)
    np.testing.assert_array_equal(first, x.sum(1))


def test_the_memory_of_an_array_is_not_copied():
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    same = memory_of(array)
    assert same.flags.writeable and same.ctypes.data == array.ctypes.data and (same == array).all()
    assert memory_of(np.zeros((0, 3))).shape == (0, 3) and memory_of(np.int32(5)).shape == ()


def test_programs_hold_no_layer():
    model = keras.Sequential([keras.Input((8,)), dsr.SparseDense(4, sparsity=0.5, storage="compact")])
    model.compile("sgd", "mse")
    model.train_on_batch(np.zeros((2, 8)), np.zeros((2, 4)))
    gone = weakref.ref(model.layers[0].seen_gradients)
    del model
    jax.clear_caches()
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None
