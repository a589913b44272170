"""Which runtimes make use of unstructured sparsity, and for what."""

from typing import NamedTuple


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
        "LiteRT, convolutions (XNNPACK)",
        "yes",
        "on conditions",
        "Only a part of a network that starts with a 3x3 convolution of stride 2 on 3 channels, ends with a mean over "
        "the image, and has 1x1 convolutions, at least 2/3 of whose weights are zero, and few other operations in "
        "between. The weights must be stored in sparse form when the model is converted.",
        "https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/delegates/xnnpack/README.md"
        "#sparse-inference",
    ),
    Runtime(
        "LiteRT, fully connected",
        "yes",
        "not known",
        "It has a kernel for weights stored in sparse form (tf.lite.Optimize.EXPERIMENTAL_SPARSITY). Whether it is "
        "faster was not measured here.",
        "https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/kernels/fully_connected.cc",
    ),
    Runtime(
        "NVIDIA sparse tensor cores, TensorRT",
        "no",
        "no",
        "They need two zeros in each group of four weights (2:4). A mask that is free to lie anywhere does not fulfil "
        "that.",
        "https://developer.nvidia.com/blog/accelerating-inference-with-sparsity-using-ampere-and-tensorrt",
    ),
    Runtime(
        "DeepSparse",
        "yes",
        "yes, once",
        "Made for this kind of sparsity, on CPUs. Its development ended on June 2, 2025.",
        "https://github.com/neuralmagic/deepsparse",
    ),
)
