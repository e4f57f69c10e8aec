"""Runs the manual's notebooks and keeps what they show: `python docs/execute.py [NAME ...]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent / "notebooks"
FIXTURES = Path(__file__).parents[1] / "fixtures"
STORES = ("wandb-0.31", "evaluation-3.17")
"""What notebooks find beside them."""


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook as it is after it was run in an empty folder, on copies of the fixtures."""
    for name in STORES:
        shutil.copytree(FIXTURES / name, folder / name, symlinks=True)
    book = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=600, record_timing=False, resources=where).execute()
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return book


if __name__ == "__main__":
    for book_path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not sys.argv[1:] or book_path.stem in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as place:
                nbformat.write(executed(book_path, Path(place)), book_path)
