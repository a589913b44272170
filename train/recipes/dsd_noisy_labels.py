"""Dense-sparse-dense training (Han et al., ICLR 2017, arXiv 1607.04381) of LeNet-300-100 where labels are wrong.

    python -m train.compare --recipe=dsd_noisy_labels --methods=dense,dsd,dsd_random --seeds=8 --against=dense

Cost: 10 s a run on one core. Expect: docs/results.md. No paper has it: two labels of five of the digits are replaced by
others, which a network of 50,200 weights learns by heart. DSD's sparse phase leaves 1,004 of them.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="lenet_300_100",
    datasets=("digits",),
    sparsity=0.98,
    epochs=90,
    batch_size=40,
    learning_rates=((0, 0.1), (45, 0.01), (67.5, 0.001)),
    weight_decay=5e-4,
    methods=dsd(sparsities=(0.98,), dense=(60,), sparse=(20,), final=10),
    label_noise=0.4,
    steps_per_execution=36,
)
