"""Predicted masks as files: NIfTI on the grid of the source, CHAOS's submission pictures, and pictures to look at."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from medtl.files import write_bytes
from medtl.readers.chaos import natural
from medtl.writers.images import write_png

# the grey values in which CHAOS wants liver, right kidney, left kidney and spleen
CHAOS_GREY = np.array([0, 63, 126, 189, 252], np.uint8)
# elements of a NIfTI header that say where voxels lie, beside pixdim
PLACE = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)
# told apart with every common colour blindness (Okabe and Ito 2008)
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
COLOUR_NAMES = ("orange", "sky blue", "green", "yellow", "blue", "vermilion", "purple")
OPACITY = 0.5


def write_nifti(
    path: Path,
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    source: nib.Nifti1Header | None = None,
) -> None:
    """Write a mask (x, y, z) that lies where the image lies that it was made from; the same bytes for the same mask.

    Args:
        path: ending in ``.nii.gz``.
        labels: organ indices, 0 is background.
        affine: (4, 4) RAS+ mm of the image, for a source that is no NIfTI: both forms are set to it.
        source: a NIfTI image's header. Its two forms, their codes and the unit are taken over as they stand, even
            where they contradict each other: readers choose between them in different ways, and so the mask lies on
            the image in each.
    """
    header = nib.Nifti2Header() if isinstance(source, nib.Nifti2Header) else nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(labels.shape)
    if source is None:
        header.set_sform(affine, code="scanner")
        header.set_qform(affine, code="scanner")
        header.set_xyzt_units("mm")
    else:
        for name in PLACE:
            header[name] = source[name]
        header["pixdim"][:4] = source["pixdim"][:4]
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    header["scl_slope"], header["scl_inter"] = 1, 0
    content = header.binaryblock + bytes(4) + labels.tobytes(order="F")  # the four bytes: no extensions
    write_bytes(path, gzip.compress(content, compresslevel=6, mtime=0))


def write_chaos_pngs(folder: Path, labels: NDArray[np.uint8], files: Sequence[Path]) -> list[Path]:
    """Write ``img000.png``, ``img001.png`` …, one for each image file, in the natural order of the files' names: that
    is how CHAOS pairs results with images, whatever the positions in the headers.

    Args:
        folder: such as ``Task5/MR/1/T2SPIR/Results``.
        labels: (columns, rows, slices), organ indices up to 4.
        files: image file of each slice, in the order of the slices.

    Returns:
        The files written.

    Raises:
        ValueError: not one file a slice.
    """
    if labels.shape[2] != len(files):
        raise ValueError(f"{labels.shape[2]} slices, but {len(files)} files")
    order = sorted(range(len(files)), key=lambda index: natural(files[index].as_posix()))
    written = []
    for number, index in enumerate(order):
        written.append(folder / f"img{number:03d}.png")
        write_png(written[-1], CHAOS_GREY[labels[:, :, index].T])
    return written


def painted(picture: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (rows, columns) or (rows, columns, 3) with each organ of ``labels`` in its colour: (rows,
    columns, 3)."""
    colours = np.array([ImageColor.getrgb(colour) for colour in COLOURS], np.float32)
    rgb = (np.repeat(picture[..., np.newaxis], 3, axis=2) if picture.ndim == 2 else picture).astype(np.float32)
    inside = labels > 0
    rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * colours[(labels[inside] - 1) % len(colours)]
    return np.rint(rgb).astype(np.uint8)


def side_by_side(picture: NDArray[np.uint8], masks: Sequence[NDArray[np.uint8]], least: int = 256) -> NDArray[np.uint8]:
    """Return the picture alone, then with each mask, enlarged by a whole factor until a panel has ``least`` rows."""
    panels = np.concatenate(
        [painted(picture, labels) for labels in (np.zeros(picture.shape[:2], np.uint8), *masks)], axis=1
    )
    factor = max(1, -(-least // picture.shape[0]))
    rows, columns = panels.shape[:2]
    image = Image.fromarray(panels)
    return np.asarray(image.resize((columns * factor, rows * factor), Image.Resampling.NEAREST))
