"""Parse lists that are written with commas."""

from dept.errors import ConfigError


def numbers(text: str, flag: str) -> tuple[int, ...]:
    """Whole numbers separated by commas.

    Raises:
        ConfigError: the text is anything else.
    """
    try:
        return tuple(dict.fromkeys(int(part) for part in words(text)))
    except ValueError:
        raise ConfigError(f"{flag} takes whole numbers apart by commas, not {text!r}") from None


def words(text: str) -> tuple[str, ...]:
    """Words separated by commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
