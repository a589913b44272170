"""SqueezeNet 1.0 on ImageNet by dense-sparse-dense training, as in Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --model=squeezenet --dataset=imagenet2012 --method=dsd

Cost: 68 + 34 + 34 epochs of 2,502 steps, days on one GPU. (We have not run it to the end.)
Expect, as its authors report: 38.24% top-1 and 16.53% top-5 error, of 42.56% and 19.52% dense.
The sparsity of 67% over all layers, each by its sensitivity, is the first version's. The lengths of the last two phases
are ours.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="squeezenet",
    datasets=("imagenet2012",),
    sparsity=0.67,
    epochs=68,
    batch_size=512,
    learning_rates=((0, 0.04), (17, 0.03), (34, 0.02), (51, 0.01)),
    weight_decay=2e-4,
    methods=dsd(sparsities=(0.67,), dense=(68,), sparse=(34,), final=34, by_sensitivity=True),
)
