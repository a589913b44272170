"""Products with sparse kernels that take time in proportion to the weights that exist."""
