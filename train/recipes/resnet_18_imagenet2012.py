"""ResNet-18 on ImageNet by dense-sparse-dense training, as in Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --model=resnet_18 --dataset=imagenet2012 --method=dsd

Cost: 100 + 50 + 50 epochs of 5,004 steps, days on one GPU. (We have not run it to the end.)
Expect, as its authors report: 29.17% top-1 and 10.13% top-5 error, of 30.43% and 10.76% dense.
Learning rates of the phases: .1, .01, .001. The lengths of the last two phases are ours.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="resnet_18",
    datasets=("imagenet2012",),
    sparsity=0.3,
    epochs=100,
    batch_size=256,
    learning_rates=((0, 0.1), (30, 0.01), (60, 0.001), (90, 0.0001)),
    weight_decay=1e-4,
    methods=dsd(sparsities=(0.3,), dense=(100,), sparse=(50,), final=50, sparse_factor=0.1, final_factor=0.01),
)
