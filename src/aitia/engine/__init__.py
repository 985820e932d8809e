"""How work is spread and watched: progress, and shards of work done in one process."""

from aitia.engine.progress import note, progress_bar, quiet_libraries

__all__ = ["note", "progress_bar", "quiet_libraries"]
