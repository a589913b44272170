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


def kernel_initializer(layer: keras.layers.EinsumDense):
    """The initializer that the layer draws its kernel by: it is told which axes are inputs when the layer is built."""
    given = layer.kernel_initializer
    if not isinstance(given, keras.initializers.VarianceScaling) or None not in (given.input_axes, given.output_axes):
        return given
    _, kernel, outputs = terms(layer.equation)
    axes = {"input_axes": [], "output_axes": []}
    for index, axis in enumerate(kernel):
        axes["output_axes" if axis in outputs else "input_axes"].append(index)
    return type(given).from_config({**given.get_config(), **axes})
