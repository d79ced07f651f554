"""A few kB that stand for gigabytes are refused in one line, in little memory, through whatever reads them."""

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medtl.cli import app
from medtl.errors import BadFileError, MedtlError
from medtl.files import read_json
from medtl.limits import MOST_PIXELS, check_growth
from medtl.readers.npz import open_npz, read_array
from medtl.readers.picture import find_pictures, read_picture
from medtl.weights.archive import unpack

GIGABYTE = 2**30
BLOCK = 2**24
DEFLATED = b"1.2.840.10008.1.2.1.99"
DEEP = 200_000
MOST_MEMORY, MOST_SECONDS = 500e6, 5


def zeros(count: int, start: bytes = b"", wbits: int = -15) -> bytes:
    """Deflated ``start`` and then so many zeros, built in a moment: one block that is repeated. It has no checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + (packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)) * (count // BLOCK)


def nifti(shape: tuple[int, int, int], held: int, offset: float = 352) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<2f", header, 108, offset, 1.0)
    struct.pack_into("<h", header, 254, 1)
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *[float(row == column) for column in range(4)])
    header[344:348] = b"n+1\0"
    return zeros(held, bytes(header), 31)


def dicom(extra: int = 0) -> bytes:
    def element(number: int, vr: bytes, value: bytes) -> bytes:
        length = struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value))
        return struct.pack("<HH", 2, number) + vr + length + value

    meta = element(1, b"OB", b"\0\1") + element(0x10, b"UI", DEFLATED)
    meta += element(0x102, b"OB", bytes(extra)) if extra else b""
    return bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<I", len(meta))) + meta + zeros(3 * GIGABYTE)


def png(side: int, bits: int = 8, colour: int = 0) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zeros(GIGABYTE // 8, wbits=15)) + chunk(b"IEND", b"")


def metaimage(packed: bool) -> bytes:
    text = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {packed}\nDimSize = 1024 1024 1536\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    return text.encode() + (zeros(3 * GIGABYTE, wbits=15) if packed else bytes(100))


def nrrd() -> bytes:
    text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 1024 1024 1536\nencoding: gzip\nendian: little\n\n"
    return text.encode() + zeros(3 * GIGABYTE, wbits=31)


def npy(shape: tuple[int, ...], header: int = 0) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\2\0" + struct.pack("<I", header or len(text)) + text


def archive(members: dict[str, bytes], grown: int = 0) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content + bytes(grown))
    return written.getvalue()


PICTURES: dict[str, Callable[[], bytes]] = {
    "a.nii.gz": lambda: nifti((2048, 2048, 512), 4 * GIGABYTE),
    "beyond.nii.gz": lambda: nifti((64, 64, 64), 4 * GIGABYTE),
    "before.nii.gz": lambda: nifti((64, 64, 64), 4 * GIGABYTE, 3e9),
    "short.nii.gz": lambda: nifti((2048, 2048, 512), BLOCK),
    "a.dcm": dicom,
    "meta.dcm": lambda: dicom(6000),
    "gigapixels.png": lambda: png(60_000),
    "a.png": lambda: png(11_000),
    "deep.png": lambda: png(7_000, 16, 6),
    "a.bmp": lambda: b"BM" + struct.pack("<IIIIiiHH", 154, 0, 54, 40, 60_000, 60_000, 1, 24) + bytes(124),
    "a.gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6) + b";",
    "a.mha": lambda: metaimage(True),
    "plain.mha": lambda: metaimage(False),
    "a.nrrd": nrrd,
}


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    for name, make in PICTURES.items():
        (folder / name).write_bytes(make())
    return folder


def refused(path: Path) -> str:
    """The reason for which a picture is refused, when it is found or when it is read."""
    found = find_pictures(path)
    if found.refused:
        return found.refused[0].reason
    with pytest.raises(BadFileError) as raised:
        read_picture(found.pictures[0].path, found.pictures[0].index)
    return str(raised.value)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_and_volumes(bombs: Path, name: str) -> None:
    assert (bombs / name).stat().st_size < 6e6
    reason = refused(bombs / name)
    assert "\n" not in reason
    assert any(word in reason for word in ("fill the memory", "absurd", "deflated", "behind", "cut short")), reason


@pytest.mark.slow  # a process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_memory_and_time(bombs: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[2])\nimport test_bombs\n"
        "before = resource.getrusage(resource.RUSAGE_SELF)\n"
        "for name in test_bombs.PICTURES:\n    test_bombs.refused(Path(sys.argv[1], name))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF)\n"
        "told = Path('/proc/self/status').read_text()\n"  # ru_maxrss would count the process that started this one
        "print(told.split('VmHWM:')[1].split()[0], after.ru_utime - before.ru_utime)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, bombs, Path(__file__).parent], capture_output=True, text=True, check=True
    )
    peak, seconds = map(float, done.stdout.split())
    assert peak * 1024 < MOST_MEMORY
    assert seconds < MOST_SECONDS  # all of them together


def test_arrays(tmp_path: Path) -> None:
    for name, content in {
        "shape": archive({"x.npy": npy((10**10, 10**3))}),
        "header": archive({"x.npy": npy((3,), 2**31)}, 2**26),
        "grown": archive({"x.npy": npy((2**28 - 1,))}, 2**28),
    }.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with open_npz(tmp_path / f"{name}.npz") as file, pytest.raises(BadFileError, match=r"cannot be read|memory"):
            read_array(file, "x")


def test_a_zip_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive({"b/models/model.pt": b""}, 2**28))
    with pytest.raises(MedtlError, match="fill the memory"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ended = CliRunner().invoke(app, ["check", str(tmp_path / "a.zip")])
    assert ended.exit_code == 1


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
def test_deep_json(tmp_path: Path, text: str) -> None:
    for name in ("datalist.json", "run.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(MedtlError, match=f"{name} is not valid JSON: it is nested too deeply"):
            read_json(tmp_path / name)
    ended = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert isinstance(ended.exception, MedtlError)


@pytest.mark.parametrize("name", ["train.json", "metadata.json", "train.yaml", "expanding.yaml"])
def test_deep_configs(tmp_path: Path, name: str) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    expanding = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)
    )
    (tmp_path / "configs" / name).write_text(expanding if name == "expanding.yaml" else "[" * DEEP + "]" * DEEP)
    ended = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert ended.exit_code == 1
    assert name in ended.output
    told = " ".join(ended.output.split())
    assert any(words in told for words in ("nested too deeply", "levels deep", "bytes; at most"))


def test_what_is_small_or_hardly_packed_is_never_too_much() -> None:
    check_growth(10, 100 * 2**20)  # an empty mask
    check_growth(2**30, 20 * 2**30)
    with pytest.raises(BadFileError):
        check_growth(2**20, 2**30)
    assert MOST_PIXELS > 30e6 * 1.5  # the largest detectors


def test_limits_are_told_in_the_documents() -> None:
    told = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"{MOST_PIXELS // 10**6} megapixels" in told
    assert "100 times" in told
