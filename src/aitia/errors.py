"""The errors that aitia raises on purpose.

Each says what is wrong, where (file, line or row), and what to do about it, in one message that
the command line prints as it stands.
"""

from __future__ import annotations


class AitiaError(Exception):
    """Something that the user can mend: bad input, a wrong option, files that do not fit together."""


class UnreadableError(AitiaError):
    """A file that is there but cannot be read: permissions, a folder in its place, a failing disk.

    Such a file is not damaged, and nobody should be advised to delete it.
    """


class RecordError(AitiaError):
    """A row of training data that cannot be used."""


class ModelError(AitiaError):
    """A model, tokenizer or adapter that cannot be loaded or used as asked."""


class SiteError(ModelError):
    """A site that the model does not have."""


class ConceptError(AitiaError):
    """A concept that cannot be fitted, read, or used with this model."""


class StoreError(AitiaError):
    """A store that is damaged, incomplete, or made with other data, model or settings."""


class NumericalError(AitiaError):
    """A computation that gave a value which is not finite; the message names the row."""


class JudgeError(AitiaError):
    """A judge that cannot be made, reached, or believed."""


class GroupError(AitiaError):
    """A table that is no group, a subset that is no subgroup, or a group that is not known by that name."""


class NetworkError(AitiaError):
    """A group-operation network that cannot be read, trained or used as asked."""


class ExplanationError(AitiaError):
    """An explanation, phenomenon or scorecard that cannot be used as given."""


class CertificateError(ExplanationError):
    """A certificate that claims more than is true."""


class ProofError(AitiaError):
    """A certificate or verifier that cannot be read, or cannot be used with this network."""


def reason_of(error: BaseException, limit: int = 600) -> str:
    """What an error of a library says, in one line.

    Args:
        error: any exception.
        limit: the greatest length, in characters; what is longer ends in an ellipsis.

    Returns:
        All lines of the message joined into one; the name of the error's class where it says nothing more.
    """
    kind = type(error).__name__
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(error)).split())
    text = text.rstrip(" :")
    if isinstance(error, KeyError) or not text:
        text = f"{kind}: {text}" if text else kind
    if len(text) > limit:
        text = text[: limit - 1].rsplit(" ", 1)[0] + "…"
    return text


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, of Python, NumPy, Arrow or torch on any device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)
