"""Archives that lie are refused before, or while, they are unpacked; nothing is left behind or written elsewhere."""

import hashlib
import io
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from typer.testing import CliRunner

from medtl.cli import app
from medtl.errors import MedtlError, UsageError
from medtl.networks.classifier import build_classifier
from medtl.weights import archive as unpack_module
from medtl.weights.archive import MAX_ENTRIES, parse_sums, unpack, verify
from medtl.weights.load import load_pretrained
from medtl.weights.read import read_state_dict

FILES = {"configs/metadata.json": b"{}", "models/model.pt": b"weights" * 1000, "LICENSE": b"free"}


def sums_of(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in files.items()).encode()


def zipped(path: Path, files: dict[str, bytes], base: str = "bundle/", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, body in files.items():
            archive.writestr(base + name, body)
    return path


def holding(path: Path, member: zipfile.ZipInfo | str, body: bytes = b"x") -> Path:
    """A zip with one member of any name and kind, beside a harmless one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bundle/LICENSE", b"free")
        archive.writestr(member, body)
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("base", ["bundle/", ""])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_good_archive_is_unpacked_without_its_outermost_folder(base: str, compression: int, tmp_path: Path) -> None:
    files = {**FILES, "SHA256SUMS": sums_of(FILES)}
    unpack(zipped(tmp_path / "a.zip", files, base, compression), tmp_path / "out")
    assert below(tmp_path / "out") == files
    assert verify(tmp_path / "out") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_folders_in_the_archive_and_no_hashes_are_fine(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("bundle")
        archive.mkdir("bundle/configs")
        archive.writestr("bundle/configs/x.json", b"{}")
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert below(tmp_path / "out") == {"configs/x.json": b"{}"}


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def device(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFIFO | 0o666) << 16
    return info


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("../outside", "leads out of its folder"),
        ("bundle/../../outside", "leads out of its folder"),
        ("bundle/./x", "leads out of its folder, or has an empty part"),
        ("bundle//x", "empty part"),
        ("/etc/passwd", "absolute path"),
        ("C:/x", "names a drive"),
        ("c:x", "names a drive"),
        ("bundle\\..\\..\\x", "backslash"),
        ("bundle/a\nb", "control character"),
        (f"bundle/{'n' * 300}", "longer than a file can have"),
        (link("bundle/models"), "is a symbolic link"),
        (device("bundle/pipe"), "is no regular file"),
        ("bundle/LICENSE", "two members"),
        ("bundle/license", "two members"),
        ("bundle/LICENSE/x", "both a file and a folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_member_is_named_and_nothing_is_written(
    member: zipfile.ZipInfo | str, words: str, tmp_path: Path
) -> None:
    path = holding(tmp_path / "a.zip", member, b"../../outside")
    with pytest.raises(MedtlError, match=words) as caught:
        unpack(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


parts = st.sampled_from(["..", ".", "", "a", "B", "b", "~", "C:", "\\", "\\..", "..\\", "\x00", "~root", "con", "…"])
names = st.one_of(st.lists(parts, min_size=1, max_size=5).map("/".join), st.text(min_size=1, max_size=12))


@given(st.lists(st.tuples(names, st.booleans()), min_size=1, max_size=4))
@example([("a/../../evil", False)])
@example([("//evil", False)])
@example([("a", True), ("a/evil", False)])
@settings(max_examples=200)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_whatever_it_names_nothing_lands_outside(members: list[tuple[str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as outer:
        root = Path(outer) / "deep" / "deeper"
        root.mkdir(parents=True)
        try:
            with zipfile.ZipFile(root / "a.zip", "w") as archive:
                for name, linked in members:
                    info = link(name) if linked else zipfile.ZipInfo("x")
                    info.filename = name  # as it is: the constructor would clean it
                    archive.writestr(info, b"../..")
        except (UnicodeError, ValueError):
            return  # no such archive can be written
        told = ""
        try:
            unpack(root / "a.zip", root / "out")
        except MedtlError as error:
            told = str(error)
        assert len(told.splitlines()) <= 1
        assert (root / "out").exists() is not bool(told)
        assert {path.name for path in root.iterdir()} <= {"a.zip", "out"}
        assert [path.name for path in Path(outer).iterdir()] == ["deep"]
        assert [path.name for path in (Path(outer) / "deep").iterdir()] == ["deeper"]
        assert not any(path.is_symlink() for path in root.rglob("*"))


@given(st.data())
@settings(max_examples=150)
def test_bytes_that_are_no_archive_are_one_line(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = zipped(Path(folder) / "a.zip", {**FILES, "SHA256SUMS": sums_of(FILES)}, "b/", zipfile.ZIP_DEFLATED)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
        try:
            unpack(path, Path(folder) / "out")
        except MedtlError:
            assert [p.name for p in Path(folder).iterdir()] == ["a.zip"]
        else:
            assert below(Path(folder) / "out") == {**FILES, "SHA256SUMS": sums_of(FILES)}


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flags of the last entry of the directory
    path.write_bytes(content)
    with pytest.raises(MedtlError, match="'bundle/LICENSE' is encrypted"):
        unpack(path, tmp_path / "out")


def test_a_bomb_is_refused_by_what_it_says(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"zeros": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2000
    with pytest.raises(MedtlError, match="would unpack to 1,000,000 bytes; at most 999,999 are allowed"):
        unpack(path, tmp_path / "out", max_bytes=999_999)
    unpack(path, tmp_path / "out", max_bytes=1_000_000)


def test_a_bomb_that_understates_its_size_is_stopped_on_the_stream(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"zeros": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 1000)
    path.write_bytes(content)
    with pytest.raises(MedtlError, match=r"zeros is (damaged|longer than the archive says)"):
        unpack(path, tmp_path / "out", max_bytes=1000)
    assert list(tmp_path.iterdir()) == [path]


def test_a_stream_is_counted_whatever_the_headers_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {"zeros": bytes(5000)})
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: io.BytesIO(bytes(10**7)))
    with pytest.raises(MedtlError, match="zeros is longer than the archive says"):
        unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_too_many_entries_and_none_are_refused(tmp_path: Path) -> None:
    many = zipped(tmp_path / "many.zip", {f"{number}": b"" for number in range(MAX_ENTRIES + 1)})
    with pytest.raises(MedtlError, match="has 1,001 entries; a bundle has at most 1,000"):
        unpack(many, tmp_path / "out")
    with pytest.raises(MedtlError, match="holds no file"):
        unpack(zipped(tmp_path / "none.zip", {}), tmp_path / "out")


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES, compression=zipfile.ZIP_LZMA)
    with pytest.raises(MedtlError, match="compressed in another way"):
        unpack(path, tmp_path / "out")


def test_a_flipped_byte_is_named_by_the_archive_or_by_the_hashes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {**FILES, "SHA256SUMS": sums_of(FILES)})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"weightsweights", b"weightsWeights", 1))
    with pytest.raises(MedtlError, match=r"models/model.pt is damaged: Bad CRC-32"):
        unpack(path, tmp_path / "out")
    changed = {**FILES, "models/model.pt": b"weightS" * 1000}
    zipped(path, {**changed, "SHA256SUMS": sums_of(FILES)})
    with pytest.raises(MedtlError, match=r"models/model.pt is damaged: its SHA-256 is not the one in SHA256SUMS"):
        unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**FILES, "more.py": b"", "SHA256SUMS": sums_of(FILES)}, "more.py is not listed in SHA256SUMS"),
        (
            {"LICENSE": b"free", "SHA256SUMS": sums_of(FILES)},
            "SHA256SUMS lists configs/metadata.json, which is missing",
        ),
        ({"LICENSE": b"free", "SHA256SUMS": b"free  LICENSE\n"}, "SHA256SUMS line 1: expected a SHA-256 and a path"),
        ({"LICENSE": b"free", "SHA256SUMS": b"\xff"}, "SHA256SUMS is not text"),
    ],
)
def test_hashes_must_cover_every_file(files: dict[str, bytes], words: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", files)
    with pytest.raises(MedtlError, match=words):
        unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_unpacked_over_anything(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(UsageError, match="not an empty folder"):
        unpack(path, tmp_path / "out")
    assert below(tmp_path / "out") == {"mine": b"kept"}
    with pytest.raises(UsageError, match="no such file"):
        unpack(tmp_path / "none.zip", tmp_path / "new")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(MedtlError, match="is not a readable zip"):
        unpack(tmp_path / "text.zip", tmp_path / "new")


def test_an_unpacking_that_is_cut_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {**FILES, "SHA256SUMS": sums_of(FILES)})

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(unpack_module, "check_sum", cut)
    with pytest.raises(KeyboardInterrupt):
        unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_compared_with_its_hashes(tmp_path: Path) -> None:
    unpack(zipped(tmp_path / "a.zip", {**FILES, "SHA256SUMS": sums_of(FILES)}), tmp_path / "out")
    folder = tmp_path / "out"
    (folder / "LICENSE").write_bytes(b"fred")
    (folder / "configs" / "metadata.json").unlink()
    (folder / "evil.py").touch()
    (folder / ".DS_Store").touch()
    with open(folder / "SHA256SUMS", "a") as file:
        file.write(f"{'0' * 64}  ../a.zip\n")
    assert verify(folder) == [
        "configs/metadata.json is missing, but listed in SHA256SUMS",
        "LICENSE is damaged or changed: its SHA-256 is not the one in SHA256SUMS",
        "SHA256SUMS lists ../a.zip, which is not in the bundle",
        "evil.py is not listed in SHA256SUMS",
    ]
    (folder / "SHA256SUMS").write_text("?")
    assert verify(folder) == [f"{folder / 'SHA256SUMS'} line 1: expected a SHA-256 and a path"]
    (folder / "SHA256SUMS").unlink()
    assert verify(folder) == []


def test_lines_of_sha256sum_are_read_in_both_modes() -> None:
    digest = "a" * 64
    assert parse_sums(f"{digest}  a b\n{digest} *c\n".encode(), "x") == {"a b": digest, "c": digest}


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {**FILES, "SHA256SUMS": sums_of(FILES)})
    done = CliRunner().invoke(app, ["unpack", str(path), "--out", str(tmp_path / "out")])
    assert done.stdout == f"{tmp_path / 'out'}: 3 files match SHA256SUMS\n"
    done = CliRunner().invoke(app, ["unpack", str(zipped(path, FILES)), "--out", str(tmp_path / "other")])
    assert done.stdout == f"{tmp_path / 'other'}: unpacked but UNCHECKED: it has no SHA256SUMS to compare with\n"
    assert done.exit_code == 1


@pytest.fixture(scope="module")
def weights() -> tuple[dict[str, torch.Tensor], bytes]:
    torch.manual_seed(0)
    state = build_classifier("resnet18", 2).state_dict()
    return state, save(state)


def test_weights_are_read_from_a_zip_that_is_not_unpacked(
    weights: tuple[dict[str, torch.Tensor], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, content = weights
    files = {"models/model.safetensors": content, "models/other": b"x"}
    path = zipped(tmp_path / "a.zip", {**files, "SHA256SUMS": sums_of(files)})
    asked: list[str] = []
    opening = zipfile.ZipFile.open

    def watched(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *rest: str) -> object:
        asked.append(info.filename)
        return opening(archive, info, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "open", watched)
    network = build_classifier("resnet18", 5)
    assert load_pretrained(network, path, "resnet18").coverage == 1
    assert torch.equal(network.conv1.weight, state["conv1.weight"])
    assert set(asked) == {"bundle/models/model.safetensors", "bundle/SHA256SUMS"}
    assert list(tmp_path.iterdir()) == [path]


def test_weights_in_a_zip_must_match_its_hashes(weights: tuple[dict[str, torch.Tensor], bytes], tmp_path: Path) -> None:
    good = {"models/model.safetensors": weights[1]}
    flipped = bytearray(weights[1])
    flipped[-1] ^= 1
    files = {"models/model.safetensors": bytes(flipped), "SHA256SUMS": sums_of(good)}
    path = zipped(tmp_path / "a.zip", files)
    network = build_classifier("resnet18", 5)
    before = network.conv1.weight.clone()
    with pytest.raises(MedtlError, match=r"--init .*a.zip: models/model.safetensors is damaged: its SHA-256"):
        load_pretrained(network, path, "resnet18")
    assert torch.equal(network.conv1.weight, before)


def test_zips_without_weights_and_with_code_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no models/model.safetensors or models/model.pt"):
        read_state_dict(zipped(tmp_path / "a.zip", {"models/readme": b""}))
    buffer = io.BytesIO()
    torch.save({"x": print}, buffer)
    with pytest.raises(MedtlError, match=r"b.zip: models/model.pt holds code that names .*print"):
        read_state_dict(zipped(tmp_path / "b.zip", {"models/model.pt": buffer.getvalue()}))
    with pytest.raises(MedtlError, match="symbolic link"):
        read_state_dict(holding(tmp_path / "c.zip", link("bundle/models/model.pt")))
