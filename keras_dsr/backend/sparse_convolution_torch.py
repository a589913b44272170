"""The convolution of training (see `backend.sparse_convolution`) on torch: the loops read and write its tensors."""

import torch

from keras_dsr.backend.plane_convolution import convolution_of


def convolve(inputs, values, indices, count, window):
    """As `backend.sparse_convolution.convolve`."""
    return _Convolved.apply(inputs, values, indices, count, window)


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs, values, indices, count, window):
        context.save_for_backward(inputs, values, indices, count)
        context.window = window
        arrays = [tensor.detach().numpy() for tensor in (inputs, values, indices)]
        return torch.from_numpy(convolution_of(window, arrays[0].shape).forward(*arrays, int(count)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, upstream):
        inputs, *weights, count = context.saved_tensors
        images, *arrays = (tensor.detach().numpy() for tensor in (inputs, *weights))
        convolution = convolution_of(context.window, images.shape)
        needed = context.needs_input_grad[:2]
        gradients = convolution.backward(images, upstream.numpy(), *arrays, int(count), *needed)
        return *(None if each is None else torch.from_numpy(each) for each in gradients), None, None, None
