"""The recipes of the papers, by name. Each is a file that opens with its command, its cost and the result to expect."""

from train.recipes import lenet_digits, lenet_mnist, resnet_50_imagenet2012, wide_resnet_cifar10
from train.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "lenet_digits": lenet_digits.RECIPE,
    "lenet_mnist": lenet_mnist.RECIPE,
    "resnet_50_imagenet2012": resnet_50_imagenet2012.RECIPE,
    "wide_resnet_cifar10": wide_resnet_cifar10.RECIPE,
}


def find_recipe(model: str, dataset: str) -> str:
    """The name of the recipe for a network on a data set.

    Raises:
        ValueError: there is none; the message lists those that exist.
    """
    for name, recipe in RECIPES.items():
        if recipe.model == model and dataset in recipe.datasets:
            return name
    existing = "; ".join(f"{name} ({r.model} on {', '.join(r.datasets)})" for name, r in RECIPES.items())
    raise ValueError(
        f"There is no recipe for model={model!r} on dataset={dataset!r}. Pass --recipe=<name> to use the "
        f"hyperparameters of another. Existing recipes: {existing}."
    )


__all__ = ["RECIPES", "Recipe", "find_recipe"]
