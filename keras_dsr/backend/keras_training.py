"""What a model is compiled to: its optimizer, and the functions that were traced of it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import keras

from keras_dsr.backend.keras_owners import models_holding


def set_optimizer(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Give a compiled model another optimizer, and its compile configuration too, so that files have it."""
    model.optimizer = optimizer
    configuration = model._compile_config
    model._compile_config = type(configuration)(**{**configuration.config, "optimizer": optimizer})


@contextlib.contextmanager
def another_optimizer(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Inside the block a compiled model has another optimizer, in its compile configuration too."""
    own, configuration = model.optimizer, model._compile_config
    set_optimizer(model, optimizer)
    try:
        yield
    finally:
        model.optimizer, model._compile_config = own, configuration


def metric_directions(model: keras.Model) -> dict[str, str | None]:
    """Of each metric that a model is compiled with, `"up"` or `"down"`: where it is better. None: it does not say."""
    metrics = model._compile_metrics
    if metrics is None or not metrics.built:
        return {}
    return dict(zip(metrics.result(), (getattr(metric, "_direction", None) for metric in metrics.metrics)))


def loss_names(model: keras.Model) -> list[str]:
    """The names of the losses of a compiled model that has several."""
    return [] if model._compile_loss is None else [metric.name for metric in model._compile_loss.metrics]


def forget_values_in_between(model: keras.Model) -> None:
    """After a step was interrupted on JAX: have Keras not put back the values that it held outside the variables."""
    model._jax_state = None


def renew_compiled_functions(layers: Iterable[keras.layers.Layer]) -> None:
    """Have every model that holds one of these layers trace its training, test and prediction functions again.

    A function that was traced does not know that a layer changed its class or got other variables. Those models go on
    as they are, in the middle of `fit` too: the training function is made at once, the others when they are next used.
    """
    for model in models_holding(layers):
        trains = getattr(model, "train_function", None) is not None
        for kind in ("train", "test", "predict"):
            if getattr(model, f"{kind}_function", None) is not None:
                setattr(model, f"{kind}_function", None)
            _forget_traces(getattr(model, f"{kind}_step"))
        if trains:  # under `keras.distribution` the function knows the layout of each variable
            model.make_train_function()


def _forget_traces(step: Callable) -> None:
    """JAX knows what it traced by the function and the shapes of its arguments, which may be those of before."""
    if keras.backend.backend() == "jax":
        import jax

        jax.jit(step).clear_cache()
