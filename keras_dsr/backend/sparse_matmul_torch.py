"""The product of training (see `backend.sparse_matmul`) by torch's CSR product."""

import warnings

import torch


def multiply(inputs, values, indices, count, shape):
    """As `backend.sparse_matmul.multiply`."""
    rows, columns = indices[: int(count)].T.contiguous().long()
    return _Product.apply(inputs, values, rows, columns, shape)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs, values, rows, columns, shape):
        context.save_for_backward(inputs, values, rows, columns)
        context.shape = shape
        order = torch.argsort(columns, stable=True)
        transposed = _matrix(values[: len(rows)][order], columns[order], rows[order], shape[::-1])
        return (transposed @ inputs.T).T.contiguous()

    @staticmethod
    def backward(context, upstream):
        inputs, values, rows, columns = context.saved_tensors
        of_inputs = of_values = None
        if context.needs_input_grad[0]:
            matrix = _matrix(values[: len(rows)], rows, columns, context.shape)
            of_inputs = (matrix @ upstream.T).T.contiguous()
        if context.needs_input_grad[1]:
            of_values = torch.zeros_like(values)
            of_values[: len(rows)] = sampled(inputs.T.contiguous(), upstream.T.contiguous(), rows, columns)
        return of_inputs, of_values, None, None, None


def _matrix(values, rows, columns, shape):
    """A CSR matrix of entries whose rows increase."""
    starts = torch.searchsorted(rows.contiguous(), torch.arange(shape[0] + 1, dtype=rows.dtype, device=rows.device))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, columns.to(starts.dtype), values, size=shape, check_invariants=False)


def sampled(first, second, rows, columns, block: int = 4096):
    """`sum(first[row] * second[column])` for each pair of a row and a column: some entries of a dense product."""
    parts = [
        (first[rows[start : start + block]] * second[columns[start : start + block]]).sum(1)
        for start in range(0, len(rows), block)
    ]
    return torch.cat(parts)
