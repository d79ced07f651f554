"""Training images that show nothing."""

import numpy as np

from medtl.data.packed import Packed


def blank_images(packed: Packed) -> list[int]:
    """Return the places of the images whose channels each hold one value only.

    The middle row is looked at first, so that of a large mapped file a page an image is read instead of all of it.
    """
    middle = packed.images[:, :, packed.images.shape[2] // 2]
    suspects = np.flatnonzero((middle == middle[..., :1]).all((1, 2)))
    return [int(k) for k in suspects if (packed.images[k] == packed.images[k, :, :1, :1]).all()]
