"""The house has floors: a package imports those below it, never one above, and no two import each other."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("medtl", "data_prep")
    for path in sorted((ROOT / top).rglob("*.py"))
}
# what listing and checking read must not wait for an engine; data_prep imports medtl, never the other way round
NO_ENGINE = ("medtl.readers", "medtl.cards", "medtl.metrics", "medtl.files", "medtl.errors", "medtl.places")
ENGINES = ("ignite", "monai")
# the two that join metrics to engines, and MONAI's distances of contours
JOINS = {
    *("medtl.metrics.ignite", "medtl.metrics.ignite_segmentation"),
    *("medtl.metrics.hausdorff", "medtl.metrics.surface_dice"),
}


def imported(module: str) -> set[str]:
    """The modules that a module names in its import statements, those within functions too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (within & MODULES.keys()) or {node.module}
    return found


def room(module: str) -> str:
    """``medtl.readers`` of ``medtl.readers.nifti``; data_prep as a whole."""
    return "data_prep" if module.startswith("data_prep") else ".".join(module.split(".")[:2])


def graph() -> dict[str, set[str]]:
    """Each room with those that it imports. ``medtl`` itself, which finds public names when they are used, is left
    out."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        for other in imported(module) & MODULES.keys():
            if room(other) != room(module) and "medtl" not in (other, module):
                rooms[room(module)].add(room(other))
    return rooms


def test_no_room_imports_upwards() -> None:
    try:
        floors = list(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(f"these rooms import each other in a circle: {' -> '.join(error.args[1])}")
    assert floors.index("medtl.errors") < floors.index("medtl.readers") < floors.index("medtl.bundles")


def test_medtl_does_not_import_data_prep() -> None:
    named = {module for module in MODULES if module.startswith("medtl") and "data_prep" in map(room, imported(module))}
    assert named == set()


@pytest.mark.parametrize("start", NO_ENGINE)
def test_what_reads_and_counts_imports_no_engine(start: str) -> None:
    mine = [module for module in MODULES if module == start or module.startswith(f"{start}.")]
    assert mine
    named = {module for module in mine if {name.split(".")[0] for name in imported(module)} & set(ENGINES)}
    assert named <= JOINS


def test_every_file_is_read_in_one_sitting() -> None:
    long = {
        module: count
        for module, path in MODULES.items()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert long == {}
