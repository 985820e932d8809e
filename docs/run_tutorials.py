"""Run the tutorials and keep what they show: `python docs/run_tutorials.py [NAME...]`.

Messages to standard error and progress bars are left out, so that a page shows what its reader is to look at.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

TUTORIALS = Path(__file__).parent / "tutorials"


def run_tutorial(path: Path) -> NotebookNode:
    """Run every cell of a notebook in a kernel of its own, from the notebook's folder.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    settings = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=settings).execute()
    for cell in notebook.cells:
        cell.get("metadata", {}).pop("execution", None)  # when it ran, which changes with every run
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_shown(output)]
    return notebook


def _is_shown(output: NotebookNode) -> bool:
    if output.output_type == "stream":
        return output.name == "stdout" and bool(output.text.strip())
    return output.output_type != "display_data" or "image/png" in output.data


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in TUTORIALS.glob("*.ipynb"))
    for name in names:
        path = TUTORIALS / f"{name}.ipynb"
        nbformat.write(run_tutorial(path), path)
        print(f"written: {path}")


if __name__ == "__main__":
    main()
