"""What is wrong with a file, in a line of words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pipeline.errors import RowError

LENGTH = 200


def one_line(text: str) -> str:
    """The text, short, and without what a table or a terminal dislikes."""
    return "".join(c if c.isprintable() else " " for c in text[:LENGTH]).strip()


def shown(error: BaseException) -> str:
    """An exception's class and text as one line."""
    return one_line(f"{type(error).__name__}: {str(error) or 'the decoder gives no reason'}")


def kind_of(what: str) -> str:
    """The kind of the error of a mask, a kernel or a noise map that is none."""
    return f"bad_{what.replace(' ', '_')}"


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Every exception as a RowError; ``what``, a mask or a kernel, is its subject."""
    try:
        yield
    except RowError:
        raise
    except MemoryError:
        raise RowError(f"there is not the memory to read the {what}", "out_of_memory") from None
    except Exception as e:  # a parser's error, whatever it is
        raise RowError(f"the {what} cannot be read ({shown(e)})", "damaged") from None


def pick(known: dict[str, Any], what: str, name: str | None) -> Any:
    """The array of this name, or the only one, if None; else a RowError that tells the names."""
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    names = ", ".join(known)
    names = names if len(names) <= LENGTH else f"{names[:LENGTH]} ..."
    raise RowError(
        f"the {what} file holds {names}: name one of them"
        if known
        else f"the {what} file holds no array of numbers",
        kind_of(what),
    )
