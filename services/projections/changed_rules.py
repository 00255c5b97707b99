"""Rules of an operator's own, in the place of those of the program, for a rehearsal."""

import contextlib
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from services.projections.domain import electorate, retelling, tally

# The functions of `domain.electorate` that a module may define anew; with their parameters, and
# results of the same kind.
RULES: Final = (
    "standing_of",
    "class_of",
    "is_aged",
    "is_married_on",
    "is_first_time",
    "residence_on",
    "service_on",
    "is_revoked_on",
    "is_dead_on",
    "is_relocating",
)

Rules = Mapping[str, Callable[..., Any]]


class UnusableRulesError(Exception):
    """A module that holds no rules, or cannot be run: one sentence."""


def read_rules(path: Path) -> dict[str, Callable[..., Any]]:
    """The rules that a module defines. Raises UnusableRulesError."""
    if not path.is_file():
        raise UnusableRulesError(f"--with {path}: there is no such file; name a Python module")
    try:
        defined = runpy.run_path(str(path))
    except Exception as error:
        raise UnusableRulesError(
            f"--with {path}: the module cannot be run: {type(error).__name__}: {error}"
        ) from error
    rules = {
        name: defined[name]
        for name in RULES
        if isinstance(defined.get(name), FunctionType)
        and defined[name] is not getattr(electorate, name)
    }
    if not rules:
        raise UnusableRulesError(
            f"--with {path}: the module defines none of the rules; define a function named"
            f" {', '.join(RULES[:-1])} or {RULES[-1]}"
        )
    return rules


@contextlib.contextmanager
def in_force(rules: Rules) -> Iterator[None]:
    """Let rules take the place of the program's in this process for a while."""
    originals = {name: getattr(electorate, name) for name in rules}
    _set(rules)
    try:
        yield
    finally:
        _set(originals)


def _set(rules: Rules) -> None:
    for name, rule in rules.items():
        for module in (electorate, tally, retelling):
            if hasattr(module, name):
                setattr(module, name, rule)
