"""From a SavedModel to a LiteRT file by TensorFlow's converter, and whether it gives what the SavedModel gives."""

import re
from collections.abc import Callable

import keras
import numpy as np

TOLERANCE = 1e-3  # of the largest output: far above what rounding does, far below what a lost weight does


def converted(model: keras.Model, folder: str, optimization: str | None = None, examples: list | None = None) -> bytes:
    """The SavedModel in a folder as a LiteRT file of LiteRT's own operations.

    Args:
        model: for messages.
        folder: of the SavedModel.
        optimization: of the converter, by its name: `"EXPERIMENTAL_SPARSITY"`, or `"DEFAULT"`, which quantizes.
        examples: batches of inputs by name, from whose values ranges of int8 are taken.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.experimental_enable_resource_variables = True  # as Keras's own export does
    if optimization is not None:
        converter.optimizations = [getattr(tf.lite.Optimize, optimization)]
    if examples is not None:
        converter.representative_dataset = lambda: iter(examples)
    try:
        return converter.convert()
    except Exception as error:  # the converter has no class of its own for what it refuses
        # The message has hundreds of lines, some of which name the operations.
        operations = sorted(set(re.findall(r"tf\.(\w+)' op", str(error))))
        if not operations:
            raise ValueError(
                f"The model {model.name!r} cannot be exported for LiteRT: TensorFlow's converter refuses it. Export "
                f"ONNX or a SavedModel. It says: {str(error)[-500:]}"
            ) from error
        recurrent = "Give recurrent layers a fixed batch size: input_signature=[keras.InputSpec(dtype, (1, ...))]. "
        raise ValueError(
            f"The model {model.name!r} cannot be exported for LiteRT, whose interpreter does not have TensorFlow's "
            f"operations {', '.join(operations)} in this form. {recurrent if 'TensorListReserve' in operations else ''}"
            "Replace the layers that use them, or export ONNX or a SavedModel."
        ) from error


def served(folder: str) -> tuple[Callable, dict]:
    """The function of a SavedModel, from arrays to arrays by name, and the specs of its inputs."""
    import tensorflow as tf

    signature = tf.saved_model.load(folder).signatures["serving_default"]

    def serve(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return serve, signature.structured_input_signature[1]


def sample(model: keras.Model, folder: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random inputs by name, and what the SavedModel makes of them."""
    serve, specs = served(folder)
    generator = np.random.default_rng(0)
    inputs = {}
    for name, spec in specs.items():
        shape = [size or (2 if axis == 0 else 32) for axis, size in enumerate(spec.shape)]
        numbers = generator.normal(size=shape) if spec.dtype.is_floating else generator.integers(2, size=shape)
        inputs[name] = numbers.astype(spec.dtype.as_numpy_dtype)
    try:
        return inputs, serve(inputs)
    except Exception as error:  # whatever an operation of the user's model raises
        shapes = {name: value.shape for name, value in inputs.items()}
        raise ValueError(
            f"export(format='litert') cannot check the file: the model {model.name!r} does not take random inputs of "
            f"the shapes {shapes}. Fix those that it takes: input_signature=[keras.InputSpec(dtype, shape)]. "
            f"It says: {error}"
        ) from error


def problem_of(interpreter, content: bytes, inputs: dict, expected: dict) -> str | None:
    """What keeps a LiteRT file from giving the expected outputs; None if it gives them."""
    try:
        outputs = interpreter(model_content=content).get_signature_runner("serving_default")(**inputs)
    except (RuntimeError, ValueError) as error:
        return str(error)
    for name, value in expected.items():
        if outputs[name].shape != value.shape:
            return f"{name!r} has the shape {outputs[name].shape}, and should have {value.shape}"
        scale = np.max(np.abs(value[np.isfinite(value)]), initial=0)
        if not np.allclose(outputs[name], value, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
            return f"{name!r} differs by {np.max(np.abs(outputs[name] - value)):.6g}, its largest value is {scale:.6g}"
    return None
