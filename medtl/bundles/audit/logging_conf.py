"""``logging.conf``: ``logging.config.fileConfig`` evaluates some of its lines as Python, before anything else runs."""

import ast
import configparser
from pathlib import Path

from medtl.bundles.audit.finding import Finding

SUFFIXES = (".conf", ".ini", ".cfg")
MOST_BYTES = 2**20
CLASSES = frozenset(
    {"StreamHandler", "NullHandler", "logging.StreamHandler", "logging.NullHandler", "logging.Formatter"}
)
STREAMS = frozenset({"sys.stdout", "sys.stderr"})


def findings(path: Path, place: str) -> list[Finding]:
    """Return what a logging configuration has besides handlers of streams with literal arguments.

    Values are judged as fileConfig sees them, that is, after ``%(name)s`` was filled in.
    """
    parser = configparser.ConfigParser(strict=False)
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            return [Finding(place, "", f"has {size:,} bytes; at most {MOST_BYTES:,} are read")]
        parser.read_string(path.read_text(encoding="utf-8"))
        values = [
            (section, key, parser[section][key].strip())
            for section in parser.sections()
            for key in ("class", "args", "kwargs", "defaults")
            if key in parser[section]
        ]
    except (configparser.Error, OSError, ValueError, RecursionError) as error:
        return [Finding(place, "", f"cannot be parsed: {' '.join(str(error).split())}")]
    found = []
    for section, key, value in values:
        if key == "class" and value and value not in CLASSES:
            found.append(Finding(f"{place}: {section}", f"class={value}", "is imported and called"))
        elif key != "class" and value and not _is_literal(value):
            found.append(Finding(f"{place}: {section}", f"{key}={value}", "is evaluated as Python, and is no literal"))
    return found


def _is_literal(text: str) -> bool:
    """Return whether a text is made of constants and the standard streams only."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    parts = tree.elts if isinstance(tree, ast.Tuple | ast.List) else [tree]
    if isinstance(tree, ast.Dict):
        parts = [part for part in [*tree.keys, *tree.values] if part is not None]
    return all(isinstance(part, ast.Constant) or ast.unparse(part) in STREAMS for part in parts)
