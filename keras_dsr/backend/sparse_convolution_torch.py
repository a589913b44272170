"""The convolution of training (see `backend.sparse_convolution`) on torch: the loops read and write its tensors."""

import torch

from keras_dsr.backend.plane_convolution import convolution_of


def convolve(inputs, values, indices, count, window, seen=None):
    """As `backend.sparse_convolution.convolve`."""
    return _Convolved.apply(inputs, values, indices, count, window, seen)


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs, values, indices, count, window, seen):
        inputs_given, values_given, indices_given = (tensor.detach().numpy() for tensor in (inputs, values, indices))
        convolution = convolution_of(window, inputs_given.shape)
        structure = convolution.structure(indices_given, int(count))
        context.save_for_backward(inputs, values, indices, count)
        context.window, context.structure, context.seen = window, structure, seen
        if seen is not None:
            seen.forward()
        return torch.from_numpy(convolution.forward(inputs_given, values_given, structure))

    @staticmethod
    def backward(context, upstream):
        inputs, values, *where = context.saved_tensors
        needed = context.needs_input_grad[:2]
        if context.seen is not None:
            context.seen.backward(inputs.detach().numpy(), upstream.detach().numpy())
        gradients = _Gradients.apply(
            inputs, upstream, values, *where, context.window, needed, context.structure, context.seen
        )
        return *gradients, None, None, None, None


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs, upstream, values, indices, count, window, needed, structure, seen=None):
        context.save_for_backward(inputs, upstream, values, indices, count)
        context.window, context.structure, context.seen = window, structure, seen
        arrays = [tensor.detach().numpy() for tensor in (inputs, upstream, values)]
        gradients = convolution_of(window, arrays[0].shape).backward(*arrays, structure, *needed)
        return tuple(None if each is None else torch.from_numpy(each) for each in gradients)

    @staticmethod
    def backward(context, of_inputs, of_values):
        """Both gradients are linear in the upstream, and each in one of the others."""
        if context.seen is not None:
            context.seen.is_differentiated_again = True
        inputs, upstream, values, *where = context.saved_tensors
        of_inputs = torch.zeros_like(inputs) if of_inputs is None else of_inputs
        of_values = torch.zeros_like(values) if of_values is None else of_values
        window = context.window
        for_inputs, for_values = _Gradients.apply(
            of_inputs, upstream, of_values, *where, window, (True, True), context.structure
        )
        for_upstream = convolve(of_inputs, values, *where, window) + convolve(inputs, of_values, *where, window)
        return for_inputs, for_upstream, for_values, None, None, None, None, None, None
