"""What every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images ($MEDTL_SHARED/data, default ../shared/data); skips where there is none."""
    root = Path(__file__).resolve().parents[1]
    folder = root / os.environ.get("MEDTL_SHARED", "../shared") / "data"
    if not folder.is_dir():
        pytest.skip("real images are absent: set MEDTL_SHARED to the folder that holds data/")
    return folder
