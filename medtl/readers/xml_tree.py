"""XML of annotations, read defensively: nothing outside the file is fetched, and no entity is expanded."""

from pathlib import Path
from xml.etree import ElementTree

from medtl.errors import BadFileError

MAX_BYTES = 32_000_000  # the largest annotations of a collection that is known have less than a tenth of it
MAX_DEPTH = 32


def read_tree(path: Path, what: str) -> ElementTree.Element:
    """Return the root of a file's element tree, the names without namespaces.

    Args:
        path: of the file.
        what: the file should be, with its article, for messages.

    Raises:
        BadFileError: not well-formed XML, too large or too deep, with a document type (a way to attack the parser), or
            it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadFileError(f"XML file too large for {what}")
        parser = ElementTree.XMLParser(target=_Target(what))
        parser.feed(path.read_bytes())
        root: ElementTree.Element = parser.close()
    except ElementTree.ParseError as error:
        raise BadFileError(f"not well-formed XML, at line {error.position[0]}") from None
    except (ValueError, LookupError):  # an encoding that is unknown or not the text's
        raise BadFileError("not well-formed XML: unknown text encoding") from None
    except OSError:
        raise BadFileError("the file cannot be read") from None
    _check_depth(root, what)
    names: dict[str, str] = {}
    for element in root.iter():
        if element.tag not in names:
            names[element.tag] = element.tag.rpartition("}")[2].rpartition(":")[2]
        element.tag = names[element.tag]
    return root


class _Target:
    """Builds the tree with the compiled builder's own methods, a third of the time of calls through Python."""

    def __init__(self, what: str) -> None:
        self._what = what
        builder = ElementTree.TreeBuilder()
        self.start, self.end, self.data, self.close = builder.start, builder.end, builder.data, builder.close

    def doctype(self, *_: object) -> None:
        raise BadFileError(f"XML with a document type, which {self._what} never has")


def _check_depth(root: ElementTree.Element, what: str) -> None:
    level, depth = [root], 1
    while level:
        if depth > MAX_DEPTH:
            raise BadFileError(f"XML nested too deeply for {what}")
        level = [child for element in level for child in element]
        depth += 1
