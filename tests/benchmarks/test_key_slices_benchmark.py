"""What the benchmark compares is the same work: all ways give the same slices and the same pixels. Nothing is timed."""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from data_prep.sample import lidc as phantom_lidc
from data_prep.windows import LUNG
from medtl.readers import intensity
from medtl.readers.volume import display

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("key_slices_benchmark", ROOT / "benchmarks/key_slices.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_nifti_slices_are_the_same(benchmark: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    task = tmp_path / "Task01_BrainTumour"
    for part in ("imagesTr", "labelsTr"):
        (task / part).mkdir(parents=True)
    image, label = rng.integers(0, 900, (20, 24, 12, 4)).astype(np.int16), np.zeros((20, 24, 12), np.uint8)
    for z in range(3, 9):
        label[4 : 6 + z, 5:15, z] = 1
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(image, affine), task / "imagesTr/BRATS_001.nii.gz")
    nib.save(nib.Nifti1Image(label, affine), task / "labelsTr/BRATS_001.nii.gz")
    case = benchmark.msd_case(task)
    assert_same(benchmark.medtl_slices(case), benchmark.monai_slices(case))


def test_nodule_slices_are_the_same(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom_lidc, "LARGE_NODULES", (1,))
    phantom_lidc.make(tmp_path)
    (patient,) = tmp_path.rglob("LIDC-IDRI-0001")
    case = benchmark.lidc_case(patient)
    crops, slices = benchmark.medtl_slices(case), benchmark.monai_slices(case)
    assert crops.keys() == slices.keys()
    for index, crop in crops.items():
        assert holds(display(slices[index]), crop)


def test_real_cases_are_the_same(benchmark: ModuleType, shared_data: Path) -> None:
    for case in benchmark.find_cases():
        if case.kind == "chaos":
            assert_same(benchmark.medtl_slices(case), benchmark.monai_slices(case))


def test_monai_is_quiet_only_inside(benchmark: ModuleType, recwarn: pytest.WarningsRecorder) -> None:
    with benchmark.quiet():
        warnings.warn("inside", stacklevel=1)
    warnings.warn("outside", stacklevel=1)
    assert [str(one.message) for one in recwarn] == ["outside"]


def assert_same(ours: dict[int, np.ndarray], theirs: dict[int, np.ndarray]) -> None:
    assert ours
    assert ours.keys() == theirs.keys()
    for index, pixels in ours.items():
        np.testing.assert_array_equal(pixels, display(theirs[index]))


def holds(picture: np.ndarray, crop: np.ndarray) -> bool:
    """Whether some window of the picture, air beyond its border, equals the crop."""
    size = len(crop)
    air = intensity.ct_window(np.array([-1000.0]), *LUNG)[0]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(picture, size // 2, constant_values=air), (size, size))
    row, column = np.unravel_index(crop.argmax(), crop.shape)
    places = np.argwhere(windows[:, :, row, column] == crop[row, column])
    return any(np.array_equal(windows[top, left], crop) for top, left in places)
