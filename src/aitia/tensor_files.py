"""Files of named tensors (safetensors), each tensor with a checksum, so that a flipped bit is found.

The checksums cover each tensor's name, type, shape and bytes, and the strings beside them, so damage to the
file's header is found too. They guard against faulty disks and transfers, not against forgery.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from aitia.errors import is_out_of_memory, reason_of
from aitia.files import atomic_path, reading

_KEY = "checksums"
_SIGNS_OF_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)


class TensorFile:
    """An open file of tensors.

    Attributes:
        metadata: the strings kept beside the tensors.
        names: of the tensors.
    """

    def __init__(self, file: Any):
        found = dict(file.metadata() or {})
        self._checksums: Mapping[str, str] = json.loads(found.pop(_KEY, "{}"))
        if not isinstance(self._checksums, dict):
            raise ValueError("its list of checksums is damaged")
        self.metadata: dict[str, str] = found
        self.names: tuple[str, ...] = tuple(file.keys())
        if self._checksums and set(self._checksums) != {*self.names, ""}:
            raise ValueError("its tensors are not those that were written")
        if self._checksums and self._checksums[""] != _checksum_of_strings(found):
            raise ValueError("what is written beside its tensors is not as it was written")
        self._file = file

    @property
    def checked(self) -> bool:
        """Whether the file has checksums."""
        return bool(self._checksums)

    def __getitem__(self, name: str) -> Any:
        """A tensor.

        Returns:
            A NumPy array or a torch tensor, as the file was opened.

        Raises:
            ValueError: it is not as it was written.
            KeyError: there is none of this name.
        """
        if name not in self.names:
            raise KeyError(name)
        tensor = self._file.get_tensor(name)
        if name in self._checksums and checksum(name, tensor) != self._checksums[name]:
            raise ValueError(f"{name} is not as it was written: its checksum differs")
        return tensor


@contextmanager
def open_tensors(
    path: Path | str, framework: Literal["numpy", "pt"] = "numpy", *, damaged: type[Exception] = ValueError
) -> Iterator[TensorFile]:
    """Open a file of tensors.

    Args:
        path: the file.
        framework: whose tensors are wanted.
        damaged: raised, with a few words on what is wrong, in the place of whatever shows in the block that
            the file is damaged.

    Yields:
        The open file.

    Raises:
        SafetensorError: memory ran out; as it was.
        FileNotFoundError: there is no such file.
        UnreadableError: it cannot be read, which is no sign of damage.
    """
    from safetensors import SafetensorError, safe_open

    with reading(path):
        try:
            with safe_open(str(path), framework=framework) as file:
                yield TensorFile(file)
        except (SafetensorError, *_SIGNS_OF_DAMAGE) as error:
            if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise damaged(reason_of(error)) from error


def save_tensors(
    path: Path | str,
    tensors: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    *,
    flush: bool = True,
) -> Path:
    """Write tensors, of NumPy or of torch, and strings beside them, whole or not at all (see `atomic_path`)."""
    import numpy as np

    save: Any
    kept: dict[str, Any]
    if all(isinstance(values, np.ndarray) for values in tensors.values()):
        from safetensors.numpy import save_file as save

        kept = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    else:
        from safetensors.torch import save_file as save

        kept = {name: values.contiguous() for name, values in tensors.items()}
    checksums = {name: checksum(name, values) for name, values in sorted(kept.items())}
    checksums[""] = _checksum_of_strings(metadata or {})
    with atomic_path(path, flush=flush) as temporary:
        save(kept, temporary, {**(metadata or {}), _KEY: json.dumps(checksums)})
    return Path(path)


def checksum(name: str, tensor: Any) -> str:
    """XXH3 (128 bits, hex) of a tensor's name, type, shape and bytes."""
    import numpy as np
    import xxhash

    shape: Sequence[int] = tuple(tensor.shape)
    kind = str(tensor.dtype).removeprefix("torch.")
    whole = xxhash.xxh3_128(f"{name} {kind} {list(shape)}".encode("utf-8", "surrogatepass"))
    if isinstance(tensor, np.ndarray):
        whole.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    else:
        import torch

        held = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        whole.update(held.numpy().data)
    return whole.hexdigest()


def _checksum_of_strings(metadata: Mapping[str, str]) -> str:
    import xxhash

    text = json.dumps(dict(metadata), sort_keys=True)
    return xxhash.xxh3_128(text.encode("utf-8", "surrogatepass")).hexdigest()
