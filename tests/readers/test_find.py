"""One walk accounts for every file: used, refused with its reason, or counted; by content, through links, once."""

import errno
import gzip
import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medtl.errors import UsageError
from medtl.readers.dicom import read_image
from medtl.readers.find import HIDDEN, LINKS, OTHER, SPECIAL, below, counted, images
from medtl.readers.kinds import kind, named

PICTURE = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))


def picture(path: Path, form: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.save(path, format=form)
    return path


def names(tree: Any) -> list[str]:
    return [file.name for file in tree.files]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
@pytest.mark.parametrize("name", ["x", "x.dat", "x.nii", "x.DCM"])
def test_pictures_are_known_by_their_content(form: str, name: str, tmp_path: Path) -> None:
    assert kind(picture(tmp_path / name, form)) == "raster"


def test_volumes_are_known_by_their_content(tmp_path: Path) -> None:
    for number, volume in enumerate((nib.Nifti1Image, nib.Nifti2Image)):
        plain = volume(np.ones((4, 5, 6), np.int16), np.eye(4)).to_bytes()
        for name, content in (("plain", plain), ("packed.png", gzip.compress(plain)), ("x.nii.gz", plain)):
            path = tmp_path / f"{number}{name}"
            path.write_bytes(content)
            assert kind(path) == "nifti", path


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_dicom_is_known_without_its_preamble(syntax: str, tmp_path: Path, save: Callable[..., Path]) -> None:
    whole = save(tmp_path / "whole", np.arange(20, dtype=np.int16).reshape(4, 5), TransferSyntaxUID=syntax)
    assert kind(whole) == "dicom"
    content = whole.read_bytes()
    start = content.index(b"\x08\x00\x16\x00")  # SOPClassUID, the first element of the data set
    for name, part in (("MR.1.001", content[132:]), ("MR.1.002", content[start:])):
        (tmp_path / name).write_bytes(part)
        assert kind(tmp_path / name) == "dicom"
        assert np.array_equal(read_image(tmp_path / name), read_image(whole))


@pytest.mark.parametrize(
    "content",
    [b"", b"BM is how a text may start, too", b"\x08\x00 no header at all", b"II", b"plain words" * 60, bytes(600)],
)
def test_other_files_are_of_no_kind(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    assert kind(tmp_path / "x") is None
    # where a name promises an image, reading it tells what is wrong
    (tmp_path / "x.PNG").write_bytes(content)
    assert kind(tmp_path / "x.PNG") == "raster"


def test_names_count_in_either_case_and_unicode_form() -> None:
    for name in ("a.nii.gz", "A.NII.GZ", unicodedata.normalize("NFD", "Épanchement.Nii")):
        assert named(name) == "nifti"
    assert named("nii") is None


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    root = tmp_path / "in"
    used = ["_DSC0001.png", "a/b/c.png", "A B ü.PNG", "noext"]
    for name in used:
        picture(root / name)
    hidden = [
        ".ipynb_checkpoints/a.png",
        ".Trash-1000/files/b.png",
        "__MACOSX/c.png",
        "a/._c.png",
        "$RECYCLE.BIN/d.png",
    ]
    for name in hidden:
        picture(root / name)
    for name in ("notes.txt", "a/table.csv", "a/Thumbs.db"):
        (root / name).write_text("x")
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "s"))
        tree = images(root)
    assert names(tree) == sorted(used)
    assert tree.refused == (("gone.png", "is a link to nothing"),)
    assert sorted(one.name for one in tree.passed if one.why == HIDDEN) == sorted(hidden)
    assert [one.name for one in tree.passed if one.why == OTHER] == ["a/Thumbs.db", "a/table.csv", "notes.txt"]
    assert [one.name for one in tree.passed if one.why == SPECIAL] == ["pipe.png", "s"]
    everything = [p for p in root.rglob("*") if p.is_symlink() or not p.is_dir()]
    assert len(everything) == len(tree.files) + len(tree.refused) + len(tree.passed)
    said = counted(tree.passed)
    assert "5 hidden" in said
    assert "3 of other kinds (.db, .csv, .txt)" in said


def test_links_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "in"
    picture(root / "A/x.png")
    picture(tmp_path / "elsewhere/deep/y.png")
    picture(tmp_path / "sibling.png")
    (root / "B").symlink_to("../elsewhere")  # relative, as archives store them
    (root / "C").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root / "A")
    (root / "A/loop").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (tmp_path / "elsewhere/back").symlink_to(root)
    (root / "z.png").symlink_to(tmp_path / "sibling.png")
    tree = images(root)
    assert names(tree) == ["A/x.png", "B/deep/y.png", "z.png"]
    assert sorted(one.name for one in tree.passed) == ["A/loop", "B/back", "C", "above", "again"]
    assert {one.why for one in tree.passed} == {LINKS}
    assert "(A/loop, B/back, C, above, …)" in counted(sorted(tree.passed))


def test_what_cannot_be_opened_is_named_and_the_rest_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root opens everything, so the system's refusal is imitated."""
    for name in ("a.png", "locked", "closed/b.png"):
        picture(tmp_path / name)
    scandir, opened = os.scandir, open

    def refuse_folder(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    def refuse_file(path: Any, *rest: Any, **more: Any) -> Any:
        if isinstance(path, Path) and path.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "scandir", refuse_folder)
    monkeypatch.setattr("builtins.open", refuse_file)
    tree = images(tmp_path)
    assert names(tree) == ["a.png"]
    assert tree.refused == (
        ("closed/", "the folder cannot be opened: Permission denied"),
        ("locked", "cannot be read: Permission denied"),
    )


def test_one_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    assert names(images(picture(tmp_path / ".hidden.png"))) == [".hidden.png"]
    with pytest.raises(UsageError, match="no such file or folder"):
        below(tmp_path / "nowhere")


def test_the_data_file_of_a_header_is_used_with_it(tmp_path: Path) -> None:
    (tmp_path / "v.mhd").write_text("ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementDataFile = v.raw\n")
    (tmp_path / "v.raw").write_bytes(bytes(16))
    (tmp_path / "other.raw").write_bytes(bytes(16))
    tree = images(tmp_path)
    assert names(tree) == ["v.mhd"]
    assert [one.name for one in tree.passed] == ["other.raw"]


def test_names_come_out_in_one_unicode_form(tmp_path: Path) -> None:
    picture(tmp_path / unicodedata.normalize("NFD", "Épanchement") / "x.png")
    assert names(images(tmp_path)) == [unicodedata.normalize("NFC", "Épanchement/x.png")]


def test_the_shared_cases(shared_case: Callable[[str], Path]) -> None:
    assert names(images(shared_case("files/hidden_folder"))) == ["a.png"]
    tree = images(shared_case("files/names"))
    assert len(tree.files) == 11
    assert {file.name: file.kind for file in tree.files}["dicom_named.png"] == "dicom"
    assert not tree.passed
    assert len(names(images(shared_case("files/nii_names")))) == 9
    assert {file.kind for file in images(shared_case("files/no_preamble")).files} == {"dicom"}
    assert counted(images(shared_case("files/cd_export")).passed) == "2 of other kinds (.exe, .inf)"
