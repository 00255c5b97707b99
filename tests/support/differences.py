"""What a running system says otherwise than the slow model, in words."""

LONGEST = 400


class DifferenceFound(AssertionError):  # noqa: N818 - what it is called when it is printed
    """The system says otherwise than the slow model."""


def agree(found: object, wanted: object, about: object) -> None:
    """Go on where both say the same. Raises DifferenceFound."""
    if found != wanted:
        raise DifferenceFound(f"{about}: the system says {brief(found)}, the model {brief(wanted)}")


def require(holds: object, about: object) -> None:
    """Go on where something holds. Raises DifferenceFound."""
    if not holds:
        raise DifferenceFound(str(about))


def brief(value: object) -> str:
    """A value in the length of a line or two."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
