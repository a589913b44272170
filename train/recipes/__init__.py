"""The recipes of the papers, by name. Each is a file that opens with its command, its cost and the result to expect."""

from train.recipes import (
    alexnet_imagenet2012,
    character_transformer_python,
    deep_speech_2_wsj,
    deep_speech_spoken_digit,
    deep_speech_wsj,
    dsd_noisy_labels,
    googlenet_imagenet2012,
    hello_edge_keywords,
    lenet_5_cifar10,
    lenet_digits,
    lenet_mnist,
    neural_talk_cifar10,
    neural_talk_flickr8k,
    resnet_18_imagenet2012,
    resnet_50_imagenet2012,
    resnet_152_imagenet2012,
    squeezenet_imagenet2012,
    vgg_16_imagenet2012,
    wide_resnet_cifar10,
)
from train.recipes.recipe import Recipe

# Of those for the same network and data set, the first is the default.
RECIPES: dict[str, Recipe] = {
    "lenet_digits": lenet_digits.RECIPE,
    "lenet_mnist": lenet_mnist.RECIPE,
    "dsd_noisy_labels": dsd_noisy_labels.RECIPE,
    "lenet_5_cifar10": lenet_5_cifar10.RECIPE,
    "wide_resnet_cifar10": wide_resnet_cifar10.RECIPE,
    "alexnet_imagenet2012": alexnet_imagenet2012.RECIPE,
    "googlenet_imagenet2012": googlenet_imagenet2012.RECIPE,
    "googlenet_first_version": googlenet_imagenet2012.FIRST_VERSION,
    "vgg_16_imagenet2012": vgg_16_imagenet2012.RECIPE,
    "vgg_16_first_version": vgg_16_imagenet2012.FIRST_VERSION,
    "resnet_18_imagenet2012": resnet_18_imagenet2012.RECIPE,
    "resnet_50_imagenet2012": resnet_50_imagenet2012.RECIPE,
    "resnet_50_first_version": resnet_50_imagenet2012.FIRST_VERSION,
    "resnet_152_imagenet2012": resnet_152_imagenet2012.RECIPE,
    "squeezenet_imagenet2012": squeezenet_imagenet2012.RECIPE,
    "hello_edge_keywords": hello_edge_keywords.RECIPE,
    "character_transformer_python": character_transformer_python.RECIPE,
    "deep_speech_spoken_digit": deep_speech_spoken_digit.RECIPE,
    "deep_speech_wsj": deep_speech_wsj.RECIPE,
    "deep_speech_2_wsj": deep_speech_2_wsj.RECIPE,
    "neural_talk_cifar10": neural_talk_cifar10.RECIPE,
    "neural_talk_flickr8k": neural_talk_flickr8k.RECIPE,
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
