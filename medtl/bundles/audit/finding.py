"""What there is to say about a bundle, and how to say it safely."""

from dataclasses import dataclass

LONGEST_TEXT = 400  # characters of a stranger's text that are shown


@dataclass(frozen=True)
class Finding:
    """One thing in a bundle.

    Attributes:
        place: the file within the bundle, with the id where there is one: ``train.json: train#handlers#0``.
        what: what stands there, as it stands there.
        why: what it is or does, in words.
    """

    place: str
    what: str
    why: str


def printable(text: str) -> str:
    """Return a stranger's text for a terminal.

    Escape sequences, control and bidirectional characters are spelt out, and what is too long is cut.
    """
    cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + f" … ({len(text):,} characters)"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in cut
    )
