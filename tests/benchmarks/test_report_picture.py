"""The picture of a report's first figure: what the report says, as an SVG that stands alone."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from medtl.report.layout import Bar, Forest

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report_picture", ROOT / "benchmarks" / "report_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_starts_stand_below_each_other_where_the_report_puts_them(script: ModuleType) -> None:
    better = Bar("imagenet", "imagenet", "0.90 (0.80–1.00)", 80.0, 60.0, 100.0, (75.0, 85.0))
    worse = Bar("a <file> & more", "file", "0.50", 0.0, None, None, ())
    forest = Forest("AUC, resnet18", [better, worse], [(0.0, "0.5"), (100.0, "1")])
    root = ElementTree.fromstring(script.picture([forest, forest], ["imagenet", "file"], "A title", {"imagenet": "IN"}))
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert words[0] == "A title"
    assert words.count("IN") == words.count("a <file> & more") == words.count("0.90 (0.80–1.00)") == 2
    squares = [element for element in root.iter(f"{SVG}rect") if element.get("width") == "9"]
    places = [float(str(square.get("x"))) + 4.5 for square in squares[:2]]
    assert places == pytest.approx([script.place(80), script.place(0)])
    heights = [float(str(square.get("y"))) for square in squares]
    assert heights == sorted(heights)
    assert len(list(root.iter(f"{SVG}circle"))) == 4
    assert heights[-1] < float(str(root.get("height")))


def test_the_picture_in_the_readme_is_small_and_whole() -> None:
    path = ROOT / "docs" / "figures" / "report.svg"
    assert path.stat().st_size < 200_000
    words = [element.text for element in ElementTree.parse(path).getroot().iter(f"{SVG}text")]
    assert words[0] == "Which start is best? 390 test images of 369 patients"
    assert words.count("imagenet") == words.count("random") == 4
