"""An ONNX file whose weights take no more room than their non-zero numbers need."""

import importlib
import os
import pathlib
import warnings

import keras

from keras_dsr.backend.keras_layers import walk
from keras_dsr.exporting.onnx_initializers import with_gaps, with_sparse_initializers
from keras_dsr.exporting.onnx_operations import translate_more_operations

PACKINGS = {"sparse": with_sparse_initializers, "gaps": with_gaps}
# What Keras converts with, by backend; torch brings its own. The extra brings the one of TensorFlow.
CONVERTERS = {"tensorflow": "tf2onnx", "jax": "jax2onnx"}


def write_onnx(model: keras.Model, path: str | os.PathLike, input_signature=None, packing: str = "sparse") -> None:
    """Write a model as Keras's own `export` does, but with its zeros left out of the file.

    onnxruntime loads it as any other, makes its weights dense while it does, and computes what it computes of the file
    that Keras writes. Inputs carry the names of the model's, and outputs follow in the order of `keras.tree.flatten`.

    Args:
        model: a built Keras model of stock layers, with pruned weights at zero.
        path: the file to write, ending in `.onnx`.
        input_signature: as in `keras.Model.export`.
        packing: how a weight is stored where that pays. `"sparse"`: a sparse initializer, 12 bytes a float32; `"gaps"`:
            its numbers and 8-bit steps between them, 5 bytes, which stock nodes unpack when onnxruntime loads the file.

    Raises:
        ImportError: a package of the extra `onnx` is missing.
        ValueError: another ending of `path` or another `packing`, a layer that computes in bfloat16, or a model that
            ONNX cannot express.

    Example:

    >>> with stripped(model):
    ...     write_onnx(model, "model.onnx")
    >>> onnxruntime.InferenceSession("model.onnx").run(None, {"pixels": x})
    """
    path = pathlib.Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"export(format='onnx', path=...) must end in '.onnx'. Received: path={str(path)!r}")
    if packing not in PACKINGS:
        raise ValueError(
            f"export(format='onnx', packing=...) must be one of {', '.join(map(repr, PACKINGS))}. Received: {packing!r}"
        )
    _require("onnx", CONVERTERS.get(keras.backend.backend()))
    _refuse_bfloat16(model)
    if keras.backend.backend() == "tensorflow":
        translate_more_operations()
    if input_signature is None:
        input_signature = _signature(model)
    import onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Keras asks numpy for a name that it may have one day
            model.export(str(path), format="onnx", verbose=False, input_signature=input_signature)
        converted = onnx.load(path)
        # Before the zeros go: the checker takes sparse initializers, but cannot tell the shapes of what follows them.
        onnx.checker.check_model(converted, full_check=True)
    except (ImportError, OSError):
        raise
    except Exception as error:  # of converters by others, each with classes of its own
        raise ValueError(
            f"The model {model.name!r} cannot be exported as ONNX on the {keras.backend.backend()} backend. Replace "
            "the layer that the converter names, see to input_signature if one is given, or export a SavedModel. It "
            f"says: {error}"
        ) from error
    onnx.save(PACKINGS[packing](converted), path)


def _signature(model: keras.Model):
    """What Keras would find out itself, but only of a model that was called; None of a subclassed one."""
    if isinstance(model, keras.Sequential):
        return model.inputs
    return [model.input] if getattr(model, "inputs", None) else None


def _require(*packages: str | None) -> None:
    for package in filter(None, packages):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"export(format='onnx') needs the package {package!r}, which cannot be imported ({error}). "
                f"Install it: pip install {' '.join(dict.fromkeys(('onnx', 'tf2onnx', package)))}"
            ) from error


def _refuse_bfloat16(model: keras.Model) -> None:
    for layer, _ in walk(model):
        if layer.compute_dtype == "bfloat16":
            raise ValueError(
                f"export(format='onnx') cannot write the layer {layer.name!r}, which computes in bfloat16: the "
                "converter mixes it up with float16. Build the model in float32 and give it these weights "
                "(`set_weights`), then export that one."
            )
