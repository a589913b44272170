"""LeNet-5 on CIFAR-10: the small convolutional network of the dense-sparse-dense comparison.

    python -m train.compare --model=lenet_5 --dataset=cifar10 --width=0.5 --epochs=16 --steps_per_epoch=100 \\
        --methods=dense,dsd,dsd_random,static --seeds=5

Cost and result: docs/results.md. No paper has it.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="lenet_5",
    datasets=("cifar10", "mnist", "fashion_mnist", "digits"),
    sparsity=0.5,
    epochs=20,
    batch_size=100,
    learning_rates=((0, 0.02), (10, 0.002), (15, 0.0002)),
    weight_decay=5e-4,
    methods=dsd(sparsities=(0.5,), dense=(20,), sparse=(10,), final=10),
    steps_per_execution=20,
)
