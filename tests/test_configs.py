"""Every config by reading alone: what its expressions name is imported by it, and what it imports is named."""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from medtl.bundles.inspect import FACADE
from medtl.bundles.known_ids import READ

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
RUNS = (["train"], ["train", "evaluate"], ["train", "multi_gpu_train"], ["train", "per_image"], ["inference"])
OF_MONAI = {"monai", "torch", "np", "numpy"}  # ConfigParser's own
FOLDERS = sorted(BUNDLES.glob("[!_]*"))
CONFIGS = [
    pytest.param([folder / "configs" / f"{name}.json" for name in names], id=f"{folder.name}-{'+'.join(names)}")
    for folder in FOLDERS
    for names in RUNS
    if all((folder / "configs" / f"{name}.json").is_file() for name in names)
]


def texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from texts(part)


def parsed(expression: str) -> ast.Module:
    return ast.parse(re.sub(r"@+[\w#.:]+", "reference_", expression.removeprefix("$")))


def free_names(expression: str) -> set[str]:
    """What an expression looks up outside itself; references to other ids are none."""
    nodes = list(ast.walk(parsed(expression)))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    named = {node.id for node in nodes if isinstance(node, ast.Name)}
    return {name for name in named - bound - {"reference_"} if not hasattr(builtins, name)}


def imported(statement: str) -> set[str]:
    return {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(parsed(statement))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def reached(config: dict[str, Any]) -> list[str]:
    """The texts that a run evaluates: those of what MONAI begins with, of what the facade looks up by name, and of
    every id that they refer to."""
    parser = ConfigParser(config)
    by_name = READ if FACADE in config["imports"] else ()
    waiting, seen, found = ["initialize", "run", *by_name], set(), []
    while waiting:
        identity = waiting.pop()
        if identity in seen or identity not in parser:
            continue
        seen.add(identity)
        here = list(texts(parser[identity]))
        found += here
        waiting += [name for text in here for name in re.findall(r"@([\w#]+)", text)]
    return found


def of_config(files: list[Path]) -> tuple[set[str], set[str]]:
    """The names that a run of merged configs looks up, and those it imports."""
    config = ConfigParser.load_config_files([str(path) for path in files])
    used = {name for text in reached(config) if text.startswith("$") for name in free_names(text)}
    return used, {name for statement in config["imports"] for name in imported(statement)}


@pytest.mark.parametrize("files", CONFIGS)
def test_every_name_is_imported(files: list[Path]) -> None:
    used, known = of_config(files)
    assert used - known - OF_MONAI == set()


@pytest.mark.parametrize(
    "file",
    [path for folder in FOLDERS for name in ("train", "inference") for path in folder.glob(f"configs/{name}.json")],
    ids=lambda file: f"{file.parents[1].name}-{file.stem}",
)
def test_every_import_is_used(file: Path) -> None:
    """Of configs that run by themselves; others replace what was the only reader of an import."""
    used, known = of_config([file])
    assert known - used == set()


def test_names_of_an_expression() -> None:
    assert free_names("$[begin.a(x) for x in @data#x if os.name and len(x)]") == {"begin", "os"}
    assert free_names("$(lambda net: torch.jit(net))(@network)") == {"torch"}
    assert imported("$import medtl.bundles.begin as begin") | imported("$import os.path") == {"begin", "os"}
