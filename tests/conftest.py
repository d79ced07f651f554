"""What every test may use."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no time limit", deadline=None)  # it would test the machine
settings.load_profile("no time limit")


@pytest.fixture(scope="session", autouse=True)
def packed_images_in_a_folder_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Packed images of this session, also those of the processes it starts: the user's cache is neither read nor
    filled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDTL_PACKED", str(tmp_path_factory.mktemp("packed")))
        yield


@pytest.fixture(scope="module")
def module_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that the tests of one file share, gone when they have ended: networks and checkpoints of all files
    together would fill many gigabytes."""
    folder = tmp_path_factory.mktemp(request.path.stem)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_case() -> Callable[..., Path]:
    """``shared_case("files/deflated")``: the input of a case that users have reported; skips where there is none."""

    def find(name: str, part: str = "in") -> Path:
        root = Path(__file__).resolve().parents[1] / os.environ.get("MEDTL_SHARED", "../shared")
        folder = root / "cases" / name / part
        if not folder.is_dir():
            pytest.skip("reported cases are absent: set MEDTL_SHARED to the folder that holds cases/")
        return folder

    return find


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images ($MEDTL_SHARED/data, default ../shared/data); skips where there is none."""
    root = Path(__file__).resolve().parents[1]
    folder = root / os.environ.get("MEDTL_SHARED", "../shared") / "data"
    if not folder.is_dir():
        pytest.skip("real images are absent: set MEDTL_SHARED to the folder that holds data/")
    return folder
