"""Which runtimes make use of a model's sparsity, and for what."""

from collections.abc import Sequence
from typing import NamedTuple

from keras_dsr.reporting.kernels import Kernel


class Runtime(NamedTuple):
    """A runtime: whether a file for it is smaller, whether it is faster, and how that is known."""

    name: str
    smaller: str
    faster: str
    why: str
    source: str = ""


RUNTIMES = (
    Runtime(
        "TensorFlow, Keras (dense kernels)",
        "yes",
        "no",
        "A dense product multiplies zeros as any other number. The file is small where zeros are compressed or packed, "
        "as keras_dsr.save and keras_dsr.export do.",
    ),
    Runtime(
        "XLA (jit_compile=True, JAX)",
        "yes",
        "no",
        "Its dot and convolution operations take dense arrays; it is not told where the zeros are.",
    ),
    Runtime(
        "TensorFlow's CSR product",
        "yes",
        "it depends",
        "Stock operations that skip zeros, on the CPU: a gain at high sparsity, a loss below. The columns “measured” "
        'above are this product. keras_dsr.export(model, path, kernels="auto") uses it where it was measured to be '
        "faster.",
    ),
    Runtime(
        "ONNX Runtime",
        "yes",
        "no",
        "Sparse initializers save space in the file, and become dense tensors when the model is loaded.",
        "https://github.com/microsoft/onnxruntime/pull/5540",
    ),
    Runtime(
        "LiteRT, fully connected",
        "yes",
        "it depends",
        "It multiplies single weights, or blocks of 4 inputs by 1 output, as they are stored: a gain from some 0.95 "
        "on, and of blocks from 0.9 on. keras_dsr.export(model, “model.tflite”) stores each layer in the form that "
        "is the fastest on the machine it runs on, and says so.",
    ),
    Runtime(
        "LiteRT, convolutions, on ARM and in browsers (XNNPACK)",
        "yes",
        "on conditions",
        "With a window of 1, in a network of the kind of MobileNets. keras_dsr.export(model, “model.tflite”, "
        "xnnpack=True) writes it so that they are, or says what stands in the way. On x86 they are not.",
        "https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/delegates/xnnpack/README.md"
        "#sparse-inference",
    ),
    Runtime(
        "DeepSparse",
        "yes",
        "yes, once",
        "Made for this kind of sparsity, on CPUs. Its development ended on June 2, 2025.",
        "https://github.com/neuralmagic/deepsparse",
    ),
)


def runtimes_for(kernels: Sequence[Kernel]) -> tuple[Runtime, ...]:
    """The runtimes, with what sparse tensor cores make of these kernels."""
    sparse = [kernel for kernel in kernels if kernel.is_sparse]
    fit = [kernel.name for kernel in sparse if kernel.fits_sparse_tensor_cores]
    why = "They need two zeros in each four neighbouring inputs (2:4)"
    if fit:
        why += f", as {len(fit)} of the {len(sparse)} sparse kernels have: {', '.join(fit)}. They get there by ONNX."
    else:
        why += ", as pattern='2:4' has. None of the sparse kernels has."
    of_nvidia = Runtime(
        "NVIDIA sparse tensor cores, TensorRT",
        "no",
        "yes" if fit else "no",
        why,
        "https://developer.nvidia.com/blog/accelerating-inference-with-sparsity-using-ampere-and-tensorrt",
    )
    return (*RUNTIMES, of_nvidia)
