"""One picture of a volume for every file format: an array, and the affine that places it in the patient."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image in patient space.

    Attributes:
        array: voxels, axes (x, y, z) or (x, y, z, channel), any numeric type; for DICOM x is the column, y the row, z
        the slice.
        affine: (4, 4) float64, voxel index to millimetres in RAS+ (nibabel's convention).
    """

    array: NDArray
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Return the voxel size along (x, y, z) in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    def canonical(self) -> "Volume":
        """Return the same volume with axes flipped and swapped (never resampled) to the closest RAS+ order. Shares
        memory."""
        orientation = nib.io_orientation(self.affine)
        array = nib.apply_orientation(self.array, orientation)
        affine = self.affine @ nib.orientations.inv_ornt_aff(orientation, self.array.shape[:3])
        return Volume(array, affine)


def display(slice_xy: NDArray) -> NDArray:
    """Return a transverse slice of a canonical (RAS+) volume as radiologists look at it: rows front to back, columns
    right to left.

    Args:
        slice_xy: (x, y) or (x, y, channel), x growing to the patient's left-to-right R, y towards A.

    Returns:
        (rows, columns) or (rows, columns, channel) view: row 0 is anterior, column 0 the patient's right.
    """
    return np.swapaxes(slice_xy, 0, 1)[::-1, ::-1]
