"""A small transformer that writes the documentation of Python, character by character.

    python -m train.compare --model=character_transformer --dataset=python_documentation --seeds=2 \\
        --methods=dense,thin,static,set,rigl,straight_through,dsr --epochs=10 --out=runs/transformer

Cost and result: docs/results.md. No paper has it: the text is what `help()` shows, a tenth of it the test.
"""

from train.methods import DSR, SET, RigL, StraightThrough, dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="character_transformer",
    datasets=("python_documentation",),
    sparsity=0.9,
    epochs=10,
    batch_size=16,
    learning_rates=((0, 1e-3), (7, 3e-4), (9, 1e-4)),
    weight_decay=0.0,
    clip=1.0,
    optimizer="adam",
    methods={
        "dsr": DSR(target=0.05, period=((0, 50),)),
        "set": SET(target=0.05, period=((0, 50),)),
        "rigl": RigL(period=((0, 50),)),
        "straight_through": StraightThrough(period=((0, 50),)),
        **dsd(sparsities=(0.5,), dense=(10,), sparse=(5,), final=5),
    },
)
