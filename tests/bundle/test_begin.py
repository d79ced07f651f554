"""What a run says before it begins."""

from pathlib import Path

import pytest

from medtl.bundle import begin
from medtl.datalist import DataList


def entry(name: str, patient: str) -> dict:
    return {"image": name, "label": 0, "patient": patient, "source": "set", "sha256": name}


@pytest.mark.parametrize(
    ("test", "warned"),
    [([entry("3.png", "c")], []), ([entry("3.png", "a")], ["patient"]), ([entry("1.png", "a")], ["patient", "image"])],
)
def test_a_leak_of_the_data_list_is_told_and_not_refused(
    test: list, warned: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"training": [entry("1.png", "a")], "validation": [entry("2.png", "b")], "test": test}
    about = {"name": "set", "classes": ("x", "y"), "channels": 1, "licence": "", "created_by": "", "sample": False}
    begin.announce_data(DataList(**about, **parts, folder=tmp_path))
    first, *others = capsys.readouterr().err.splitlines()
    assert first == f"data: set in {tmp_path}; 1 training, 1 validation, 1 test"
    assert len(others) == len(warned)
    for line, what in zip(others, warned, strict=True):
        assert line.startswith(f"warning: {tmp_path / 'datalist.json'}: 1 ")
        assert f"{what}(s) in more than one split" in line
