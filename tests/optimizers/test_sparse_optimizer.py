import math

import h5py
import keras
import numpy as np
import pytest
from keras import layers, optimizers

from keras_dsr.backend.keras_slots import batches_a_step, batches_taken, optimizer_slots, unwrapped
from keras_dsr.optimizers import SparseOptimizer
from tests.helpers.every_optimizer import OPTIMIZERS
from tests.helpers.networks import batch, bits, compiled, digits, fit, gradient_of, selected, state_bits, values

SETTINGS = {
    "average": {"use_ema": True, "ema_momentum": 0.9},
    "average that overwrites": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 2},
    "accumulation": {"gradient_accumulation_steps": 2},
    "clipnorm": {"clipnorm": 0.01},
    "global_clipnorm": {"global_clipnorm": 0.01},
    "clipvalue": {"clipvalue": 0.001},
    "loss_scale_factor": {"loss_scale_factor": 8.0},
}


def network() -> keras.Model:
    """64-24-10 of stock layers, with batch normalization: 1,536 and 240 weights in two kernels."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(24, use_bias=False, name="hidden"),
            layers.BatchNormalization(name="normalization"),
            layers.Dense(10, name="classes"),
        ]
    )


def trained(optimizer, **settings) -> keras.Model:
    model = compiled(network(), optimizer)
    fit(model, **settings)
    return model


def masks(optimizer) -> list[np.ndarray]:
    return [values(sparse.mask) for sparse in optimizer.sparse_variables]


def counts(optimizer) -> list[int]:
    return [int(mask.sum()) for mask in masks(optimizer)]


def assert_clean(optimizer):
    """Pruned positions hold 0, and their slots the values that they start from; all is finite."""
    for sparse in optimizer.sparse_variables:
        dead = ~values(sparse.mask)
        assert np.isfinite(values(sparse.variable)).all()
        assert bits(values(sparse.variable)[dead]) == bits(np.zeros(dead.sum(), "float32"))
        for slot in sparse.slots:
            np.testing.assert_array_equal(values(slot.variable)[dead], np.float32(slot.initial_value))


def assert_same(one: keras.Model, other: keras.Model):
    assert state_bits(one) == state_bits(other)


SOME = ["SGD", "RMSprop", "Adagrad", "Adafactor", "Ftrl", "Lamb", "Muon", "ScheduleFreeAdamW"]


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("name", selected(OPTIMIZERS, SOME))
def test_counts_are_exact_from_the_first_step_on_under_every_optimizer(name):
    optimizer = SparseOptimizer(OPTIMIZERS[name](), sparsity=0.8, seed=1)
    model = compiled(network(), optimizer)
    first = fit(model, batches=1).history["loss"][0]
    assert counts(optimizer) == [307, 48]
    assert_clean(optimizer)
    drawn = masks(optimizer)
    last = fit(model, batches=7, epochs=7).history["loss"][-1]
    assert last < first
    assert_clean(optimizer)
    for before, after in zip(drawn, masks(optimizer)):
        np.testing.assert_array_equal(before, after)
    if name != "Ftrl":  # it sets active weights without a gradient to 0 as well
        assert [np.count_nonzero(values(sparse.variable)) for sparse in optimizer.sparse_variables] == [307, 48]


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize(
    "name", selected(SETTINGS, [name for name in SETTINGS if name not in ("average", "clipvalue")])
)
def test_settings_of_the_wrapped_optimizer(name):
    optimizer = SparseOptimizer(optimizers.Adam(0.01, **SETTINGS[name]), sparsity=0.8)
    model = trained(optimizer, batches=5)
    assert_clean(optimizer)  # after the last value that an average has written
    assert counts(optimizer) == [307, 48]
    assert [type(layer) for layer in model.layers] == [type(layer) for layer in network().layers]
    for setting, value in SETTINGS[name].items():
        assert getattr(optimizer, setting) == value


def test_without_sparsity_it_trains_as_the_wrapped_optimizer_does():
    keras.utils.set_random_seed(3)
    wrapped = trained(SparseOptimizer(optimizers.Adam(0.01), sparsity=0.0, seed=1))
    keras.utils.set_random_seed(3)
    plain = trained(optimizers.Adam(0.01))
    assert list(map(bits, wrapped.variables)) == list(map(bits, plain.variables))


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("make", selected([OPTIMIZERS["Adam"], OPTIMIZERS["Muon"]], [OPTIMIZERS["Muon"]]))
def test_dense_weights_that_are_loaded_in_between_are_refused_and_end_sparse(make):
    optimizer = SparseOptimizer(make(), sparsity=0.8)
    model = trained(optimizer)
    model.set_weights(network().get_weights())
    with pytest.raises(ValueError, match="set from outside at pruned positions .* 1,229 more than its budget"):
        fit(model, batches=1)
    fit(model, batches=1)
    assert counts(optimizer) == [307, 48]
    assert_clean(optimizer)


@pytest.mark.slow_on("tensorflow")
def test_a_wrapped_optimizer_that_has_trained_loses_what_it_held_for_dead_weights():
    adam = optimizers.Adam(0.01)
    model = trained(adam)
    optimizer = SparseOptimizer(adam, sparsity=0.8)
    compiled(model, optimizer)
    fit(model, batches=2)
    assert_clean(optimizer)


@pytest.mark.slow_on("tensorflow")
def test_a_constraint_does_not_revive_dead_weights():
    model = network()
    model.layers[0].kernel.constraint = lambda weight: weight + 0.5
    optimizer = SparseOptimizer("adam", sparsity=0.8)
    compiled(model, optimizer)
    fit(model, batches=2)
    assert_clean(optimizer)


ON_JAX_REFUSED = pytest.mark.backends("tensorflow", "torch")


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize("place", [pytest.param("inside", marks=ON_JAX_REFUSED), "outside", "policy"])
def test_loss_scaling(place):
    optimizer = SparseOptimizer("adam", sparsity=0.8)
    if place == "inside":
        optimizer = outermost = SparseOptimizer(optimizers.LossScaleOptimizer(optimizers.Adam()), sparsity=0.8)
    elif place == "outside":
        outermost = optimizers.LossScaleOptimizer(optimizer)
    else:
        keras.config.set_dtype_policy("mixed_float16")
        outermost = optimizer
    try:
        model = trained(outermost)
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, optimizers.LossScaleOptimizer) == (place != "inside")
    assert counts(optimizer) == [307, 48]
    assert_clean(optimizer)
    assert isinstance(unwrapped(model.optimizer), optimizers.Adam)
    assert batches_taken(model.optimizer) == int(model.optimizer.iterations) == 6
    assert [len(optimizer_slots(model.optimizer, sparse.variable)) for sparse in optimizer.sparse_variables] == [2, 2]


def several():
    hidden, rest = optimizers.SGD(0.01, momentum=0.9), optimizers.Muon(0.01)
    return optimizers.MultiOptimizer(lambda variable: hidden if "hidden" in variable.path else rest)


def test_several_optimizers_inside():
    optimizer = SparseOptimizer(several(), sparsity=0.8)
    model = compiled(network(), optimizer)
    optimizer.build(model.trainable_variables)  # only then a MultiOptimizer knows its parts
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    fit(model, scheduler, epochs=2)
    assert counts(optimizer) == [307, 48]
    assert_clean(optimizer)
    assert [len(sparse.slots) for sparse in optimizer.sparse_variables] == [1, 1]
    assert not hasattr(optimizer, "learning_rate")
    assert [float(part.learning_rate) for part in optimizer.optimizers] == pytest.approx([0.0025, 0.0025])


def test_masks_are_drawn_from_the_seed_and_differ_between_tensors_of_one_shape():
    def drawn(seed):
        model = keras.Sequential([keras.Input((64,)), *(layers.Dense(64) for _ in range(2))])
        optimizer = SparseOptimizer("sgd", seed=seed)
        optimizer.build(model.trainable_variables)
        return optimizer, masks(optimizer)

    (_, one), (_, same), (_, other), (free, _) = drawn(1), drawn(1), drawn(2), drawn(None)
    np.testing.assert_array_equal(one, same)
    assert (one[0] != one[1]).any() and (one[0] != other[0]).any() and (one[1] != other[0]).any()
    assert isinstance(free.seed, int)


def test_magnitude_keeps_the_largest_weights():
    model = network()
    dense = values(model.layers[0].kernel)
    optimizer = SparseOptimizer("sgd", sparsity=0.9, mask="magnitude")
    compiled(model, optimizer)
    optimizer.build(model.trainable_variables)
    kept = masks(optimizer)[0]
    assert kept.sum() == 154
    assert np.abs(dense[kept]).min() >= np.abs(dense[~kept]).max()
    np.testing.assert_array_equal(values(model.layers[0].kernel), np.where(kept, dense, 0))


def test_magnitude_of_a_model_that_trains_at_once():
    optimizer = SparseOptimizer(optimizers.SGD(0.0), mask="magnitude")
    keras.utils.set_random_seed(0)
    dense = values(network().layers[0].kernel)
    keras.utils.set_random_seed(0)
    trained(optimizer, batches=1)
    kept = masks(optimizer)[0]
    assert np.abs(dense[kept]).min() >= np.abs(dense[~kept]).max()


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.97])
def test_erk_has_an_exact_total_and_leaves_small_tensors_denser(sparsity):
    optimizer = SparseOptimizer("sgd", sparsity, distribution="erk")
    optimizer.build(network().trainable_variables)
    hidden, classes = counts(optimizer)
    assert hidden + classes == round((1 - sparsity) * (1536 + 240))
    assert hidden / 1536 < classes / 240


def many_kinds() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="convolution"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.SeparableConv2D(4, 3, name="separable"),
            layers.LayerNormalization(name="normalization"),
            layers.Reshape((4, 4)),
            layers.LSTM(5, name="recurrent"),
            layers.Dense(6, name="head"),
        ]
    )


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (
            None,
            [
                "convolution/kernel",
                "separable/pointwise_kernel",
                "recurrent/lstm_cell/kernel",
                "recurrent/lstm_cell/recurrent_kernel",
                "head/kernel",
            ],
        ),
        (".*/head/kernel", ["head/kernel"]),
        ([".*/head/.*", ".*/convolution/kernel"], ["convolution/kernel", "head/kernel", "head/bias"]),
        (lambda variable: "depthwise_kernel" in variable.path, ["separable/depthwise_kernel"]),
    ],
)
def test_selects(select, expected):
    optimizer = SparseOptimizer("sgd", sparsity=0.5, select=select)
    model = keras.Sequential(many_kinds().layers, name="model")
    optimizer.build(model.trainable_variables)
    assert [sparse.name.split("/", 1)[1] for sparse in optimizer.sparse_variables] == expected
    for sparse in optimizer.sparse_variables:
        assert values(sparse.mask).sum() == round(math.prod(sparse.variable.shape) / 2)


def test_an_embedding_that_is_selected():
    model = keras.Sequential([keras.Input((3,)), layers.Embedding(20, 8), layers.Flatten(), layers.Dense(1)])
    optimizer = SparseOptimizer("adam", sparsity=0.5, select=".*/embeddings")
    model.compile(optimizer, "mse", jit_compile=keras.backend.backend() == "jax")
    optimizer.build(model.trainable_variables)
    optimizer.remember_gradients(0.0)
    model.fit(np.arange(12).reshape(4, 3), np.ones((4, 1)), verbose=0)
    assert counts(optimizer) == [80]
    assert_clean(optimizer)
    gradient = values(optimizer.sparse_variables[0].gradient)
    assert gradient[:12].all() and not gradient[12:].any()


@pytest.mark.slow_on("tensorflow")
def test_a_frozen_variable_stays_dense():
    model = network()
    model.layers[0].trainable = False
    optimizer = SparseOptimizer("adam")
    compiled(model, optimizer)
    fit(model)
    assert [sparse.name for sparse in optimizer.sparse_variables] == [model.layers[2].kernel.path]
    assert values(model.layers[0].kernel).all()


@pytest.mark.slow_on("jax")
def test_a_step_by_hand_without_fit():
    model = network()
    optimizer = SparseOptimizer("adam", sparsity=0.8)
    gradients = [keras.ops.ones(variable.shape) for variable in model.trainable_variables]
    optimizer.apply([None, *gradients[1:]], model.trainable_variables)
    optimizer.apply(gradients)
    assert counts(optimizer) == [307, 48]
    assert_clean(optimizer)
    assert int(optimizer.iterations) == 2
    optimizer.apply(gradients[::-1], model.trainable_variables[::-1])
    assert_clean(optimizer)


@keras.saving.register_keras_serializable("tests")
def is_in_classes(variable):
    return "classes/kernel" in variable.path


@pytest.mark.parametrize("select", [None, ".*/classes/kernel", [".*kernel"], is_in_classes])
def test_config(select):
    optimizer = SparseOptimizer(
        optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), clipnorm=1.0),
        sparsity=0.7,
        select=select,
        distribution="erk",
        mask="magnitude",
        state={"signs": "int8"},
        gradient_decay=0.5,
        name="mine",
    )
    config = keras.saving.serialize_keras_object(optimizer)
    other = keras.saving.deserialize_keras_object(config)
    assert isinstance(other, SparseOptimizer)
    assert other.get_config() == optimizer.get_config()
    assert other.select == select
    assert other.inner_optimizer.clipnorm == 1.0
    assert other.seed == optimizer.seed


@pytest.mark.parametrize(
    ("name", "scaled"),
    [
        ("Adam", True),
        pytest.param("Muon", False, marks=pytest.mark.thorough),
        pytest.param("Adam", False, marks=pytest.mark.thorough),
        pytest.param("Muon", True, marks=pytest.mark.thorough),
    ],
)
def test_a_saved_model_goes_on_to_the_same_bits(tmp_path, name, scaled):
    optimizer = SparseOptimizer(OPTIMIZERS[name](), sparsity=0.8)
    model = trained(optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(model, loaded)
    fit(model)
    fit(loaded)
    assert_same(model, loaded)
    assert [type(layer).__module__.split(".")[0] for layer in loaded.layers] == ["keras"] * 3


@pytest.mark.slow_on("tensorflow")
def test_nothing_is_saved_twice(tmp_path):
    model = trained(SparseOptimizer("adam", sparsity=0.8))
    model.save_weights(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5") as file:
        assert sorted(file["optimizer/vars"]) == ["mask_0", "mask_3", "record_0", "record_3", "threshold"]
        assert len(file["optimizer/inner_optimizer/vars"]) == len(model.optimizer.inner_optimizer.variables)


def test_weights_bring_masks_and_states_along(tmp_path):
    model = trained(SparseOptimizer("adam", sparsity=0.8))
    optimizer = model.optimizer
    optimizer.add_state("signs", "int8")
    optimizer.remember_gradients(0.9)
    optimizer.sparse_variables[1].state["signs"].assign(np.ones((24, 10)))
    optimizer.sparse_variables[0].threshold.assign(0.25)
    model.make_train_function(force=True)
    fit(model)
    model.save_weights(tmp_path / "model.weights.h5")

    other = compiled(network(), SparseOptimizer("adam", sparsity=0.8))
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(model, other)
    assert other.optimizer.state == {"signs": "int8"}
    assert other.optimizer.gradient_decay == 0.9
    assert float(other.optimizer.sparse_variables[0].threshold) == 0.25

    plain = compiled(network(), SparseOptimizer("adam", sparsity=0.8, seed=1))
    fit(plain)
    plain.save_weights(tmp_path / "plain.weights.h5")
    other.load_weights(tmp_path / "plain.weights.h5")
    assert not values(other.optimizer.sparse_variables[1].state["signs"]).any()


def test_backup_and_restore(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)

    def fresh(seed):
        keras.utils.set_random_seed(0)
        return compiled(network(), SparseOptimizer("adam", sparsity=0.8, seed=seed))

    whole = fresh(seed=1)
    fit(whole, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        fit(fresh(seed=1), backup(), Stop(), epochs=4)
    resumed = fresh(seed=2)
    fit(resumed, backup(), epochs=4)
    assert_same(whole, resumed)


@pytest.mark.slow_on("tensorflow")
@pytest.mark.backends("tensorflow")
def test_an_exported_model_is_as_it_was(tmp_path):
    import tensorflow as tf

    model = trained(SparseOptimizer("adam", sparsity=0.8))
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(values(loaded.serve(batch())), values(model(batch())), rtol=1e-5, atol=1e-6)


@pytest.mark.slow_on("jax")
def test_remembers_dense_gradients():
    model = network()
    optimizer = SparseOptimizer(optimizers.SGD(0.0), sparsity=0.8)
    compiled(model, optimizer)
    optimizer.build(model.trainable_variables)
    images, classes = digits()

    def dense_gradient(start):
        x, y = (keras.ops.convert_to_tensor(part[start : start + 32]) for part in (images, classes))
        return values(
            gradient_of(lambda: model.compute_loss(y=y, y_pred=model(x, training=True)), model.layers[2].kernel)
        )

    one, two = dense_gradient(0), dense_gradient(32)
    optimizer.remember_gradients(0.0)
    fit(model, batches=2)
    remembered = optimizer.sparse_variables[1].gradient
    np.testing.assert_allclose(values(remembered), two, rtol=1e-4, atol=1e-6)
    assert np.abs(values(remembered)[~masks(optimizer)[1]]).max() > 0

    optimizer.remember_gradients(0.75)
    assert optimizer.get_config()["gradient_decay"] == 0.75
    model.make_train_function(force=True)
    remembered.assign(np.zeros(remembered.shape))
    fit(model, batches=2)
    np.testing.assert_allclose(values(remembered), 0.1875 * one + 0.25 * two, rtol=1e-4, atol=1e-6)


def test_states_are_variables_of_the_shape_of_their_weight():
    optimizer = SparseOptimizer("adam", state={"signs": "int8"})
    optimizer.build(network().trainable_variables)
    optimizer.add_state("ages", "int32")
    for sparse in optimizer.sparse_variables:
        assert {name: v.dtype for name, v in sparse.state.items()} == {"signs": "int8", "ages": "int32"}
        assert all(tuple(v.shape) == tuple(sparse.variable.shape) for v in sparse.state.values())
        assert sparse.gradient is None
    assert optimizer.get_config()["state"] == {"signs": "int8", "ages": "int32"}
    assert len({id(variable) for variable in optimizer.variables}) == len(optimizer.variables)
    with pytest.raises(ValueError, match=r"must be a new name\. Received: name='ages'; taken are 'signs', 'ages'"):
        optimizer.add_state("ages", "int8")


@pytest.mark.slow_on("tensorflow", "jax")
def test_learning_rate():
    optimizer = SparseOptimizer(optimizers.SGD(0.1))
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == float(optimizer.inner_optimizer.learning_rate) == 0.5
    optimizer.weight_decay = 0.25
    assert optimizer.inner_optimizer.weight_decay == 0.25
    model = compiled(network(), optimizer)
    history = fit(model, keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch)), epochs=2)
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.05])

    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    scheduled = SparseOptimizer(optimizers.SGD(schedule))
    fit(compiled(network(), scheduled), batches=3)
    assert float(scheduled.learning_rate) == 0.125


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("scaled", selected([False, True], [True]))
def test_the_callback_that_swaps_in_averaged_weights(scaled):
    optimizer = SparseOptimizer(optimizers.Adam(0.01, use_ema=True), sparsity=0.8)
    model = compiled(network(), optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    fit(model, keras.callbacks.SwapEMAWeights(swap_on_epoch=True), epochs=2)
    assert_clean(optimizer)


@pytest.mark.slow_on("tensorflow", "jax")
def test_steps_of_accumulation_are_seen_through_it():
    optimizer = SparseOptimizer(optimizers.Adam(gradient_accumulation_steps=3))
    trained(optimizer, batches=6)
    assert (batches_taken(optimizer), batches_a_step(optimizer), int(optimizer.iterations)) == (6, 3, 2)


@pytest.mark.backends("tensorflow")  # on JAX it is always used, on torch never
def test_under_xla():
    optimizer = SparseOptimizer("adam", sparsity=0.8)
    fit(compiled(network(), optimizer, jit_compile=True), batches=2)
    assert counts(optimizer) == [307, 48]
    assert_clean(optimizer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"SparseOptimizer\(sparsity=...\) must be a number in \[0, 1\)"),
        ({"distribution": "even"}, r"\(distribution=...\) must be one of 'uniform', 'erk'. Received: .*'even'"),
        ({"mask": "largest"}, r"\(mask=...\) must be 'random', or 'magnitude'.*Received: mask='largest'"),
        ({"select": 3}, r"SparseOptimizer\(select=...\) must be a layer, .* Received: select=3"),
        ({"gradient_decay": 1.0}, r"\(gradient_decay=...\) must be a number in \[0, 1\).* Received: .*=1.0"),
        ({"clipnorm": 1.0}, r"does not take `clipnorm`.* Use SparseOptimizer\(keras.optimizers.Adam\(clipnorm=...\)"),
        ({"learning_rate": 0.1}, "does not take `learning_rate`: what concerns the update is set on the optimizer"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SparseOptimizer("adam", **arguments)


@ON_JAX_REFUSED
def test_refuses_one_inside_another():
    with pytest.raises(ValueError, match="must not hold another SparseOptimizer"):
        SparseOptimizer(optimizers.LossScaleOptimizer(SparseOptimizer("adam")))


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (
            "kernel",
            r"SparseOptimizer\(select=...\) names something .*: 'kernel' matches no layer .* Received: select='ker",
        ),
        ([".*/kernel", "head"], "'head' matches no layer and no weight. .*hidden/kernel"),
        (lambda variable: False, "lambda.* matches no layer and no weight. .*hidden/kernel', .*classes/kernel'"),
        (
            [],
            r"SparseOptimizer\(select=...\) selects no trainable variable. Received: select=\[\]; there are .*hidden",
        ),
    ],
)
def test_refuses_to_select_nothing(select, message):
    with pytest.raises(ValueError, match=message):
        SparseOptimizer("adam", select=select).build(network().trainable_variables)


@pytest.mark.backends("tensorflow")  # elsewhere `fit` builds the model before its first step
def test_refuses_a_model_without_weights_to_clear():
    model = compiled(keras.Sequential([layers.Dense(10)]), SparseOptimizer("adam"))
    with pytest.raises(ValueError, match="has no value yet, because the model is built inside that step. Give the"):
        fit(model)


@pytest.mark.slow_on("tensorflow")
def test_one_that_was_saved_before_its_first_step_begins_where_it_is_loaded(tmp_path):
    model = compiled(network(), SparseOptimizer("adam", sparsity=0.8, seed=1))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(loaded)
    assert counts(loaded.optimizer) == [307, 48]
    assert_clean(loaded.optimizer)


@pytest.mark.slow_on("tensorflow")
def test_refuses_masks_of_other_variables(tmp_path):
    trained(SparseOptimizer("adam")).save_weights(tmp_path / "model.weights.h5")
    other = compiled(network(), SparseOptimizer("adam", select=".*/classes/kernel"))
    other.optimizer.build(other.trainable_variables)
    message = r"(?s)other variables were sparse. Expected, .*: \{'mask_3': \(24, 10\)\}. Received: \{'mask_0': \(64, 24"
    with pytest.raises(ValueError, match=message):
        other.load_weights(tmp_path / "model.weights.h5")


@pytest.mark.slow_on("tensorflow")
def test_warns_that_masks_were_not_loaded(tmp_path):
    trained(SparseOptimizer("adam")).save_weights(tmp_path / "model.weights.h5")
    other = compiled(network(), SparseOptimizer("adam"))
    with pytest.warns(UserWarning, match="has not been built: call `optimizer.build"):
        other.load_weights(tmp_path / "model.weights.h5")


@pytest.mark.parametrize(("method", "argument"), [("remember_gradients", (0.0,)), ("add_state", ("signs", "int8"))])
def test_needs_to_be_built(method, argument):
    with pytest.raises(ValueError, match=rf"SparseOptimizer.{method}\(\) needs the variables of a model"):
        getattr(SparseOptimizer("adam"), method)(*argument)
