"""How MONAI turns the text of an expression into the Python that it evaluates: ``@ids`` are written into the text.

They are replaced as text, also within quotes, so what Python parses is not what a reader sees; to know what would
be executed, do the same.
"""

import re

VARIABLES = "__local_refs"  # the dictionary that MONAI's expressions find their references in
REFERENCE = re.compile(r"@\w*(?:::\w*)*")
RELATIVE = re.compile(r"[@%]::+")


def split(id_: str) -> list[str]:
    """Return the parts of an id: ``train#handlers::0`` is train, handlers, 0."""
    return id_.replace("#", "::").split("::")


def substituted(text: str, place: tuple[str, ...]) -> str:
    """Return the Python source that an expression becomes.

    Args:
        text: the expression, with its ``$``.
        place: the parts of its own id, which relative references begin at.

    Raises:
        ValueError: a relative reference leads above the config, which MONAI refuses, too.
    """
    text = absolute(text, place)
    for found in sorted(REFERENCE.findall(text), key=len, reverse=True):
        text = text.replace(found, f"{VARIABLES}['{found[1:]}']")
    return text[1:]


def absolute(text: str, place: tuple[str, ...]) -> str:
    """Return a text with ``::`` for ``#`` and relative references (``@::id``, ``%::::id``) made absolute.

    Raises:
        ValueError: one leads above the config.
    """
    text = text.replace("#", "::")
    here = "::".join(place).split("::")
    for prefix in sorted(set(RELATIVE.findall(text)), reverse=True):
        levels = prefix[1:].count("::")
        if levels > len(here):
            raise ValueError("a relative reference leads above the config")
        above = here[:-levels]
        text = text.replace(prefix, prefix[0] + ("::".join(above) + "::" if above else ""))
    return text
