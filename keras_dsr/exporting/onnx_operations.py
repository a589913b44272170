"""Operations of TensorFlow that Keras's layers use and that tf2onnx has no translation for."""

import functools

import numpy as np


@functools.cache
def translate_more_operations() -> None:
    """Teach tf2onnx `Erfc`, of which Keras makes the exact `gelu`: 1 - erf(x)."""
    from tf2onnx.handler import tf_op
    from tf2onnx.utils import make_name, map_onnx_to_numpy_type

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, context, node, **kwargs):
            value_type, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
            one = context.make_const(make_name("one"), np.array(1, dtype=map_onnx_to_numpy_type(value_type)))
            error_function = context.make_node("Erf", node.input)
            context.remove_node(node.name)
            difference = [one.output[0], error_function.output[0]]
            context.make_node(
                "Sub", difference, name=node.name, outputs=node.output, shapes=[shape], dtypes=[value_type]
            )
