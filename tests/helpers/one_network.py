"""Training in random order, and what must hold after each step of it: four ways to compute one loss agree."""

import contextlib

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr import methods
from keras_dsr.backend.keras_slots import innermost_optimizers, is_elementwise, optimizer_slots
from tests.helpers.networks import bits, values

KINDS = ("masked", "compact", "sparsified", "nested", "optimizer")
LAYERS = ("hidden", "middle", "classes")
DECAY = 1e-3


@keras.saving.register_keras_serializable("tests")
class MovesZeros(keras.constraints.Constraint):
    """A constraint that leaves no weight at zero."""

    def __call__(self, w):
        return w + 0.01


@keras.saving.register_keras_serializable("tests")
class OwnStep(keras.Model):
    """Trains by an optimizer of its own, on TensorFlow."""

    own = None

    def train_step(self, data):
        import tensorflow as tf

        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.own.apply_gradients(zip(gradients, self.trainable_variables))
        self._loss_tracker.update_state(loss)
        return {"loss": loss}


class OnBatch(keras.callbacks.Callback):
    """Does something at the end of one batch."""

    def __init__(self, batch: int, act):
        super().__init__()
        self.batch, self.act = batch, act

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            self.act(self.model)


class Training:
    """A small network, what was done to it, and what it must be by now.

    Args:
        seed: of the whole sequence.
        path: a folder to save in.
        eager: whether nothing of it is compiled.
    """

    def __init__(self, seed: int, path, eager: bool):
        self.rng = rng = np.random.default_rng(seed)
        self.path, self.eager, self.history = path, eager, []
        self.x = rng.normal(size=(32, 8)).astype("float32")
        self.y = rng.integers(0, 4, 32).astype("int32")
        self.kind = str(rng.choice(KINDS))
        self.sparsity = float(rng.choice([0.5, 0.7]))
        self.own = bool(keras.backend.backend() == "tensorflow" and self.kind != "optimizer" and rng.random() < 0.25)
        self.is_sparse = True
        self.regularizer = bool(rng.random() < 0.4)
        moves_zeros = self.kind != "compact" and rng.random() < 0.3
        self.settings = {
            "use_bias": bool(rng.random() < 0.5),
            "kernel_regularizer": keras.regularizers.L2(DECAY) if self.regularizer else None,
            "kernel_constraint": MovesZeros() if moves_zeros else None,
        }
        self.model = self._made()
        self.history.append(f"{self.kind} own={self.own} {self.sparsity} {self.settings}")
        self.compile()

    def _made(self) -> keras.Model:
        def dense(units, activation, name):
            if self.kind not in ("masked", "compact", "nested"):
                return keras.layers.Dense(units, activation, name=name, **self.settings)
            settings = {**self.settings, "sparsity": self.sparsity}
            storage = "compact" if self.kind == "compact" else "masked"
            return dsr.SparseDense(units, activation=activation, name=name, storage=storage, **settings)

        hidden, middle, classes = dense(6, "relu", "hidden"), dense(6, "relu", "middle"), dense(4, None, "classes")
        inputs = keras.Input((8,))
        if self.kind == "nested":
            outputs = classes(keras.Sequential([keras.Input((8,)), hidden, middle], name="base")(inputs))
        else:
            outputs = classes(middle(hidden(inputs)))
        model = (OwnStep if self.own else keras.Model)(inputs, outputs)
        if self.kind == "sparsified":
            dsr.sparsify(model, sparsity=self.sparsity)
        return model

    # What there is

    def layer(self, name: str) -> keras.layers.Layer:
        return next(layer for layer in self.model._flatten_layers() if layer.name == name)

    def weights(self) -> dict:
        """The sparse weights by the names of their layers."""
        return {weight.layer.name: weight for weight in dsr.sparse_weights(self.model)}

    def counts(self) -> dict[str, int]:
        return {name: weight.count() for name, weight in self.weights().items()}

    @property
    def optimizer(self):
        return self.model.own if self.own else self.model.optimizer

    def frozen_bits(self) -> dict[str, list[bytes]]:
        """The variables of frozen layers; of a kernel with a mask what the network sees of it."""
        layers = map(self.layer, LAYERS)
        masks = {id(weight.variable): weight.mask for weight in self.weights().values() if weight.mask is not None}
        return {
            layer.name: [
                bits(np.where(values(masks[id(one)]), values(one), 0) if id(one) in masks else one)
                for one in layer.variables
            ]
            for layer in layers
            if not layer.trainable
        }

    # Four ways to compute the loss

    def loss_in_numpy(self) -> float:
        found, outputs, penalty = self.weights(), self.x.astype("float64"), 0.0
        for name in LAYERS:
            layer = self.layer(name)
            if name in found:
                kernel = np.zeros(found[name].size)
                kernel[found[name].positions()] = found[name].values()
                kernel = kernel.reshape(found[name].shape)
            else:
                kernel = values(layer.kernel).astype("float64")
            if self.regularizer and layer.trainable:  # Keras does not regularize what is frozen
                penalty += DECAY * np.square(kernel).sum()
            outputs = outputs @ kernel + (0 if layer.bias is None else values(layer.bias))
            outputs = outputs if name == "classes" else np.maximum(outputs, 0)
        return cross_entropy(outputs, self.y) + penalty

    def loss_of_evaluate(self) -> float:
        return float(self.model.evaluate(self.x, self.y, batch_size=32, verbose=0))

    def loss_of_file(self) -> float:
        dsr.save(self.model, self.path / "plain.keras")
        loaded = keras.models.load_model(self.path / "plain.keras", compile=False)
        kinds = {type(layer).__module__.split(".")[0] for layer in loaded._flatten_layers(include_self=False)}
        assert kinds == {"keras"}
        penalty = sum(map(float, loaded.losses))
        return cross_entropy(values(loaded(self.x)).astype("float64"), self.y) + penalty

    def loss_of_a_step(self) -> float:
        rate, self.optimizer.learning_rate = float(self.optimizer.learning_rate), 0.0
        try:
            return self.fit(batch_size=32).history["loss"][0]
        finally:
            self.optimizer.learning_rate = rate

    def check(self) -> None:
        """Raise `AssertionError` unless it is one network, and zero where it is pruned."""
        for weight in self.weights().values():
            weight.check()
            assert weight.count() >= 1
        self._check_dead_places()
        expected, frozen, counts = self.loss_in_numpy(), self.frozen_bits(), self.counts()
        assert np.isfinite(expected)
        losses = {"evaluate": self.loss_of_evaluate(), "file": self.loss_of_file(), "step": self.loss_of_a_step()}
        for name, loss in losses.items():
            np.testing.assert_allclose(loss, expected, rtol=2e-4, atol=2e-5, err_msg=name)
        assert self.frozen_bits() == frozen
        assert self.counts() == counts
        np.testing.assert_allclose(self.loss_of_evaluate(), self.loss_in_numpy(), rtol=2e-4, atol=2e-5)

    def _check_dead_places(self) -> None:
        if self.optimizer.use_ema or not all(map(is_elementwise, innermost_optimizers(self.optimizer))):
            return
        for weight in self.weights().values():
            beyond = weight.mask is None and np.arange(weight.capacity) >= weight.count()
            dead = beyond if weight.mask is None else ~values(weight.mask)
            if self.kind in ("compact", "optimizer") and weight.trainable:
                assert not values(weight.variable)[dead].any()
            for slot in optimizer_slots(self.optimizer, weight.variable):
                np.testing.assert_array_equal(values(slot.variable)[dead], np.float32(slot.initial_value))

    # What is done

    def fit(self, *callbacks, batch_size: int = 8, epochs: int = 1):
        settings = {"batch_size": batch_size, "epochs": epochs, "shuffle": False, "verbose": 0}
        return self.model.fit(self.x, self.y, callbacks=list(callbacks), **settings)

    def compile(self) -> None:
        """With an optimizer that is drawn."""
        makers = {
            "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
            "adam": lambda: keras.optimizers.Adam(0.01),
            "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
            "adagrad": lambda: keras.optimizers.Adagrad(0.05),
            "rmsprop": lambda: keras.optimizers.RMSprop(0.003, momentum=0.5),
            "ema": lambda: keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5),
            "accumulates": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
            "muon": lambda: keras.optimizers.Muon(0.003),
        }
        if self.own or self.kind in ("compact", "optimizer") or keras.backend.backend() == "jax":
            del makers["muon"]
        if keras.backend.backend() == "jax":
            del makers["ema"]  # Keras cannot fit a stock model with averages there
        name = str(self.rng.choice(list(makers)))
        optimizer = makers[name]()
        if self.kind == "optimizer":
            optimizer = dsr.SparseOptimizer(optimizer, sparsity=self.sparsity, mask="magnitude")
        self.compile_with(optimizer)
        self.history.append(f"  compiled with {name}")

    def compile_with(self, optimizer) -> None:
        if self.own:
            self.model.own, optimizer = optimizer, "sgd"
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        jit_compile = keras.backend.backend() == "jax" and not self.eager
        self.model.compile(optimizer, loss, run_eagerly=self.eager, jit_compile=jit_compile)

    def draw_method(self):
        """A method that this network can have."""
        rng = self.rng
        drawn = [
            methods.DSR(target=float(rng.choice([0.2, 0.4]))),
            methods.DSR(target=0.2, initial_threshold=0.05, growth="initializer"),
            methods.SET(0.3, rule=str(rng.choice(methods.set.RULES))),
            methods.DeepR(temperature=1e-3, learning_rate=0.01),
            methods.Static(),
        ]
        if self.kind != "compact":
            drawn.append(methods.GradualPruning(final_sparsity=0.8, end_step=4))
        if self.kind == "optimizer":
            drawn += [methods.RigL(0.3, end_step=100), methods.SNFS(0.3, end_step=100)]
        return drawn[rng.integers(len(drawn))]

    def act(self, name: str) -> None:
        """One step, and what it must keep."""
        self.history.append(name)
        before = self.frozen_bits() if name not in ("freeze", "save_and_load", "sparsify_again", "strip") else None
        getattr(self, name)()
        if before is not None:
            assert self.frozen_bits() == before

    def _trained(self, used: list, train) -> None:
        """Train, and see that what these methods promise of counts is kept."""
        self.history.append(f"  {used}")
        before = self.counts()
        train()
        after = self.counts()
        conserve = all(method.conserves for method in used)
        across = any(isinstance(method, (methods.DSR, methods.SNFS)) for method in used)
        if conserve:
            assert sum(after.values()) == sum(before.values())
        if conserve and not across:
            assert after == before
        if not conserve and not across:
            assert all(after[name] <= before[name] for name in after)

    def train(self) -> None:
        self._trained([], lambda: self.fit(epochs=int(self.rng.integers(1, 3))))

    def train_on_batches(self) -> None:
        self._trained([], lambda: [self.model.train_on_batch(self.x[:8], self.y[:8]) for _ in range(3)])

    def reallocate(self) -> None:
        used = [self.draw_method() for _ in range(self.rng.integers(1, 3))]
        gradients = {method.gradient_decay for method in used} - {None}
        used = used[:1] if len(gradients) > 1 else used
        seed = int(self.rng.integers(1000))
        callbacks = [
            dsr.Reallocate(method, 1 if method.every_step else int(self.rng.integers(1, 4)), seed=seed)
            for method in used
        ]
        self._trained(used, lambda: self.fit(*callbacks, epochs=int(self.rng.integers(1, 3))))

    def loop(self) -> None:
        method = self.draw_method()

        def train():
            reallocator = dsr.Reallocator(self.model, method, period=1, optimizer=self.optimizer)
            for _ in range(3):
                self.model.train_on_batch(self.x[:16], self.y[:16])
                reallocator.step()

        self._trained([method], train)

    def interrupt(self) -> None:
        def stop(model):
            raise KeyboardInterrupt

        method = self.draw_method()
        callbacks = [dsr.Reallocate(method, 1), OnBatch(int(self.rng.integers(0, 4)), stop)]
        callbacks = callbacks[:: int(self.rng.choice([1, -1]))]

        def train():
            try:
                self.fit(*callbacks)
            except KeyboardInterrupt:
                if keras.backend.backend() == "jax":
                    self.model.jax_state_sync()
                return
            raise AssertionError("was not interrupted")

        self._trained([method], train)

    def write(self, model=None) -> None:
        """Values at pruned positions, where layers hold masks."""
        value = float(self.rng.choice([1e3, -1.0, np.nan]))
        elementwise = all(map(is_elementwise, innermost_optimizers(self.optimizer)))
        value = value if elementwise and not self.optimizer.use_ema else 1.0
        for weight in self.weights().values():
            if self.kind not in ("compact", "optimizer") and weight.trainable:
                stored = values(weight.variable)
                stored[~values(weight.mask)] = value
                weight.variable.assign(stored)

    def set_weights(self, model=None) -> None:
        """All weights, scaled, by Keras's own function."""
        model = self.model if model is None else model
        trained = {id(variable) for variable in model.trainable_variables}
        scale = float(self.rng.choice([0.5, 1.1]))
        model.set_weights([values(one) * scale if id(one) in trained else values(one) for one in model.weights])

    def write_in_fit(self) -> None:
        write = self.write if self.rng.random() < 0.5 else self.set_weights
        method = self.draw_method()
        callbacks = [dsr.Reallocate(method, 1), OnBatch(int(self.rng.integers(0, 4)), write)]
        self._trained([method], lambda: self.fit(*callbacks[:: int(self.rng.choice([1, -1]))]))

    def freeze(self) -> None:
        """One layer, or none from now on."""
        for name in LAYERS:
            self.layer(name).trainable = True
        if self.rng.random() < 0.7:
            self.layer(str(self.rng.choice(LAYERS))).trainable = False
        known, trained = map(identities, (self.optimizer._trainable_variables, self.model.trainable_variables))
        # An optimizer that was built for more variables than are trained now, Keras refuses on JAX; elsewhere it writes
        # its averages to the wrong ones.
        averages = any(one.use_ema for one in innermost_optimizers(self.optimizer))
        is_exact = keras.backend.backend() == "jax" or averages
        fits = trained == known if is_exact else trained <= known
        if fits and self.rng.random() < 0.5:
            self.compile_with(self.optimizer)
        else:
            self.compile()

    def save_and_load(self) -> None:
        def held():
            weights = self.weights().items()
            if self.kind == "optimizer":  # a loaded optimizer knows only what is trained
                weights = [(name, one) for name, one in weights if one.trainable]
            return {name: (bits(one.positions()), bits(one.values())) for name, one in weights}

        before = held()
        dsr.save(self.model, self.path / "resumable.keras", resumable=True)
        self.model = keras.models.load_model(self.path / "resumable.keras")
        if self.own:
            self.compile()
        else:
            self.model.run_eagerly = self.eager
        assert held() == before

    def weights_and_back(self) -> None:
        """`save_weights`, some training, and `load_weights`."""
        loss, before = self.loss_in_numpy(), self.counts()
        self.model.save_weights(self.path / "some.weights.h5")
        method = methods.SET(0.3) if self.kind == "optimizer" else self.draw_method()
        self._trained([method], lambda: self.fit(dsr.Reallocate(method, 1)))
        self.model.load_weights(self.path / "some.weights.h5")
        if self.kind == "optimizer":
            self.fit()  # its masks follow when training begins
        else:
            np.testing.assert_allclose(self.loss_in_numpy(), loss, rtol=1e-6)
        assert self.counts() == before

    def sparsify_again(self) -> None:
        """`densify`, and `sparsify`, of all or of the base, under a compiled model that has trained."""
        if self.own and self.kind == "compact":
            return  # refused: its optimizer would not know the variables
        if self.kind == "optimizer":
            dsr.densify(self.model)
            np.testing.assert_allclose(self.model.evaluate(self.x, self.y, verbose=0), self.loss_in_numpy(), rtol=2e-4)
            return self.compile()
        part = self.layer("base") if self.kind == "nested" else self.model
        storage = "compact" if self.kind == "compact" else "masked"
        before = self.loss_of_evaluate()
        dsr.densify(part)
        np.testing.assert_allclose(self.loss_of_evaluate(), before, rtol=2e-4)
        self.fit()
        dsr.sparsify(part, sparsity=self.sparsity, mask="magnitude", storage=storage)

    def strip(self) -> None:
        before = self.loss_of_evaluate()
        if self.own and self.kind == "compact":  # its optimizer would not know the variables
            with pytest.raises(ValueError, match="of which the optimizer 'own' of .* would not know"):
                dsr.strip(self.model)
            return self.check()
        dsr.strip(self.model)
        np.testing.assert_allclose(self.loss_of_evaluate(), before, rtol=2e-4, atol=2e-5)
        assert not dsr.sparse_weights(self.model)


ACTIONS = (
    "train",
    "train_on_batches",
    "reallocate",
    "reallocate",
    "loop",
    "interrupt",
    "write",
    "set_weights",
    "write_in_fit",
    "freeze",
    "compile",
    "save_and_load",
    "weights_and_back",
    "sparsify_again",
)


def identities(variables: list[keras.Variable]) -> set[int]:
    return set(map(id, variables))


def cross_entropy(logits: np.ndarray, classes: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(classes)), classes]))


def run_sequence(seed: int, path) -> None:
    """Four to six random steps, and `strip`; an `AssertionError` names the seed and what was done."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    eager = seed % 8 != 0
    with uncompiled() if eager else contextlib.nullcontext():
        training = Training(seed, path, eager)
        try:
            training.check()
            for _ in range(int(training.rng.integers(4, 7))):
                training.act(str(training.rng.choice(ACTIONS)))
                training.check()
            training.act("strip")
        except Exception as error:
            history = "\n".join(training.history)
            raise AssertionError(f"Sequence {seed} on {keras.backend.backend()}:\n{history}\n{error}") from error


@contextlib.contextmanager
def uncompiled():
    """In this block no function is compiled, which takes longer than to run it once."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(False)
    elif keras.backend.backend() == "jax":
        import jax

        with jax.disable_jit():
            yield
    else:
        yield
