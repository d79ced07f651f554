"""``logging.conf``: ``logging.config.fileConfig`` evaluates some of its lines as Python, before anything else runs."""

import ast
import configparser
from pathlib import Path

from medtl.bundles.strangers.finding import Finding
from medtl.bundles.strangers.paths import is_absolute, leads_out

SUFFIXES = (".conf", ".ini", ".cfg")
EVALUATED = ("args", "kwargs", "defaults")
MOST_BYTES = 2**20
STREAMS = frozenset({"sys.stdout", "sys.stderr"})
FORMATTERS = frozenset({"logging.Formatter"})
HANDLERS = frozenset({"StreamHandler", "NullHandler", "logging.StreamHandler", "logging.NullHandler"})
FILE_HANDLERS = frozenset(
    f"{module}{name}"
    for module in ("", "logging.", "handlers.", "logging.handlers.")
    for name in ("FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler", "WatchedFileHandler")
)


def findings(path: Path, place: str) -> tuple[list[Finding], list[Finding]]:
    """What speaks against a logging configuration, and what it does that should be known.

    Values are judged as fileConfig sees them, that is, after ``%(name)s`` was filled in.
    """
    parser = configparser.ConfigParser(strict=False)
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            return [Finding(place, "", f"has {size:,} bytes; at most {MOST_BYTES:,} are looked into")], []
        parser.read_string(path.read_text(encoding="utf-8"))
        values = [
            (section, key, parser[section][key])
            for section in parser.sections()
            for key in ("class", *EVALUATED)
            if key in parser[section]
        ]
    except (configparser.Error, OSError, ValueError, RecursionError) as error:
        return [Finding(place, "", f"cannot be parsed: {' '.join(str(error).split())}")], []
    faults: list[Finding] = []
    known: list[Finding] = []
    for section, key, value in values:
        here = f"{place}: {section}"
        if key != "class":
            if value.strip() and not _is_literal(value):
                faults.append(Finding(here, f"{key}={value}", "is evaluated as Python, and is no literal"))
        elif value.strip() in FILE_HANDLERS:
            given = parser[section].get("args", "")
            outside = any(is_absolute(text) or leads_out(text) for text in _texts(given))
            why = "writes a log file outside the working directory" if outside else "writes a log file"
            (faults if outside else known).append(Finding(here, f"class={value} {given}", why))
        elif value.strip() not in HANDLERS | FORMATTERS and value.strip():
            faults.append(
                Finding(here, f"class={value}", "is imported and called, and is no handler of streams or files")
            )
    return faults, known


def _texts(text: str) -> list[str]:
    """The strings in a piece of Python; none where it cannot be parsed, which is a fault of its own."""
    try:
        nodes = ast.walk(ast.parse(text.strip(), mode="eval"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _is_literal(text: str) -> bool:
    """Whether a text is made of constants and the standard streams only."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    waiting: list[ast.AST] = [tree.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            waiting += [inner for inner in ast.iter_child_nodes(node) if not isinstance(inner, ast.expr_context)]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            continue
        elif not isinstance(node, ast.Constant) and not (
            isinstance(node, ast.Attribute) and ast.unparse(node) in STREAMS
        ):
            return False
    return True
