"""Makes foreign text safe to print: for a terminal, and for a line of a log. Pure."""

_REPLACED = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text without characters that a terminal acts on; newlines and tabs stay.

    Replaced are control characters (C0 and C1), those that turn the direction of text, other
    invisible ones, and halves of characters. The text keeps its length.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _REPLACED for c in text)


def on_one_line(text: str) -> str:
    """The printable text on one line: a newline in it cannot pretend to be a line of ours."""
    return printable(text).replace("\n", " ").replace("\t", " ")
