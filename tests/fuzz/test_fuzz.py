"""The short form of `make fuzz`: every reader takes broken files with an error of our own, or reads them."""

import shutil
import tempfile
from pathlib import Path

import pytest
from fuzz.hostile import hostile
from fuzz.readers import READERS, Reader
from fuzz.watch import watching
from hypothesis import HealthCheck, given, settings

from aitia.errors import AitiaError


def prepare(reader: Reader, folder: Path) -> tuple[Path, Path, bytes]:
    """A good file, read once; the place that is broken, and what stands there."""
    path = folder / reader.name
    reader.make(path)
    reader.read(path)
    target = path / reader.target if reader.target else path
    return path, target, target.read_bytes()


def strike(reader: Reader, path: Path, target: Path, content: bytes) -> bool:
    """Read a broken file: whether it was refused. Anything but our own error fails."""
    target.write_bytes(content)
    try:
        with watching(path.parent) as happened:
            reader.read(path)
        message = None
    except AitiaError as error:
        message = str(error)
    assert message != ""
    assert not happened
    return message is not None


@pytest.mark.parametrize("name", READERS)
def test_a_broken_file_is_refused_in_our_words_or_read(name):
    reader = READERS[name]
    folder = Path(tempfile.mkdtemp())
    try:
        path, target, seed = prepare(reader, folder)

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(hostile(target.name, seed))
        def try_one(content: bytes) -> None:
            strike(reader, path, target, content)

        try_one()
    finally:
        shutil.rmtree(folder)
