"""Features of other programs: found by the pictures' names, and refused where they cannot be what they say."""

from pathlib import Path

import numpy as np
import pytest

from medtl.errors import MedtlError, UsageError
from medtl.features.given import read_features

ENTRIES = [{"image": f"images/{name}.png"} for name in "abc"]


def test_all_three_forms_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    names = ["images/b.png", "a.png", "images/c.png", "other.png"]
    np.savez(tmp_path / "one.npz", names=names, features=values)
    np.savez(tmp_path / "each.npz", **dict(zip(names, values, strict=True)))
    rows = [",".join([name, *map(str, row)]) for name, row in zip(names, values, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["image,f0,f1", *rows]) + "\n")
    for name in ("one.npz", "each.npz", "table.csv"):
        given = read_features(tmp_path / name)
        assert given.of(ENTRIES).tolist() == [[2, 3], [0, 1], [4, 5]]
        given.tell_unknown(ENTRIES)
        assert "1 vectors are of no picture of the data list and are not used: other.png" in capsys.readouterr().err


@pytest.mark.parametrize("image", ["1.png", "site_a/1.png"])
def test_two_pictures_never_share_a_vector(tmp_path: Path, image: str) -> None:
    """Neither those of one file name in two folders, nor one that is named so and one in a folder."""
    first, other, second = ({"image": name} for name in (image, "site_b/1.png", "2.png"))
    np.savez(tmp_path / "bare.npz", names=["1.png", "2.png"], features=[[1.0, 1.0], [2.0, 2.0]])
    bare = read_features(tmp_path / "bare.npz")
    assert bare.of([first, second, first]).tolist() == [[1, 1], [2, 2], [1, 1]]  # an image under two classes
    with pytest.raises(UsageError, match=f"has one vector for two pictures: {image}, site_b/1.png; name pictures"):
        bare.of([first, second, other])
    np.savez(tmp_path / "whole.npz", names=[image, "site_b/1.png"], features=[[1.0, 1.0], [3.0, 3.0]])
    assert read_features(tmp_path / "whole.npz").of([first, other]).tolist() == [[1, 1], [3, 3]]


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ("image,f\nimages/a.png,1\n", UsageError, r"has no vector of 2 of 3 pictures: images/b\.png, images/c\.png"),
        ("image,f\na,1\na,2\n", MedtlError, "names 1 pictures twice: a"),
        ("image,f\na,x\n", MedtlError, "line 2 holds a value that is not a number"),
        ("image,f\na,nan\n", MedtlError, "holds a value that is not a number for a"),
        ("image,f\na,1\nb,1,2\n", MedtlError, "line 3 has 2 numbers; line 2 has 1"),
        ("image,f\n", MedtlError, "holds no features"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, kind: type[Exception], words: str) -> None:
    path = tmp_path / "f.csv"
    path.write_text(content)
    with pytest.raises(kind, match=words):
        read_features(path).of(ENTRIES)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a file \.npz or \.csv"):
        read_features(tmp_path / "f.pt")
    with pytest.raises(UsageError, match="no such file"):
        read_features(tmp_path / "f.npz")
    np.savez(tmp_path / "pickled.npz", features=np.array([{}], dtype=object), names=["a"])
    with pytest.raises(MedtlError, match="cannot be read"):
        read_features(tmp_path / "pickled.npz")
