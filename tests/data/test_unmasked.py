"""Every picture of an inference has a mask's name of its own."""

from pathlib import Path

import numpy as np
from PIL import Image

from medtl.data.unmasked import found


def test_no_two_pictures_share_a_name(tmp_path: Path) -> None:
    files = ("a.png", "a.bmp", "a_png.png", "v1.2/b.png", "v1.2/b.bmp", "v1_2/b_png.png", "c.png")
    for number, file in enumerate(files):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 5), number, np.uint8)).save(path)
    there = found(str(tmp_path), 8, 1)
    whose = {name: int(there.picture(place)[0, 0]) for place, name in enumerate(there.names)}
    assert len(there.names) == len(files) == len(whose)
    assert {whose["c"], whose["a_png"], whose["a_bmp"]} == {6, 2, 1}
    assert whose["a_png_2"] == 0
    assert {whose[f"v1.2/b_{kind}"] for kind in ("png", "bmp")} == {3, 4}
