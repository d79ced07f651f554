"""Figures and names as they are printed; above all that no place of a machine is."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from medtl.report.markdown import escaped
from medtl.report.words import (
    command,
    count,
    duration,
    interval,
    listed,
    metric_name,
    number,
    p_value,
    signed,
    span,
    without_paths,
)

WORD = st.text("abcdefgh", min_size=4, max_size=8)
PART = st.lists(WORD, min_size=1, max_size=2).map(" ".join)
START = st.sampled_from(["/", "~/", "C:\\", "file:///", "\\\\"])


def test_what_is_not_defined_is_a_dash() -> None:
    assert (number(math.nan), signed(math.inf), p_value(math.nan)) == ("–", "–", "–")
    assert span(math.nan, 1.0) == interval(math.nan, 1.0) == ""
    assert (number(0.12345), signed(-0.0421), p_value(0.0004), p_value(0.04)) == ("0.123", "−0.042", "< 0.001", "0.040")
    assert interval(-0.01, 0.02, sign=True) == "−0.010 to +0.020"


def test_words() -> None:
    assert (count(1, "image"), count(1200, "image")) == ("1 image", "1,200 images")
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [duration(s) for s in (12.4, 200, 7500)] == ["12 s", "3 min 20 s", "2 h 05 min"]
    assert [metric_name(m) for m in ("iou_right_kidney", "dice_mean", "auc")] == [
        "IoU right kidney",
        "mean Dice",
        "AUC",
    ]


@settings(max_examples=60)
@given(START, st.lists(PART, min_size=1, max_size=4), st.text("ABC", min_size=3, max_size=6).map("{}.pt".format))
def test_of_a_path_the_last_part_is_left(start: str, folders: list[str], name: str) -> None:
    joint = "\\" if "\\" in start else "/"
    path = start + joint.join([*folders, name])
    for text in (f"error: {path}: 3 tensors", f"'{path}'", f"--x={path} --y 1", f"[{path},{path}]"):
        shown = without_paths(text)
        assert name in shown
        assert not any(
            word in shown.replace("error: ", "").replace("tensors", "") for f in folders for word in f.split()
        )


def test_what_is_no_path_stays() -> None:
    for text in ("see https://x.org/a/b", "bundles/tb/configs/train.json and/or 1/2", "5 / 10 km/h", "../data"):
        assert without_paths(text) == text


def test_a_command_names_places() -> None:
    words = [
        "run", "--config_file", "['/home/jane doe/bundles/tb/configs/train.json','/x/bundles/tb/configs/more.json']",
        "--dataset_dir=/data/x", "--output_dir", "/y/z", "--init", "/home/jane/w.pt", "--epochs", 3,
    ]  # fmt: skip
    assert command(words) == (
        "run --config_file \"['bundles/tb/configs/train.json','bundles/tb/configs/more.json']\" "
        "--dataset_dir=DATASET_DIR --output_dir RUN --init w.pt --epochs 3"
    )


@given(st.text(max_size=40))
def test_markdown_stays_on_one_line_and_closes_no_cell(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    assert shown.replace("\\\\", "").count("|") == shown.replace("\\\\", "").count("\\|")
