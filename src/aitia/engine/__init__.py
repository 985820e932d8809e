"""How work is spread and watched: progress, and shards of work done in one process."""

from aitia.engine.progress import progress_bar, quiet_libraries

__all__ = ["progress_bar", "quiet_libraries"]
