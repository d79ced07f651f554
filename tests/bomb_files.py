"""Files of a few kB or MB that stand for gigabytes, made in a moment; for the tests of what reads them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

GIGABYTE = 2**30
BLOCK = 2**24
DEFLATED = b"1.2.840.10008.1.2.1.99"
DEEP = 200_000
MOST_MEMORY, MOST_SECONDS = 500e6, 5  # of issue 16: bytes beyond what is imported, and seconds


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


def write(folder: Path, made: dict[str, Callable[[], bytes]]) -> Path:
    """Write some of them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in made.items():
        (folder / name).write_bytes(make())
    return folder
