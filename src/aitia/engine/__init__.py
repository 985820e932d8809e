"""How work is spread and watched: tasks done here or on a Ray cluster, and progress."""

from aitia.engine.arriving import arriving_lines
from aitia.engine.progress import Advance, no_progress, note, progress_bar, quiet_libraries, warn
from aitia.engine.tasks import LOCAL, Engine, keeping_workers, run_tasks

__all__ = [
    "LOCAL",
    "Advance",
    "Engine",
    "arriving_lines",
    "keeping_workers",
    "no_progress",
    "note",
    "progress_bar",
    "quiet_libraries",
    "run_tasks",
    "warn",
]
