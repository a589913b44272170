"""WRN-28-2 on CIFAR-10, as in Mostafa & Wang, ICML 2019 (arXiv 1902.05967), section 4 and appendix.

    python -m train.run --model=wide_resnet --dataset=cifar10 --method=dsr --sparsity=0.9

Cost: 200 epochs of 500 steps, meant for a GPU; on 2 CPU cores a step takes 1 to 2 s. To see it work there, add
--epochs=2 --steps_per_epoch=100.
Expect, as in the paper: DSR 93.59 ± 0.18% test accuracy with 161,241 parameters, static 92.04% (in twice the
epochs), dense 94.70%.
"""

from train.methods import DSR, SET, DeepR, Static, Thin, dsd
from train.recipes.recipe import Recipe

MOVING = {"target": 20_000, "kernel_target": 2_000, "period": ((0, 100), (25, 200), (80, 400), (140, 800))}
RECIPE = Recipe(
    model="wide_resnet",
    datasets=("cifar10",),
    sparsity=0.9,
    epochs=200,
    batch_size=100,
    learning_rates=((0, 0.1), (60, 0.02), (120, 0.004), (160, 0.0008)),
    weight_decay=5e-4,
    methods={
        "dsr": DSR(**MOVING),
        "set": SET(**MOVING, fractions=((0.9, 0.138), (0.8, 0.07), (0.7, 0.046), (0.6, 0.034), (0.5, 0.028))),
        "deepr": DeepR(temperatures=((0, 1e-5), (25, 1e-8), (80, 1e-12), (140, 1e-15))),
        "static": Static(lasts=2),
        "thin": Thin(lasts=2),
        **dsd(sparsities=(0.3,), dense=(200,), sparse=(100,), final=100),
    },
    stop_at=190,
    width=2.0,
)
