"""Errors that the user can correct: one exception class, one clear line, one exit code.

`cli` turns a `UserError` into one line on stderr and exit code 2 or 1, and an `OSError` (full disk, read-only folder)
into one line and exit code 1. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real

_LISTED = 10


class UserError(ValueError):
    """Input that cannot be used. The message states the rule, the value and the choices in one line.

    The exit code is 2 for wrong usage (an argument, a config key) and 1 for wrong data (a file, a folder).
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DataError(UserError):
    """A file or folder that is missing, broken or of the wrong kind (exit code 1)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=1)


def some(entries: Sequence[str]) -> str:
    """The first three entries, and how many more there are."""
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    return "; ".join(entries[:3]) + more


def listed(problems: Sequence[str]) -> str:
    """The first ten problems, one in each line, and how many more there are."""
    more = [f"... and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
    return "\n".join([*problems[:_LISTED], *more])


def shown(name: str) -> str:
    """A name from a file, for a message of one line: quoted if it has line breaks or other unprintable characters."""
    return name if name.isprintable() else repr(name)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class if there is no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """The beginning of a message about an unknown name: the most similar choice, or nothing."""
    spelt = {str(choice).lower(): str(choice) for choice in choices}
    close = difflib.get_close_matches(str(value).lower(), spelt, n=1)
    return f"did you mean {spelt[close[0]]!r}? " if close else ""


@contextmanager
def renaming(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors of the block name what the user sets instead of arguments: {argument: setting or option}."""
    try:
        yield
    except UserError as error:
        error.args = (re.sub(r"`(\w+)`", lambda found: f"`{names.get(found[1], found[1])}`", str(error)),)
        raise


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise UserError(f"{did_you_mean(value, choices)}`{name}` must be one of {choices}, got {value!r}")


def check_at_least(name: str, value: float, minimum: float) -> None:
    """Raise `UserError` unless `value >= minimum` and finite."""
    check_finite(name, value)
    if value < minimum:
        raise UserError(f"`{name}` must be at least {minimum}, got {value}")


def check_share(name: str, value: float) -> None:
    """Raise `UserError` unless `0 <= value <= 1`."""
    if not 0 <= value <= 1:
        raise UserError(f"`{name}` must be in [0, 1], got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise `UserError` unless `value > 0` and finite."""
    check_finite(name, value)
    if value <= 0:
        raise UserError(f"`{name}` must be positive, got {value}")


def check_seed(seed: int) -> None:
    """Raise `UserError` unless NumPy accepts the seed: `0 <= seed < 2**32`."""
    check_whole("seed", seed, 0)
    if seed >= 2**32:
        raise UserError(f"`seed` must be at most {2**32 - 1}, got {reprlib.repr(seed)}")


def check_whole(name: str, value: float, minimum: int) -> None:
    """Raise `UserError` unless `value` is a whole number and at least `minimum`."""
    check_at_least(name, value, minimum)
    if not isinstance(value, Integral):
        raise UserError(f"`{name}` must be a whole number, got {value}")


def check_finite(name: str, value: float) -> None:
    """Raise `UserError` for an infinite value, for NaN, and for what is not a number."""
    if not isinstance(value, Real):
        raise UserError(f"`{name}` must be a number, got {reprlib.repr(value)}")
    if not abs(value) < math.inf:  # of NaN, too
        raise UserError(f"`{name}` must be finite, got {value}")
