import csv
import functools

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import DSR, SET, DeepR, GradualPruning, Static
from tests.helpers.networks import active_counts, batch, bits, compiled, digits, fit, perceptron, state_bits, values

no_backend = pytest.mark.backends("torch")  # no backend does any of it
compiles = pytest.mark.backends("tensorflow")  # with XLA; JAX always does, and with torch it takes minutes
by_the_host = pytest.mark.backends("torch")  # decided in Python alone; nothing is traced there
untraced = pytest.mark.slow_on("tensorflow")  # TensorFlow has one such case; more would trace the same for long
several_steps = pytest.mark.backends("tensorflow", "jax")  # Keras refuses them on torch


class Watch(keras.callbacks.Callback):
    """Listed after the callback under test: the steps at which the masks changed, and the counts at every batch."""

    def on_train_begin(self, logs=None):
        self.steps, self.totals, self.masks = [], [], self.current()

    def current(self):
        return [bits(weight.mask) for weight in dsr.sparse_weights(self.model)]

    def on_train_batch_end(self, batch, logs=None):
        self.totals.append(sum(active_counts(self.model)))
        if self.current() != self.masks:
            self.steps.append(int(self.model.optimizer.iterations))
            self.masks = self.current()


def reallocating(period=2, **arguments):
    """A callback whose every reallocation moves something."""
    return dsr.DSRCallback(**{"target": 40, "initial_threshold": 0.05, "period": period, **arguments})


@functools.cache
def reused():
    """A network and the values that its variables begin with; it is traced once."""
    model = compiled(perceptron(), "sgd")
    model.optimizer.build(model.trainable_variables)
    return model, [values(variable) for variable in [*model.variables, *model.optimizer.variables]]


def steps_of(callback, model=None, **settings):
    if model is None:
        model, first = reused()
        for variable, value in zip([*model.variables, *model.optimizer.variables], first):
            variable.assign(value)
    watch = Watch()
    fit(model, callback, watch, **settings)
    return watch.steps


# When


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    ("period", "steps"),
    [
        (4, [4, 8, 12, 16]),
        pytest.param(7, [7, 14], marks=by_the_host),
        pytest.param(6, [6, 12, 18], marks=by_the_host),
        pytest.param(np.int64(9), [9, 18], marks=by_the_host),
        ([(0, 2), (1, 5), (2, 3)], [2, 4, 6, 10, 15, 18]),
        pytest.param(lambda epoch: 3 if epoch < 2 else 100, [3, 6, 9, 12], marks=by_the_host),
        pytest.param(1000, [], marks=by_the_host),
    ],
)
def test_reallocates_at_the_multiples_of_the_period(period, steps):
    assert steps_of(reallocating(period), batches=6, epochs=3) == steps


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize(
    ("stop_at", "steps"),
    [
        pytest.param(None, [2, 4, 6, 8], marks=by_the_host),
        pytest.param(2, [2, 4, 6, 8], marks=by_the_host),
        (1, [2, 4]),
        pytest.param(0, [], marks=by_the_host),
    ],
)
def test_stops_at_an_epoch(stop_at, steps):
    assert steps_of(reallocating(2, stop_at=stop_at), batches=4, epochs=2) == steps


@pytest.mark.one_case_on("tensorflow")
@several_steps
@pytest.mark.parametrize(
    ("steps_per_execution", "period", "batches", "epochs", "steps"),
    [
        (3, 4, 6, 2, [6, 9, 12]),  # sees 3, 6, 9, 12: the multiples 4, 8 and 12 are crossed at these
        pytest.param(4, 3, 10, 1, [4, 8, 10], marks=pytest.mark.thorough),  # sees 4, 8, 10
        (4, 6, 10, 2, [8, 14, 18]),  # sees 4, 8, 10, 14, 18, 20
        pytest.param(4, 11, 10, 2, [14], marks=pytest.mark.thorough),
        pytest.param(8, 2, 4, 2, [4, 8], marks=pytest.mark.thorough),
    ],
)
def test_with_several_steps_an_execution_reallocates_when_a_multiple_was_crossed(
    steps_per_execution, period, batches, epochs, steps
):
    model = compiled(perceptron(), steps_per_execution=steps_per_execution)
    assert steps_of(reallocating(period), model, batches=batches, epochs=epochs) == steps


@pytest.mark.slow_on("tensorflow", "jax")
def test_the_period_counts_optimizer_steps_where_gradients_are_accumulated():
    model = compiled(perceptron(), keras.optimizers.Adam(gradient_accumulation_steps=2))
    assert steps_of(reallocating(3), model, batches=7, epochs=2) == [3, 6]


@pytest.mark.slow_on("jax")
def test_steps_that_a_loss_scale_skips_do_not_count():
    # Scaled by 2**26 the first gradients overflow; the scale halves until they fit, and only then a step is taken.
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=2.0**26)
    model = compiled(perceptron(dtype="mixed_float16"), optimizer)
    watch = Watch()
    fit(model, reallocating(4), watch, batches=6, epochs=5)
    assert 4 <= int(optimizer.iterations) < 28
    assert watch.steps == list(range(4, int(optimizer.iterations) + 1, 4))


def test_a_second_fit_goes_on_with_the_steps_and_the_threshold():
    model, callback = compiled(perceptron()), reallocating(4)
    assert steps_of(callback, model, batches=6) == [4]
    threshold = float(model.layers[0].kernel_threshold)
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append(float(model.layers[0].kernel_threshold))
    )
    assert steps_of(callback, model, batches=6) == [8, 12]
    history = fit(model, reallocating(1000), note, batches=1)
    assert threshold != pytest.approx(0.05)
    assert history.history["dsr_threshold"] == seen


@pytest.mark.slow_on("tensorflow")
def test_a_callback_serves_one_model_after_another():
    callback = reallocating(2)
    assert steps_of(callback, batches=4) == steps_of(callback, batches=4) == [2, 4]


class Untouchable:
    def __getattribute__(self, name):
        raise AssertionError(f"touched: {name}")


def test_a_batch_without_a_reallocation_touches_neither_model_nor_device():
    model, callback = compiled(perceptron()), reallocating(100)
    model.optimizer.build(model.trainable_variables)
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, {})  # the first, after which it is known who trains the weights
    callback._model = callback._reallocator.model = Untouchable()
    for number in range(1, 99):
        callback.on_train_batch_begin(number)
        callback.on_train_batch_end(number, {})
    with pytest.raises((AssertionError, TypeError)):
        callback.on_train_batch_end(99, {})


# What


@pytest.mark.one_case_on("jax")
@pytest.mark.parametrize("pattern", [pytest.param("element", marks=untraced), "kernel"])
def test_the_budget_is_the_same_after_every_batch(pattern):
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            dsr.SparseConv2D(6, 3, sparsity=0.3, pattern=pattern),
            dsr.SparseConv2D(6, 3, sparsity=0.8, pattern=pattern),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    watch = Watch()
    fit(compiled(model), reallocating(2, target=4), watch, batches=8, epochs=2)
    assert len(watch.steps) >= 4
    assert len(watch.totals) == 16
    assert len(set(watch.totals)) == 1


@pytest.mark.parametrize(
    ("jit_compile", "dtype"),
    [
        pytest.param(True, None, marks=compiles),
        pytest.param(None, "mixed_bfloat16", marks=pytest.mark.slow_on("tensorflow")),
        pytest.param(None, "mixed_float16", marks=pytest.mark.slow_on("tensorflow")),
        pytest.param(True, "mixed_float16", marks=[pytest.mark.backends("tensorflow"), pytest.mark.thorough]),
    ],
)
def test_fit_reallocates_compiled_or_not_and_in_mixed_precision(jit_compile, dtype):
    optimizer = keras.optimizers.Adam(0.01)
    if dtype == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**8)
    model = compiled(perceptron(dtype=dtype), optimizer, jit_compile=jit_compile)
    watch = Watch()
    history = fit(model, reallocating(4), watch, batches=12, epochs=2)
    assert watch.steps == [4, 8, 12, 16, 20, 24]
    assert set(watch.totals) == {355}
    assert history.history["loss"][-1] < history.history["loss"][0]
    for weight in dsr.sparse_weights(model):
        assert not values(weight.variable)[~values(weight.mask)].any()


@pytest.mark.slow_on("tensorflow", "jax")
def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    def trained(seed):
        keras.utils.set_random_seed(0)
        model = compiled(perceptron(), "sgd")
        fit(model, reallocating(2, seed=seed))
        return state_bits(model)

    first = trained(0)
    assert trained(0) == first
    assert trained(4) != first


@pytest.mark.slow_on("jax")
def test_dsr_learns_digits():
    images, classes = digits()
    test = np.arange(len(images)) % 5 == 0
    model = compiled(perceptron(sparsity=0.9), keras.optimizers.Adam(0.01))
    callback = dsr.DSRCallback(target=20, period=20)
    model.fit(images[~test], classes[~test], batch_size=32, epochs=12, verbose=0, callbacks=[callback])
    _, accuracy = model.evaluate(images[test], classes[test], verbose=0)
    assert accuracy > 0.8  # chance is 0.1
    assert sum(active_counts(model)) == 154 + 24


@pytest.mark.slow_on("tensorflow", "jax")
def test_steps_count_from_the_first_with_the_method():
    model = compiled(keras.Sequential([dsr.SparseDense(10, sparsity=0.8)]))
    fit(model, batches=1)
    assert steps_of(reallocating(2), model, batches=4) == [3, 5]


# Every method


@pytest.mark.slow_on("tensorflow")
def test_static_moves_nothing_and_logs_the_sparsity():
    watch = Watch()
    history = fit(compiled(perceptron()), dsr.Reallocate(Static(), period=2), watch, batches=6, epochs=2).history
    assert watch.steps == []
    assert history["dsr_reallocations"] == [3, 3]
    assert history["sparsity"] == [1 - 355 / 1776] * 2
    assert not {"dsr_pruned", "dsr_threshold"} & set(history)


@pytest.mark.slow_on("tensorflow")
def test_set_moves_its_fraction_of_every_layer():
    watch = Watch()
    callback = dsr.Reallocate(SET(fraction=0.25), period=3)
    model = compiled(perceptron())
    history = fit(model, callback, watch, batches=6, epochs=2).history
    assert watch.steps == [3, 6, 9, 12]
    assert history["dsr_reallocations"] == [2, 2]
    assert history["dsr_pruned"] == [2 * (77 + 12)] * 2  # 0.25 of 307 and of 48
    assert active_counts(model) == [307, 48]
    assert history["sparsity"] == [1 - 355 / 1776] * 2
    assert "dsr_threshold" not in history


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("growth", [pytest.param("zeros", marks=untraced), "initializer"])
def test_newborn_weights_start_as_growth_says(growth):
    model = compiled(perceptron(), keras.optimizers.SGD(0.0))
    before = [values(weight.mask) for weight in dsr.sparse_weights(model)]
    fit(model, dsr.Reallocate(DSR(target=40, initial_threshold=0.05, growth=growth), period=6), batches=6)
    for weight, mask in zip(dsr.sparse_weights(model), before):
        born = values(weight.variable)[values(weight.mask) & ~mask]
        assert born.size > 0
        assert (born != 0).all() if growth == "initializer" else not born.any()


@pytest.mark.parametrize("scope", ["tensor", pytest.param("global", marks=untraced)])
def test_gradual_pruning_makes_a_dense_network_sparse(scope):
    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(active_counts(self.model))

    seen = []
    model = compiled(perceptron(sparsity=0.0))
    method = GradualPruning(final_sparsity=0.9, begin_step=0, end_step=12, power=3, scope=scope)
    watch = Watch()
    history = fit(model, dsr.Reallocate(method, period=2), watch, Note(), batches=8, epochs=3).history
    totals = [sum(pair) for pair in seen]
    assert totals[1] == totals[2] == 178  # round(0.1 * 1536) + round(0.1 * 240), and round(0.1 * 1776)
    assert history["sparsity"] == [1 - total / 1776 for total in totals]
    assert history["dsr_pruned"] == [1776 - totals[0], totals[0] - totals[1], 0]
    assert history["dsr_reallocations"] == [4, 4, 4]
    assert watch.totals == sorted(watch.totals, reverse=True)
    if scope == "tensor":
        # at step 8 of 12: 0.1 + 0.9 / 27 of 1536 and of 240: 204.8 and 32
        assert seen == [[205, 32], [154, 24], [154, 24]]


def test_deepr_acts_at_every_step():
    watch = Watch()
    model = compiled(perceptron(), keras.optimizers.SGD(0.1))
    callback = dsr.Reallocate(DeepR(temperature=1e-3))
    history = fit(model, callback, watch, batches=6, epochs=2).history
    assert history["dsr_reallocations"] == [6, 6]
    assert min(history["dsr_pruned"]) > 0
    assert watch.steps == list(range(1, 13))
    assert active_counts(model) == [307, 48]
    for weight in dsr.sparse_weights(model):
        kernel, mask = values(weight.variable), values(weight.mask)
        assert (kernel * values(weight.states["signs"]) >= 0).all()
        assert not kernel[~mask].any()


@pytest.mark.slow_on("tensorflow")
def test_deepr_stops_at_an_epoch():
    callback = dsr.Reallocate(DeepR(temperature=1e-3), stop_at=1)
    history = fit(compiled(perceptron(), "sgd"), callback, batches=4, epochs=2).history
    assert history["dsr_reallocations"] == [4, 0]


@pytest.mark.slow_on("tensorflow", "jax")
def test_deepr_acts_at_optimizer_steps_where_gradients_are_accumulated():
    model = compiled(perceptron(), keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    assert fit(model, dsr.Reallocate(DeepR(temperature=1e-3)), batches=6).history["dsr_reallocations"] == [3]


@pytest.mark.parametrize("jit_compile", [None, pytest.param(True, marks=[compiles, pytest.mark.thorough])])
@pytest.mark.slow_on("tensorflow", "jax")
def test_deepr_learns_digits(jit_compile):
    images, classes = digits()
    model = compiled(perceptron(sparsity=0.8), keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    callback = dsr.Reallocate(DeepR(temperature=[(0, 1e-5), (200, 1e-9)], l1=1e-4))
    model.fit(images, classes, batch_size=32, epochs=5, verbose=0, callbacks=[callback])
    _, accuracy = model.evaluate(images, classes, verbose=0)
    assert accuracy > 0.8  # chance is 0.1
    assert active_counts(model) == [307, 48]


@no_backend
@pytest.mark.parametrize("period", [2, 100, [(0, 1)], lambda epoch: 1])
def test_deepr_refuses_another_period(period):
    with pytest.raises(
        ValueError, match=r"DeepR acts after every step of the optimizer: pass period=1, or leave it out\. Received: pe"
    ):
        dsr.Reallocate(DeepR(), period=period)
    dsr.Reallocate(DeepR(), period=1)


@pytest.mark.slow_on("tensorflow")
@several_steps
def test_deepr_refuses_several_steps_an_execution_before_the_first_step():
    model = compiled(perceptron(), steps_per_execution=2)
    model.optimizer.build(model.trainable_variables)
    before = state_bits(model)
    with pytest.raises(
        ValueError,
        match=r"DeepR acts .* compile the model with steps_per_execution=1\. Received: steps_per_exec.*=2",
    ):
        fit(model, dsr.Reallocate(DeepR()))
    assert state_bits(model) == before
    assert [weight.states for weight in dsr.sparse_weights(model)] == [{}, {}]
    model.steps_per_execution = 1
    assert fit(model, dsr.Reallocate(DeepR()), batches=2).history["dsr_reallocations"] == [2]


@by_the_host
def test_without_a_period_other_methods_act_every_100_steps():
    assert steps_of(dsr.Reallocate(SET()), batches=51, epochs=2) == [100]


# Logs


LOGS = ["sparsity", "dsr_reallocations", "dsr_threshold", "dsr_pruned"]


def test_every_epoch_logs_what_was_done():
    model = compiled(perceptron())
    thresholds, totals = [], []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            thresholds.append(float(self.model.layers[0].kernel_threshold))
            totals.append(sum(active_counts(self.model)))

    history = fit(model, reallocating([(0, 100), (1, 3), (2, 100)]), Note(), batches=6, epochs=3).history
    assert history["dsr_reallocations"] == [0, 2, 0]
    assert history["dsr_threshold"][1:] == thresholds[1:]
    assert history["dsr_threshold"][0] == pytest.approx(0.05)  # what the first reallocation will use
    assert history["dsr_pruned"][0] == history["dsr_pruned"][2] == 0
    assert 2 <= history["dsr_pruned"][1] <= 2 * 353
    assert history["sparsity"] == [1 - 355 / (64 * 24 + 240)] * 3
    assert totals == [355] * 3


@pytest.mark.slow_on("tensorflow")
def test_the_number_pruned_is_the_number_that_left_their_places():
    model = compiled(perceptron(), keras.optimizers.SGD(0.0))
    before = [values(weight.mask) for weight in dsr.sparse_weights(model)]
    history = fit(model, reallocating(6), batches=6).history
    moved = sum((mask & ~values(weight.mask)).sum() for mask, weight in zip(before, dsr.sparse_weights(model)))
    assert history["dsr_pruned"] == [moved]
    assert moved > 0


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize("is_first", [True, False])
def test_loggers_write_them_from_the_first_epoch_on_wherever_they_are_listed(is_first, tmp_path):
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    noted = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: noted.append(dict(logs)))
    callback = reallocating(4, log_layers=True)
    listed = [logger, note, callback] if is_first else [callback, logger, note]
    model = compiled(perceptron())
    history = fit(model, *listed, batches=6, epochs=2).history
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(noted) == 2
    weights = dsr.sparse_weights(model)
    layers = [f"density/{weight.name}" for weight in weights]
    for name in [*LOGS, *layers]:
        assert [float(row[name]) for row in rows] == pytest.approx(history[name])
        assert [logs[name] for logs in noted] == history[name]
    assert [history[name][-1] for name in layers] == [weight.count() / weight.size for weight in weights]


@no_backend
def test_the_density_of_layers_is_logged_where_it_is_asked_for():
    history = fit(compiled(perceptron()), reallocating(4), batches=2).history
    assert not [name for name in history if name.startswith("density/")]


@no_backend
def test_a_list_of_callbacks_that_is_used_twice_calls_it_once_and_changes_none_of_the_users():
    model, counted = compiled(perceptron()), []

    class Count(dsr.Reallocate):
        def _end_epoch(self, epoch, logs):
            counted.append(epoch)
            super()._end_epoch(epoch, logs)

    callback = Count(DSR(target=40), period=4)
    users = [keras.callbacks.LambdaCallback(), callback, keras.callbacks.LambdaCallback()]
    callbacks = keras.callbacks.CallbackList(users, add_history=True, model=model)
    for _ in range(2):
        model.fit(batch(40), digits()[1][:40], epochs=2, batch_size=20, callbacks=callbacks, verbose=0)
    assert counted == [0, 1, 0, 1]
    assert users[1] is callback and [one for one in callbacks.callbacks if one in users] == users


@no_backend
def test_hooks_that_are_called_by_hand_log_where_the_callback_stands():
    model, callback, logs = compiled(perceptron()), reallocating(4), {}
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, logs)
    assert set(LOGS) <= set(logs)


@pytest.mark.slow_on("tensorflow", "jax")
def test_at_kernel_granularity_the_target_counts_slices():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            dsr.SparseConv2D(10, 8, sparsity=0.5, pattern="kernel"),
        ]
    )
    model.add(keras.layers.Flatten())
    history = fit(compiled(model), dsr.DSRCallback(target=2, period=2, initial_threshold=10.0), batches=2).history
    assert history["sparsity"] == [0.5]
    assert history["dsr_pruned"] == [4]  # all but the largest of 5


# Bad arguments


@no_backend
@pytest.mark.parametrize(
    "period", [0, -1, 1.5, True, "100", [], [(0, 0)], [(0, 1.5)], [(0, -3)], [100, 200], [()], {0: 100}]
)
def test_a_period_is_a_positive_int_pairs_or_a_function(period):
    with pytest.raises(ValueError, match=r"DSRCallback\(period=\.\.\.\) must be a positive int .*Received: period="):
        dsr.DSRCallback(period=period)


@no_backend
@pytest.mark.parametrize("period", [[(1, 100)], [(0, 100), (0, 200)], [(0, 100), (9, 200), (5, 400)], [(0, 1, 100)]])
def test_periods_start_at_0_and_increase(period):
    with pytest.raises(ValueError, match=r"increasing starts, the first at 0"):
        dsr.DSRCallback(period=period)


@pytest.mark.parametrize("period", [0, -1, 2.5, None])
def test_a_function_that_gives_no_period_is_refused_when_it_does(period):
    with pytest.raises(ValueError, match=r"period"):
        fit(compiled(perceptron()), reallocating(lambda epoch: period))


@no_backend
@pytest.mark.parametrize("stop_at", [-1, 1.5, "3", True])
def test_stop_at_is_an_epoch(stop_at):
    with pytest.raises(
        ValueError,
        match=r"DSRCallback\(stop_at=\.\.\.\) must be an epoch, an int of at least 0, or None\. Received: stop_at=",
    ):
        dsr.DSRCallback(stop_at=stop_at)


@no_backend
@pytest.mark.parametrize("seed", [None, 1.5, "1", True])
def test_a_seed_is_an_int(seed):
    with pytest.raises(ValueError, match=r"DSRCallback\(seed=\.\.\.\) must be an int\. Received: seed="):
        dsr.DSRCallback(seed=seed)


@no_backend
@pytest.mark.parametrize("argument", [{"target": 0}, {"target": 1.0}, {"initial_threshold": 0}, {"tolerance": 1}])
def test_the_arguments_of_dsr_are_checked_at_once(argument):
    with pytest.raises(ValueError, match=rf"DSR\({next(iter(argument))}=\.\.\.\) must be"):
        dsr.DSRCallback(**argument)


def test_an_unfit_model_is_refused_before_the_first_step():
    model = compiled(keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)]))
    before = bits(model(batch()))
    with pytest.raises(ValueError, match="has no sparse layer"):
        fit(model, reallocating())
    assert bits(model(batch())) == before
    with pytest.raises(ValueError, match=r"at most 353 of the 355"):
        fit(compiled(perceptron()), reallocating(target=1000))
