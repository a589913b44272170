"""The tied kernel: stock Keras layers whose kernel positions share the values of a small bank (HashedNet)."""

import random

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_flag, check_seed
from keras_dsr.backend.distribution import Initial
from keras_dsr.backend.keras_layers import kernel_of
from keras_dsr.backend.keras_variants import RefusesVariants
from keras_dsr.layers.hashing import bank_size, check_budget, draw_index, draw_signs, expand_bank


class TiedKernel(RefusesVariants):
    """Mixin for a Keras layer whose `kernel` is a property over `_kernel`, as in `Dense` and the convolutions.

    The layer stores one trainable vector, the bank, in place of its kernel. `layer.kernel` has the full shape: position
    i, counted in row-major order, is `bank[h(i)]`, times `xi(i)` in {-1, +1} if the layer is signed (Chen et al. 2015,
    arXiv 1504.04788, eq. 3 to 7). h and xi are drawn from the seed when the layer is built, and no file holds them:
    weights load rightly into a layer of the same seed, which `.keras` files restore and `load_weights` takes for given.

    Attributes:
        stock_class: The Keras layer class of the same name that `strip` turns the layer into.
    """

    stock_class: type[keras.layers.Layer]
    why_not = "its kernel is made of shared values and is no variable of its own"

    def __init__(
        self, *args, budget: int | float = 0.1, signed: bool = False, seed: int | None = None, **kwargs
    ) -> None:
        owner = type(self).__name__
        budget = check_budget(budget, owner)
        seed = random.randint(1, 10**9) if seed is None else check_seed(seed, owner)
        signed = check_flag(signed, owner, "signed")
        super().__init__(*args, **kwargs)
        if self.kernel_constraint is not None:
            raise ValueError(
                f"{owner}(kernel_constraint=...) must be None: Keras would apply it to the bank of shared values, "
                f"whose shape is not the kernel's. Use `kernel_regularizer`. Received: {self.kernel_constraint!r}"
            )
        if self.lora_rank:
            self.enable_lora(self.lora_rank)
        self.budget = budget
        self.signed = signed
        self.seed = seed

    def add_weight(self, *args, name=None, shape=None, initializer=None, **kwargs):
        if name != "kernel":
            return super().add_weight(*args, name=name, shape=shape, initializer=initializer, **kwargs)
        if self.quantization_mode is not None:
            self.refuse_quantization()
        shape = tuple(shape)
        size = bank_size(self.budget, shape, type(self).__name__)
        positions = int(np.prod(shape))
        self._kernel_shape = shape
        # Plain numpy arrays: Keras takes none for a weight, and one made inside a traced scope is as good outside it.
        self._index = draw_index(positions, size, self.seed)
        self._signs = draw_signs(positions, self.seed) if self.signed else None
        full_initializer = keras.initializers.get(initializer or "glorot_uniform")

        initial = Initial(lambda _, dtype: ops.reshape(full_initializer(shape, dtype=dtype), (-1,))[:size])
        return super().add_weight(*args, name="bank", shape=(size,), initializer=initial, **kwargs)

    @property
    def bank(self) -> keras.Variable:
        """The shared values: the variable of shape `(size,)` that is trained and saved in place of the kernel."""
        return kernel_of(self)

    beside_kernel = ()  # variables that go with the bank

    @staticmethod
    def forget(layer: keras.layers.Layer) -> None:
        """Leave no trace in a layer that is of its stock class from now on."""
        del layer._index, layer._signs

    @property
    def kernel(self):
        bank = super().kernel
        return ops.reshape(expand_bank(bank, self._index, self._signs), self._kernel_shape)

    def save_own_variables(self, store):
        if self.built:  # the stock layers would store `self.kernel`, at full size
            for number, variable in enumerate([self.bank] + ([] if self.bias is None else [self.bias])):
                store[str(number)] = variable

    def get_config(self):
        return {**super().get_config(), "budget": self.budget, "signed": self.signed, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_dsr")
class TiedDense(TiedKernel, keras.layers.Dense):
    """`keras.layers.Dense` whose kernel of shape `(inputs, units)` reads its weights from a small bank (HashedNet).

    Chen et al. 2015, "Compressing Neural Networks with the Hashing Trick", arXiv 1504.04788. The bank is the layer's
    only trainable kernel variable, so parameters, optimizer slots and files are small; the product is as large as that
    of a dense layer. The bias stays dense. The initial values have the distribution that `kernel_initializer` gives the
    full kernel; `kernel_regularizer` sees each shared value once.

    Args:
        units: int, the size of the output.
        budget: int >= 1, the number of values in the bank, at most `inputs * units`; or float in (0, 1), their share of
            the kernel's positions: `max(1, round(budget * inputs * units))` values.
        signed: bool, whether each position multiplies its value by a fixed random sign (eq. 7).
        seed: int >= 0, which value and sign each position reads. `None` draws one from Python's random numbers, which
            `keras.utils.set_random_seed` fixes. Files do not hold what it decides: `load_weights` into a layer of
            another seed gives another network, so fix it where weights are loaded without their configuration.
        **kwargs: every other argument of `keras.layers.Dense` but `kernel_constraint` and `lora_rank`.

    Raises:
        ValueError: a `budget`, `signed` or `seed` out of range, a `kernel_constraint`, or, when the layer is built, a
            `budget` larger than the number of positions.
        NotImplementedError: LoRA or quantization, for which the model has to be stripped first.

    Example:

    >>> layer = keras_dsr.TiedDense(300, budget=0.01, seed=1)
    >>> layer.build((None, 784))
    >>> layer.bank.shape, layer.kernel.shape
    ((2352,), TensorShape([784, 300]))
    """

    stock_class = keras.layers.Dense

    def __init__(
        self, units: int, budget: int | float = 0.1, signed: bool = False, seed: int | None = None, **kwargs
    ) -> None:
        super().__init__(units, budget=budget, signed=signed, seed=seed, **kwargs)


@keras.saving.register_keras_serializable(package="keras_dsr")
class TiedConv2D(TiedKernel, keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose kernel of shape `(height, width, inputs, filters)` reads a small bank (HashedNet).

    Args:
        filters: int, the number of output channels.
        kernel_size: int or tuple of 2 ints, the window.
        budget: as in `TiedDense`; positions are `height * width * inputs / groups * filters`.
        signed: as in `TiedDense`.
        seed: as in `TiedDense`.
        **kwargs: every other argument of `keras.layers.Conv2D` but `kernel_constraint` and `lora_rank`.

    Raises:
        ValueError, NotImplementedError: as `TiedDense`.

    Example:

    >>> layer = keras_dsr.TiedConv2D(64, 3, budget=0.1, padding="same", use_bias=False)
    >>> layer(images).shape
    """

    stock_class = keras.layers.Conv2D

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        budget: int | float = 0.1,
        signed: bool = False,
        seed: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(filters, kernel_size, budget=budget, signed=signed, seed=seed, **kwargs)
