"""What cannot be in compact storage, and the words that say so."""

import math

import keras

from keras_dsr.layers.initial_values import check_draws_each_alone
from keras_dsr.ops.patterns import Pattern
from keras_dsr.ops.positions import most_places

_OF_SINGLE_WEIGHTS = (type(None), keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)


class CompactLimits:
    """Mixin with the checks of a compact layer, and of a stock layer that is to become one."""

    @classmethod
    def check_possible(cls, layer: keras.layers.Layer, sparsity: float | dict[str, float]) -> None:
        """Raise `ValueError` if a layer of the kind, stock or sparse, cannot be in compact storage."""
        owner = cls.__name__
        if isinstance(sparsity, dict) and list(sparsity) != ["kernel"]:
            raise ValueError(
                f"{owner}(sparsity=...) must be a number, or name the kernel alone: in compact storage the bias "
                f"stays dense. Received: sparsity={sparsity!r}"
            )
        if layer.compute_dtype != layer.variable_dtype or layer.compute_dtype not in ("float32", "float64"):
            raise ValueError(
                f"{owner} computes in float32 or float64: the sparse product has no other. Use storage='masked' for "
                f"mixed precision. Received: dtype policy {layer.dtype_policy.name!r}"
            )
        if layer.kernel_constraint is not None:
            raise ValueError(
                f"{owner}(kernel_constraint=...) must be None: Keras would apply it to the list of weights, whose "
                f"shape is not the kernel's. Use `kernel_regularizer`. Received: {layer.kernel_constraint!r}"
            )
        if not isinstance(layer.kernel_regularizer, _OF_SINGLE_WEIGHTS):
            raise ValueError(
                f"{owner}(kernel_regularizer=...) must be None, L1, L2 or L1L2, which sum over single weights: Keras "
                f"applies it to the list of weights, whose shape is not the kernel's. Received: "
                f"{layer.kernel_regularizer!r}"
            )
        if getattr(layer, "lora_rank", None) or getattr(layer, "quantization_mode", None):
            raise ValueError(
                f"{owner} has no LoRA weights and is not quantized: use storage='masked', or strip the model first. "
                f"Received: lora_rank={layer.lora_rank!r}, quantization_mode={layer.quantization_mode!r}"
            )
        check_draws_each_alone(layer.kernel_initializer, owner)
        cls.check_is_product(layer)

    @classmethod
    def check_can_have(cls, pattern: Pattern) -> None:
        """Raise `ValueError` if lists of weights cannot have a pattern."""
        if pattern not in ("element", "kernel"):
            raise ValueError(
                f"{cls.__name__}(pattern=...) must be 'element' or 'kernel': in compact storage a layer has single "
                f"weights, or slices. Use storage='masked' for others. Received: pattern={pattern!r}"
            )

    @classmethod
    def check_shape(cls, shape: tuple[int, ...]) -> None:
        """Raise `ValueError` if a kernel has more positions than positions can tell apart."""
        if math.prod(shape) > most_places():
            raise ValueError(
                f"{cls.__name__} can have at most {most_places():,} positions on {keras.backend.backend()}, whose "
                f"positions have 32 bits. Received: a kernel of shape {tuple(shape)}. Set KERAS_BACKEND=tensorflow or "
                "torch for larger ones."
            )

    @staticmethod
    def check_is_product(layer: keras.layers.Layer) -> None:
        """Raise `ValueError` if a layer of the kind is neither a product with one matrix nor a convolution."""
