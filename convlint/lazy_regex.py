"""Regular expressions that are compiled when they are first used.

Compiling those of all rules takes longer than judging a file; most files need few of them.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, Generic, cast


class _LazyPattern(Generic[AnyStr]):
    def __init__(self, pattern: AnyStr, flags: int) -> None:
        self._source: tuple[AnyStr, int] = (pattern, flags)

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(*self._source), name)
        setattr(self, name, value)  # next time it is found without coming here
        return value


def lazy_regex(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """``re.compile(pattern, flags)``, put off. A mistake in ``pattern`` shows at its first use."""
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))
