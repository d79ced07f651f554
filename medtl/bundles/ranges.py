"""Which values a hyperparameter can have."""

from collections.abc import Mapping
from typing import Any

from medtl.errors import UsageError

WHOLE_NUMBERS = {
    "epochs": 1,
    "batch_size": 1,
    "accumulate": 1,
    "image_size": 32,
    "num_workers": 0,
    "seed": 0,
    "explain": 0,
    "patience": 0,
    "patches": 1,
}
SHARES = ("momentum", "weight_decay", "warmup", "dropout", "ema")


def check(recipe: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that cannot be; those that a recipe does not have are passed over.

    Raises:
        UsageError: names the first one and says what was expected.
    """
    for name, least in WHOLE_NUMBERS.items():
        value = recipe.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"--{name} {value}: expected a whole number of at least {least}")
    patch = recipe.get("patch_size", 0)
    if isinstance(patch, bool) or not isinstance(patch, int) or 0 != patch < WHOLE_NUMBERS["image_size"]:
        raise UsageError(f"--patch_size {patch}: expected a whole number of at least 32, or 0 for whole pictures")
    rate, alpha = recipe.get("learning_rate", 1.0), recipe.get("mixup", 0)
    if not _is_number(rate) or not 0 < rate < float("inf"):
        raise UsageError(f"--learning_rate {rate}: expected a number above 0")
    if not _is_number(alpha) or not 0 <= alpha < float("inf"):
        raise UsageError(f"--mixup {alpha}: expected 0 or a number above it")
    for name in SHARES:
        value = recipe.get(name, 0)
        if not _is_number(value) or not 0 <= value < 1:
            raise UsageError(f"--{name} {value}: expected a number from 0 to below 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
