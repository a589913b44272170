"""A layer that lies in several models: all of them go on as one network when it is made sparse or dense."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from tests.helpers.networks import batch, compiled, digits, fit, values


def nested():
    base = keras.Sequential([keras.Input((64,)), keras.layers.Dense(24, "relu", name="hidden")])
    model = compiled(keras.Sequential([base, keras.layers.Dense(10, name="classes")]), keras.optimizers.Adam(0.01))
    fit(model, batches=2)
    model.predict(batch(), verbose=0)
    return base, model


def loss_of_a_step(model):
    """The loss that the training step sees, with nothing learned by it."""
    rate, model.optimizer.learning_rate = float(model.optimizer.learning_rate), 0.0
    images, classes = digits()
    loss = model.fit(images[:64], classes[:64], batch_size=64, verbose=0, shuffle=False).history["loss"][0]
    model.optimizer.learning_rate = rate
    return loss


def assert_one_network(model):
    images, classes = digits()
    evaluated = model.evaluate(images[:64], classes[:64], batch_size=64, verbose=0)[0]
    assert loss_of_a_step(model) == pytest.approx(evaluated, rel=1e-5)
    hidden = np.maximum(
        images[:64] @ values(model.layers[0].layers[-1].kernel) + values(model.layers[0].layers[-1].bias), 0
    )
    outputs = hidden @ values(model.layers[1].kernel) + values(model.layers[1].bias)
    np.testing.assert_allclose(model.predict(images[:64], verbose=0), outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("storage", ["masked", "compact"])
def test_the_model_around_a_base_goes_on_as_the_same_network(storage):
    base, model = nested()
    dsr.sparsify(base, sparsity=0.9, mask="magnitude", storage=storage)
    assert_one_network(model)
    fit(model, batches=2)
    assert_one_network(model)
    assert dsr.sparse_weights(model)[0].count() == 154
    dsr.densify(base)
    fit(model, batches=2)
    assert_one_network(model)
    assert np.count_nonzero(values(base.layers[-1].kernel)) > 154  # it trains dense again


def test_slots_are_cleared_in_every_optimizer_that_holds_the_variable():
    base, model = nested()
    other = keras.optimizers.SGD(0.1, momentum=0.9)
    other.build(base.trainable_variables)
    kernel = base.layers[-1].kernel
    (momentum,) = (slot.variable for slot in optimizer_slots(other, kernel))
    momentum.assign(np.ones(momentum.shape))
    dsr.sparsify(base, sparsity=0.9)
    (weight,) = dsr.sparse_weights(base)
    dead = ~values(weight.mask)
    assert (values(momentum)[dead] == 0).all() and (values(momentum)[~dead] == 1).all()
    for slot in optimizer_slots(model.optimizer, weight.variable):
        assert (values(slot.variable)[dead] == 0).all()


def test_a_layer_is_not_mistaken_for_another_one_that_was_sparse_before():
    """On JAX two traced steps look the same if only the place of the mask differs."""
    model = compiled(
        keras.Sequential(
            [keras.Input((64,)), keras.layers.Dense(64, name="one"), keras.layers.Dense(64, name="other")]
        ),
        "sgd",
    )
    for name in ("one", "other"):
        dsr.sparsify(model, sparsity=0.9, exclude=[layer for layer in model.layers if layer.name != name])
        fit(model, batches=1)
        layer = model.get_layer(name)
        layer.kernel_mask.assign(np.ones((64, 64), bool))
        dense = model.predict(batch(), verbose=0)
        layer.kernel_mask.assign(np.eye(64, dtype=bool))
        assert np.abs(model.predict(batch(), verbose=0) - dense).max() > 1e-3
        dsr.densify(model)


def test_what_cannot_be_told_of_new_variables_is_named():
    base, model = nested()
    model.own = keras.optimizers.SGD(0.1)
    model.own.build(model.trainable_variables)
    with pytest.raises(ValueError, match="the optimizer 'own' of .* would not know"):
        dsr.sparsify(base, sparsity=0.9, storage="compact")
    assert type(base.layers[-1]) is keras.layers.Dense


def test_what_is_left_of_objects_that_were_refused_is_passed_over():
    left = []
    for make in (
        lambda: dsr.SparseOptimizer("adam", sparsity=2.0),
        lambda: dsr.SparseDense(10, sparsity=2.0),
        lambda: dsr.SparseDense(10, sparsity=0.9, storage="compact", capacity=0.5),
    ):
        with pytest.raises(ValueError, match="must") as refused:
            make()
        left.append(refused.tb)  # keeps the frames alive, and what was begun in them
    base, model = nested()
    dsr.sparsify(base, sparsity=0.9)
    fit(model, dsr.DSRCallback(target=0.2, period=1), batches=2)
    assert len(left) == 3 and dsr.sparse_weights(model)[0].count() == 154


# What cannot be right


@pytest.mark.parametrize("is_built", [False, True])
def test_weights_that_an_optimizer_keeps_sparse_are_not_made_sparse_again(is_built):
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, name="classes")])
    compiled(model, dsr.SparseOptimizer("adam", sparsity=0.8))
    if is_built:
        model.optimizer.build(model.trainable_variables)
    before = values(model.layers[0].kernel)
    with pytest.raises(ValueError, match="classes/kernel' would be sparse twice"):
        dsr.sparsify(model, sparsity=0.5)
    assert type(model.layers[0]) is keras.layers.Dense
    np.testing.assert_array_equal(values(model.layers[0].kernel), before)


def test_a_sparse_layer_trains_under_no_sparse_optimizer():
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(10, sparsity=0.8, name="classes")])
    compiled(model, dsr.SparseOptimizer("adam", sparsity=0.8))
    with pytest.raises(ValueError, match="classes/kernel' is sparse twice"):
        fit(model, batches=1)


def test_a_model_is_not_left_at_another_sparsity_without_a_word():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(24, name="a"), keras.layers.Dense(10, name="b")])
    dsr.sparsify(model, sparsity=0.5, exclude="b")
    with pytest.raises(ValueError, match="sparse already, such as '.*a/kernel' with 768 of 1,536 weights"):
        dsr.sparsify(model, sparsity=0.8)
    assert type(model.get_layer("b")) is keras.layers.Dense
    assert [row.active for row in dsr.sparsify(model, sparsity=0.8, exclude="a").rows] == [48]
    dsr.sparsify(model, sparsity=0.5, exclude="b")  # as it is


@pytest.mark.parametrize(
    ("make", "act", "message"),
    [
        (lambda: dsr.SparseDense(4), lambda layer: layer.enable_lora(2), "cannot have LoRA weights"),
        (lambda: dsr.SparseDense(4), lambda layer: layer.quantize("int8"), "cannot be quantized"),
        (lambda: dsr.SparseEmbedding(64, 4), lambda layer: layer.enable_lora(2), "cannot have LoRA weights"),
        (lambda: dsr.SparseEinsumDense("ab,bc->ac", 4), lambda layer: layer.quantize("int8"), "cannot be quantized"),
    ],
)
def test_lora_and_quantization_of_a_sparse_layer_are_refused(make, act, message):
    layer = make()
    layer.build((None, 64))
    with pytest.raises(NotImplementedError, match=f"{type(layer).__name__} .* {message}: .*keras_dsr.strip"):
        act(layer)


@keras.saving.register_keras_serializable("tests")
class Block(keras.layers.Layer):
    """A layer of one's own that makes stock layers."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.inner = keras.layers.Dense(64)

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, x):
        return x + self.inner(x)


def with_a_block():
    inputs = keras.Input((64,))
    model = compiled(keras.Model(inputs, keras.layers.Dense(10)(Block()(inputs))))
    dsr.sparsify(model, sparsity=0.5)
    return model


def test_a_file_that_cannot_be_loaded_is_not_written_without_a_word(tmp_path):
    with pytest.warns(UserWarning, match="cannot be read by keras.models.load_model: Block would make stock layers"):
        dsr.save(with_a_block(), tmp_path / "model.keras", resumable=True)


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_checkpoint_that_cannot_be_loaded_is_said_when_training_begins(tmp_path, recwarn):
    callback = dsr.DSRCallback(target=20, period=1)
    for weights_only, said in ((True, 0), (False, 1)):
        suffix = "weights.h5" if weights_only else "keras"
        path = tmp_path / f"model.{suffix}"
        fit(with_a_block(), callback, keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only), batches=1)
        assert len([one for one in recwarn if "What ModelCheckpoint writes" in str(one.message)]) == said
