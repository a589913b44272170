"""What a model is compiled to: its optimizer, and the functions that were traced of it."""

from collections.abc import Callable, Iterable

import keras

from keras_dsr.backend.keras_owners import models_holding


def set_optimizer(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Give a compiled model another optimizer, and its compile configuration too, so that files have it."""
    model.optimizer = optimizer
    configuration = model._compile_config
    model._compile_config = type(configuration)(**{**configuration.config, "optimizer": optimizer})


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
