"""``import medtl`` is instant, and what it offers is found when it is used."""

import subprocess
import sys

import pytest

import medtl

pytestmark = pytest.mark.slow

NAMES = {"load_data", "build", "load_weights", "fit", "evaluate", "probe", "report", "Run", "MedtlError", "UsageError"}


def imported(statement: str) -> set[str]:
    """The modules that a fresh process has imported after a statement."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize("statement", ["import medtl", "import medtl; dir(medtl); medtl.MedtlError; medtl.report"])
def test_importing_medtl_imports_no_torch(statement: str) -> None:
    assert not {"torch", "monai", "numpy", "pandas", "medtl.networks"} & imported(statement)


def test_reading_runs_and_data_lists_imports_no_torch() -> None:
    assert not {"torch", "monai"} & imported("import medtl; medtl.Run; medtl.load_data")


def test_all_public_names_are_listed_and_there() -> None:
    assert set(dir(medtl)) == set(medtl.__all__) == NAMES | {"__version__"}
    assert all(callable(getattr(medtl, name)) for name in NAMES)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'medtl' has no attribute 'bild'"):
        medtl.bild  # noqa: B018


def test_report_stays_a_function_when_its_package_is_imported() -> None:
    import medtl.report.build

    assert callable(medtl.report)
    with pytest.raises(medtl.UsageError, match="/nowhere: no such folder"):
        medtl.report("/nowhere")
