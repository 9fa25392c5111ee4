"""Telemetry: metrics, progress, plots and pages tell of a run and are no part of it, so their failure stops nothing.

Records, checkpoints and results are no telemetry: a run that cannot write them ends with a RecordingError.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

logger = logging.getLogger(__name__)

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class Telemetry:
    """Attempts exports of one kind: the first failure is logged in one line, every one is counted, none is raised.

    Args:
        failed: What a failure means, for the log, as ``a step's metrics cannot be exported; training continues``.

    Example:
        >>> telemetry = Telemetry("a page cannot be drawn; training continues")
        >>> for _ in range(3):
        ...     with telemetry.attempt():
        ...         1 / 0
        >>> telemetry.failures, telemetry.reason
        (3, 'ZeroDivisionError: division by zero')
    """

    def __init__(self, failed: str) -> None:
        self.failures = 0
        self.reason = ""
        """Of the first failure."""
        self._failed = failed

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Suppress and count any exception of the block, but not an interruption."""
        try:
            yield
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                self.reason = f"{type(error).__name__}: {error}"
                logger.warning("%s (%s)", self._failed, self.reason)
                logger.debug("the traceback", exc_info=True)


def ascii_label(text: str) -> str:
    r"""Encode the value of a metric's label, as Ray's metrics take ASCII only; different texts stay different.

    Printable ASCII stays as it is; other characters and ``%`` become the percent escapes of their UTF-8, as in a URL
    (``urllib.parse.unquote`` is the inverse).

    Example:
        >>> ascii_label("analytic-0"), ascii_label("ü"), ascii_label("100 %\n")
        ('analytic-0', '%C3%BC', '100 %25%0A')
    """
    return quote(text, safe=_PRINTABLE, errors="surrogatepass")
