"""What the equation of an `EinsumDense` layer says of its kernel."""

import keras


def terms(equation: str) -> tuple[str, str, str]:
    """The axes of the inputs, of the kernel and of the outputs."""
    given, _, outputs = equation.replace(" ", "").partition("->")
    inputs, _, kernel = given.partition(",")
    return inputs, kernel, outputs


def summed_axes(equation: str) -> int:
    """Over how many axes is summed."""
    inputs, kernel, outputs = terms(equation)
    return sum(axis in inputs and axis not in outputs for axis in kernel)


def initializer_of(layer: keras.layers.Layer, attribute: str):
    """The initializer that a layer draws a weight by, from the attribute that has it; None if there is none.

    That of the kernel of an `EinsumDense` is told which axes are inputs when the layer is built.
    """
    given = getattr(layer, attribute, None)
    if not isinstance(layer, keras.layers.EinsumDense) or attribute != "kernel_initializer":
        return given
    if not isinstance(given, keras.initializers.VarianceScaling) or None not in (given.input_axes, given.output_axes):
        return given
    _, kernel, outputs = terms(layer.equation)
    axes = {"input_axes": [], "output_axes": []}
    for index, axis in enumerate(kernel):
        axes["output_axes" if axis in outputs else "input_axes"].append(index)
    return type(given).from_config({**given.get_config(), **axes})
