"""A LiteRT (TensorFlow Lite) file with sparse tensors, compared with the model before it is written."""

import glob
import os
import pathlib
import re
import tempfile

import keras
import numpy as np

from keras_dsr.backend.keras_layers import walk

TOLERANCE = 1e-3  # of the largest output: far above what rounding does, far below what a lost weight does


def write_litert(model: keras.Model, path: str | os.PathLike, input_signature=None) -> None:
    """Write a model for LiteRT with sparse tensors where the converter makes them, or dense where that is smaller.

    The converter stores a kernel of dense layers and convolutions sparse from a sparsity of 0.3 on. The file is written
    only if LiteRT's interpreter gives the outputs of the model for a batch of random inputs; where the sparse one does
    not, the dense one is tried. Its signature has the names of the model's inputs, as a SavedModel's has.

    Args:
        model: a built Keras model of stock layers, with pruned weights at zero, on the TensorFlow backend.
        path: the file to write, ending in `.tflite`.
        input_signature: as in `keras.Model.export`. Recurrent layers need a fixed batch size, such as
            `[keras.InputSpec("float32", (1, 28, 28), name="rows")]`.

    Raises:
        ImportError: the package of the extra `litert`, with which the file is checked, is missing.
        ValueError: another ending of `path`, another backend, a layer that does not compute in float32, a model that
            needs operations which LiteRT's interpreter does not have, or whose file gives other outputs.

    Example:

    >>> with stripped(model):
    ...     write_litert(model, "model.tflite")
    >>> Interpreter("model.tflite").get_signature_runner()(pixels=x)  # from ai_edge_litert.interpreter
    """
    path = pathlib.Path(path)
    if path.suffix != ".tflite":
        raise ValueError(f"export(format='litert', path=...) must end in '.tflite'. Received: path={str(path)!r}")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "export(format='litert') needs the TensorFlow backend, whose converter knows sparse tensors. Set "
            f"KERAS_BACKEND=tensorflow, load the model and export it. Received: {keras.backend.backend()!r}"
        )
    interpreter = _interpreter()
    _refuse_other_numbers(model)
    # TensorFlow takes the path of what it loads for a pattern.
    beside = path.parent if glob.escape(str(path)) == str(path) else None
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        model.export(folder, format="tf_saved_model", input_signature=input_signature, verbose=False)
        inputs, expected = _sample(model, folder)
        files = sorted((_converted(model, folder, is_sparse) for is_sparse in (True, False)), key=len)
    differences = []
    for content in files:
        problem = _difference(interpreter, content, inputs, expected)
        if problem is None:
            path.write_bytes(content)
            return
        differences.append(problem)
    raise ValueError(
        f"The model {model.name!r} cannot be exported for LiteRT: its interpreter gives other outputs than the model, "
        f"and nothing was written. Export ONNX or a SavedModel. It says: {'; '.join(differences)}"
    )


def _interpreter():
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            "export(format='litert') checks each file with the interpreter of the package 'ai-edge-litert', which "
            f"cannot be imported ({error}). Install it: pip install ai-edge-litert"
        ) from error
    return Interpreter


def _refuse_other_numbers(model: keras.Model) -> None:
    for layer, _ in walk(model):
        quantized = getattr(layer, "quantization_mode", None)
        if quantized is not None:
            raise ValueError(
                f"export(format='litert') cannot write the layer {layer.name!r}, which is quantized ({quantized}): "
                "LiteRT has no products of Keras's quantized weights. Export the model as it was before "
                "`model.quantize`, or export ONNX or a SavedModel."
            )
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"export(format='litert') cannot write the layer {layer.name!r}, which computes in "
                f"{layer.compute_dtype}: LiteRT has float32 operations only. Build the model in float32 and give it "
                "these weights (`set_weights`), then export that one."
            )


def _converted(model: keras.Model, folder: str, is_sparse: bool) -> bytes:
    """The SavedModel in a folder as a LiteRT file of LiteRT's own operations."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.experimental_enable_resource_variables = True  # as Keras's own export does
    if is_sparse:
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    try:
        return converter.convert()
    except Exception as error:
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


def _sample(model: keras.Model, folder: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random inputs by name, and what the SavedModel makes of them."""
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)
    serve = loaded.signatures["serving_default"]
    generator = np.random.default_rng(0)
    inputs = {}
    for name, spec in serve.structured_input_signature[1].items():
        shape = [size or (2 if axis == 0 else 32) for axis, size in enumerate(spec.shape)]
        numbers = generator.normal(size=shape) if spec.dtype.is_floating else generator.integers(2, size=shape)
        inputs[name] = numbers.astype(spec.dtype.as_numpy_dtype)
    try:
        outputs = serve(**{name: tf.constant(value) for name, value in inputs.items()})
    except Exception as error:
        shapes = {name: value.shape for name, value in inputs.items()}
        raise ValueError(
            f"export(format='litert') cannot check the file: the model {model.name!r} does not take random inputs of "
            f"the shapes {shapes}. Fix those that it takes: input_signature=[keras.InputSpec(dtype, shape)]. "
            f"It says: {error}"
        ) from error
    return inputs, {name: value.numpy() for name, value in outputs.items()}


def _difference(interpreter, content: bytes, inputs: dict, expected: dict) -> str | None:
    """What keeps a LiteRT file from giving the expected outputs; None if it gives them."""
    try:
        outputs = interpreter(model_content=content).get_signature_runner("serving_default")(**inputs)
    except (RuntimeError, ValueError) as error:
        return str(error)
    for name, value in expected.items():
        scale = np.max(np.abs(value[np.isfinite(value)]), initial=0)
        if not np.allclose(outputs[name], value, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
            return f"{name!r} differs by {np.max(np.abs(outputs[name] - value)):.6g}, its largest value is {scale:.6g}"
    return None
