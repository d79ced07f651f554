"""Groups of patients by a word of --groups."""

import numpy as np
import pytest

from medtl.errors import UsageError
from medtl.metrics.groups import UNSAID, Grouping, parse, values_of


def test_words_and_numbers_with_limits() -> None:
    assert parse("sex, age:40:65,site") == (Grouping("sex"), Grouping("age", (40.0, 65.0)), Grouping("site"))
    names = Grouping("age", (40.0, 65.0)).names([39.9, 40, "64", 65, 90, None, ""])
    assert names.tolist() == [
        "under 40", "40 to below 65", "40 to below 65", "65 and over", "65 and over", UNSAID, UNSAID,
    ]  # fmt: skip
    assert Grouping("age", (40.0, 65.0)).order(names) == ["under 40", "40 to below 65", "65 and over", UNSAID]
    assert Grouping("site").order(np.array(["b", UNSAID, "a", "zz"])) == ["a", "b", "zz", UNSAID]


@pytest.mark.parametrize("text", ["", "sex,", "age:x", "age:65:40", "age:40:40", "age:nan", ":40", "sex,sex"])
def test_what_is_no_grouping_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--groups"):
        parse(text)


def test_a_word_where_a_number_is_expected_is_refused() -> None:
    with pytest.raises(UsageError, match="no number"):
        Grouping("age", (40.0,)).names(["old"])


def test_what_nobody_said_is_none() -> None:
    assert values_of({"a.png": {"sex": "F"}, "b.png": {}}, ["a.png", "b.png", "c.png"], "sex") == ["F", None, None]
