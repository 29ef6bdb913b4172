"""How what a file says is shown in a message."""


def in_one_line(text: object, longest: int = 200) -> str:
    """What a file says, fit to be shown: in one line, cut, and without what steers a terminal."""
    shown = "".join(mark if mark.isprintable() else "?" for mark in str(text)[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."
