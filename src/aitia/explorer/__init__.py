"""The explorer: a local web page over stores, rankings and run folders."""

from typing import TYPE_CHECKING

from aitia.explorer.settings import ExplorerSettings

if TYPE_CHECKING:
    from aitia.explorer.server import explore

__all__ = ["ExplorerSettings", "explore"]


def __getattr__(name: str) -> object:
    """Import what needs a server where it is first used, so that settings stay light."""
    if name != "explore":
        raise AttributeError(f"module 'aitia.explorer' has no attribute {name!r}")
    from aitia.explorer.server import explore

    return explore
