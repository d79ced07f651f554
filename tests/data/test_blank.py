"""Images that show nothing are found, and only they."""

import numpy as np
import torch

from medtl.data.blank import blank_images
from medtl.data.packed import Packed


def packed(images: np.ndarray) -> Packed:
    return Packed(images, torch.zeros(len(images), dtype=torch.int64))


def test_constant_images_are_found_whatever_their_grey() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 9, 9), dtype=np.uint8)
    images[1], images[4], images[6] = 0, 255, 31
    images[2, :, 4] = 7  # only the middle row is of one grey
    images[3] = 0
    images[3, 0, 8, 8] = 1  # a single pixel says something
    assert blank_images(packed(images)) == [1, 4, 6]


def test_of_rgb_every_channel_must_be_constant() -> None:
    images = np.zeros((3, 3, 4, 4), np.uint8)
    images[0] = np.array([10, 20, 30], np.uint8)[:, None, None]
    images[1, 2, 0, 0] = 1
    assert blank_images(packed(images)) == [0, 2]


def test_an_empty_split_has_none() -> None:
    assert blank_images(packed(np.zeros((0, 1, 4, 4), np.uint8))) == []
