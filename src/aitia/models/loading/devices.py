"""Devices that a model can be put on."""

from __future__ import annotations

from aitia.errors import ModelError, reason_of


def require_device(name: str) -> None:
    """Refuse a device that does not exist, here or at all.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `mps`, ..., or `auto`.

    Raises:
        ModelError: with torch's own reason.
    """
    import torch

    if name == "auto":
        return
    try:
        torch.empty(1, device=name).item()  # which a device without numbers, `meta`, does not have
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            f"device {name!r:.50}: {reason_of(error, 150)}; choose cpu, cuda, cuda:1, mps or auto, or none for "
            "the best there is"
        ) from error
