"""Volumes of an inference have names of their own."""

import numpy as np

from medtl.data.volume_sources import Source, apart


def test_no_two_volumes_share_a_name() -> None:
    names = ("a", "b", "a", "a#2", "a", "b")
    named = apart([Source(name, (1, 1, place), np.eye(4)) for place, name in enumerate(names)])
    assert {each.name: each.shape[2] for each in named} == {"a": 0, "a#2": 3, "a#3": 2, "a#4": 4, "b": 1, "b#2": 5}
