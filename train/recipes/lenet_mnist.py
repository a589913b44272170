"""LeNet-300-100 on MNIST (or Fashion-MNIST), after Mostafa & Wang, ICML 2019 (arXiv 1902.05967).

    python -m train.run --model=lenet_300_100 --dataset=mnist --method=dsr --sparsity=0.99 --seed=0

Cost: about a minute on 2 idle cores, up to 4 minutes on busy ones (30 epochs, 600 steps each).
Expect with 2,662 weights: DSR 97.1 to 97.5% test accuracy, static about 43% (docs/results.md has the runs).
Published: DSR 97.75 ± 0.04, static 49.5 ± 5.9, in more epochs. Ours has 30, and the learning rate divided by 10 at half
and at three quarters of them.
"""

from train.methods import DSR, SET, SNFS, Compressed, DeepR, RigL, StraightThrough, TopKAST, dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="lenet_300_100",
    datasets=("mnist", "fashion_mnist"),
    sparsity=0.99,
    epochs=30,
    batch_size=100,
    learning_rates=((0, 0.1), (15, 0.01), (22.5, 0.001)),
    weight_decay=5e-4,
    methods={
        "dsr": DSR(target=600),
        "set": SET(target=600),
        "deepr": DeepR(temperatures=((0, 1e-5), (4, 1e-8), (12, 1e-12), (21, 1e-15)), l1=0.0, l1_in_gradient=1e-4),
        "rigl": RigL(relative_to_output=True),
        # 1,500 of the 98,000 steps of its paper are 275 of the 18,000 here.
        "itop": RigL(fraction=0.5, ends=1.0, period=((0, 275),), relative_to_output=True),
        "snfs": SNFS(relative_to_output=True),
        "straight_through": StraightThrough(decay=5e-3, relative_to_output=True),
        "top_kast": TopKAST(decay=5e-3, relative_to_output=True),
        "compressed": Compressed(last_kernel_at_most=0.9),
        **dsd(sparsities=(0.5,), dense=(30,), sparse=(15,), final=15),
    },
    stop_at=28,
    steps_per_execution=20,
)
