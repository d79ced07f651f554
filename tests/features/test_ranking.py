"""What is said of the best start's lead on the test split."""

import pytest

from medtl.features.ranking import Lead


@pytest.mark.parametrize(
    ("value", "p", "said"),
    [
        (0.1, 0.01, "more than chance explains"),
        (0.1, 0.2, "which chance may explain"),
        (0.1, float("nan"), "which chance may explain"),
        (-0.1, 0.01, "the next one is better by more than chance explains"),
        (-0.1, 0.2, "which chance may explain"),
    ],
)
def test_a_lead_that_is_none_is_not_laid_to_chance(value: float, p: float, said: str) -> None:
    """The best start on validation may be worse on the test split."""
    assert Lead(value, value - 0.05, value + 0.05, p, "DeLong").verdict == said
