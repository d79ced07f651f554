"""Write every bundle from the recipes: a row of bundles.csv and a recipe's YAML and Markdown make a bundle's folder.

    python bundles/_recipes/build.py            write bundles/NAME of every row
    python bundles/_recipes/build.py --check    write nothing; exit status 1 where a file is not what it would be

A recipe (``finetune.yaml``) holds one part a config file, and ``metadata``; what several share is a ``.part.yaml``.
``finetune.md`` becomes docs/README.md, and ``licences/DATA.txt`` docs/data_license.txt. ``{{ column }}`` stands for a
column of the row, ``classes`` for the class names of the data set's card; ``folder`` and rows whose column ``own`` is
filled have none: theirs are those of the data list.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import yaml

from medtl.cards import dataset_cards
from medtl.networks.registry import backbone_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS = ("train", "evaluate", "multi_gpu_train", "per_image", "inference")
WIDTH = 120  # of a line of JSON
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
FIRST = {
    "schema": SCHEMA,
    "version": "0.1.0",
    "changelog": {},
    "monai_version": "",
    "pytorch_version": "",
    "numpy_version": "",
    "required_packages_version": {},
    "supported_apps": {},
    "name": "",
    "task": "",
    "description": "",
    "authors": "medtl developers",
    "copyright": "Copyright (c) medtl developers",
}
REQUIRED = ("pytorch-ignite", "scikit-learn", "pillow", "tensorboard")


def rows() -> list[dict[str, str]]:
    """Return the rows of bundles.csv."""
    with open(HERE / "bundles.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(row: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name within the bundle's folder and the text of each file that a row makes."""
    shown = _shown(row)
    recipe = yaml.safe_load(_filled(HERE / f"{row['recipe']}.yaml", shown))
    for part in PARTS:
        if part in recipe:
            yield f"configs/{part}.json", as_json(recipe[part])
    yield "configs/metadata.json", as_json(_metadata(recipe["metadata"]))
    yield "configs/logging.conf", (HERE / "logging.conf").read_text(encoding="utf-8")
    yield "docs/README.md", _filled(HERE / f"{row['recipe']}.md", shown)
    yield "docs/data_license.txt", (HERE / "licences" / f"{row['data']}.txt").read_text(encoding="utf-8")
    yield "LICENSE", (ROOT / "LICENSE").read_text(encoding="utf-8")


def _shown(row: dict[str, str]) -> dict[str, Any]:
    """What a recipe may name."""
    card = dataset_cards().get(row["data"])
    backbone = backbone_of(row["backbone"]) if row["backbone"] else None
    return {
        **row,
        "classes": list(card.classes) if card and not row["own"] else [],
        "init": row["recipe"] != "pretrain",  # whether it starts from other weights
        "tests": row["recipe"] == "finetune",  # whether a training opens the test split
        "network": backbone.title if backbone else "",
        "network_reference": backbone.reference if backbone else "",
        "channel_def": lambda names: json.dumps(dict(enumerate(names)), ensure_ascii=False),
    }


def _filled(path: Path, shown: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(path.name).render(shown)


def _metadata(own: dict[str, Any]) -> dict[str, Any]:
    """A recipe's metadata with what all bundles share, in the usual order; versions are those of constraints.txt."""
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split() if "==" in line
    )
    more = own.pop("required_packages", [])
    versions = {
        f"{key}_version": pins[name] for key, name in (("monai", "monai"), ("pytorch", "torch"), ("numpy", "numpy"))
    }
    return FIRST | versions | {"required_packages_version": {name: pins[name] for name in (*REQUIRED, *more)}} | own


def as_json(content: Any) -> str:
    """Return JSON of four spaces a level, in which what holds nothing nested stands on one line where it fits."""
    return _json(content, 0) + "\n"


def _json(content: Any, level: int, before: int = 0) -> str:
    flat = json.dumps(content, ensure_ascii=False)
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    nested = any(isinstance(each, dict | list) and each for each in inner)
    if not isinstance(content, dict | list) or not content or (not nested and 4 * level + before + len(flat) < WIDTH):
        return flat
    pad = " " * (4 * (level + 1))
    if isinstance(content, dict):
        parts = []
        for key, value in content.items():
            name = f"{json.dumps(key, ensure_ascii=False)}: "
            parts.append(f"{pad}{name}{_json(value, level + 1, len(name))}")
    else:
        parts = [f"{pad}{_json(each, level + 1)}" for each in content]
    opening, closing = ("{", "}") if isinstance(content, dict) else ("[", "]")
    return f"{opening}\n" + ",\n".join(parts) + f"\n{' ' * (4 * level)}{closing}"


def main() -> None:
    checking = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not checking:
        sys.exit(f"build.py: {' '.join(sys.argv[1:])}: expected nothing, or --check")
    different = []
    for row in rows():
        for name, text in files(row):
            path = ROOT / "bundles" / row["name"] / name
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                continue
            different.append(path.relative_to(ROOT))
            if not checking:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in different:
        print(f"{path} {'is not what its recipe says' if checking else 'written'}")
    if checking and different:
        sys.exit("run python bundles/_recipes/build.py, and commit what it writes")


if __name__ == "__main__":
    main()
