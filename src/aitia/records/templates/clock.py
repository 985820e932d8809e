"""The date that a chat template writes: pinned, so that the same rows give the same tokens on another day."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time
from functools import cache

from aitia.errors import RecordError

_CALL = re.compile(r"\bstrftime_now\s*\(")
_LITERAL = re.compile(r"""\bstrftime_now\s*\(\s*(?:format\s*=\s*)?('[^'\\]*'|"[^"\\]*")\s*\)""")


def reads_clock(template: str) -> bool:
    """Whether a chat template asks what day it is."""
    return bool(_CALL.search(template))


def pin_date(template: str, today: date) -> str:
    """A chat template that writes a given date, whatever day it is; of the time of day, midnight.

    Returns:
        The template, with the dates that it asks for written down in it.

    Raises:
        RecordError: the template works out the form of the date itself.
    """
    formats = [found[1:-1] for found in _LITERAL.findall(template)]
    if len(formats) != len(_CALL.findall(template)):
        raise RecordError(
            "the chat template works out in which form it writes the date, so the date cannot be pinned; "
            "write the form into strftime_now(...) itself"
        )
    moment = datetime.combine(today, time())
    dates = {form: moment.strftime(form) for form in formats}
    # A macro goes before the function of the same name; the line break after it is not written.
    macro = "{% macro strftime_now(format) %}{{ " + json.dumps(dates) + "[format] }}{% endmacro %}\n"
    return macro + template


@cache
def day_of_this_run() -> date:
    """The day on which this process first asked: the same for all of its rows, even past midnight."""
    return date.today()
