"""What can be set about the explorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from aitia.settings import AtLeast, AtMost, Count, check

LOOPBACK = "127.0.0.1"
"""The only address that the explorer listens at: this machine itself."""


@dataclass(frozen=True, kw_only=True)
class ExplorerSettings:
    """Settings of the explorer.

    Attributes:
        port: port of this machine; 0 for any free one. Where it is in use, another is taken and printed.
        request_kilobytes: largest request that is read, in kilobytes; a larger one is refused.
        request_seconds: longest time until a request is answered, in seconds.
        search_seconds: longest time of a search through all texts, in seconds.
        text_limit: longest part of one text that is sent to the page, in characters.
    """

    port: Annotated[int, AtLeast(0), AtMost(65535)] = 8642
    request_kilobytes: Annotated[Count, AtMost(1_000_000)] = 2000
    request_seconds: Annotated[float, AtLeast(0.1), AtMost(86_400)] = 300.0
    search_seconds: Annotated[float, AtLeast(0.1), AtMost(3600)] = 10.0
    text_limit: Annotated[Count, AtMost(100_000_000)] = 100_000

    def __post_init__(self) -> None:
        check(self, "explorer")
