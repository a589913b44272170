"""AlexNet on ImageNet by dense-sparse-dense training, as in Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --model=alexnet --dataset=imagenet2012 --method=dsd

Cost: 90 + 45 + 45 epochs of 5,004 steps, days on one GPU. (We have not run it to the end.)
Expect, as its authors report: 41.48% top-1 and 18.71% top-5 error, of 42.78% and 19.73% dense.
Optimizer and learning rates are those of Caffe's AlexNet; the sparsity of 89% over all layers, each by its
sensitivity, is the first version's. The lengths of the last two phases are ours.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="alexnet",
    datasets=("imagenet2012",),
    sparsity=0.89,
    epochs=90,
    batch_size=256,
    learning_rates=((0, 0.01), (20, 0.001), (40, 0.0001), (60, 0.00001)),
    weight_decay=5e-4,
    methods=dsd(sparsities=(0.89,), dense=(90,), sparse=(45,), final=45, by_sensitivity=True),
)
