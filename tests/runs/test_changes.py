"""What two configs say differently: named by id, and nothing that is the same in other words or lies elsewhere."""

from typing import Any

import pytest

from medtl.runs.changes import Change, changes, leaves

CONFIG = {"seed": 0, "init": "w/a.pt", "published": {"epochs": 100}, "loss": {}, "train": {"steps": [{"a": 1}]}}


@pytest.mark.parametrize(
    ("id_", "value", "was"),
    [
        ("published#epochs", 90, 100),
        ("train#steps", [{"a": 2}], [{"a": 1}]),
        ("loss", "$made()", {}),
        ("train#more", True, None),
    ],
)
def test_each_value_is_compared_by_its_id(id_: str, value: Any, was: Any) -> None:
    assert changes(leaves(CONFIG), leaves(CONFIG, {id_: value})) == [Change(id_, was, value)]
    assert changes(leaves(CONFIG), leaves(CONFIG, {id_: value}), [id_.partition("#")[0]]) == []


def test_an_override_takes_the_place_of_all_that_is_nested_there() -> None:
    assert leaves({"a": {"b": 1, "c": 2}, "ab": 3}, {"a": {"d": 4}}) == {"ab": 3, "a#d": 4}
    found = changes(leaves(CONFIG), leaves(CONFIG, {"published": 7}))
    assert found == [Change("published", None, 7), Change("published#epochs", 100, None)]


def test_an_override_reaches_into_a_list_as_monai_does() -> None:
    made = {**CONFIG, "train": {"steps": [{"a": 2}]}}  # what run.json holds of it
    assert leaves(CONFIG, {"train#steps#0#a": 2}) == leaves(made) == leaves(made, {"train#steps#0#a": 2})
    assert leaves(CONFIG, {"train#steps#0": {"a": 2}}) == leaves(made)
    assert changes(leaves(made), leaves(CONFIG, {"train#steps#0#a": 3})) == [
        Change("train#steps", [{"a": 2}], [{"a": 3}])
    ]
    assert CONFIG["train"] == {"steps": [{"a": 1}]}


def test_other_words_places_and_another_order_are_no_change() -> None:
    same = {**dict(reversed(CONFIG.items())), "seed": " 0.0", "published": {"epochs": "100"}, "fold": None}
    assert changes(leaves(CONFIG), leaves({**same, "output_dir": "/b", "resume": "auto", "save_interval": 5})) == []


def test_the_same_weights_may_lie_elsewhere_where_their_hash_is_compared() -> None:
    for init, hashed, differs in (("/b/a.pt", True, False), ("/b/a.pt", False, True), ("imagenet", True, True)):
        assert bool(changes(leaves(CONFIG), leaves({**CONFIG, "init": init}), hashed=hashed)) == differs
