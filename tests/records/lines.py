"""Lines of JSON for tests to read."""

import json


def write_lines(path, rows):
    """Write rows, or lines of bytes as they are, and give the path back."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
