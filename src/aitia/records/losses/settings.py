"""What can be set about the loss of a row, and about the columns that it reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from aitia.errors import RecordError
from aitia.settings import Above, AtLeast, check

# Settings that not every loss reads -> the losses that do.
_READ_BY = {
    "beta": ("dpo", "kto"),
    "reference": ("dpo", "kto"),
    "advantage": ("policy-gradient",),
    "desirable_weight": ("kto",),
    "undesirable_weight": ("kto",),
    "kl": ("kto",),
}
LossChoice = Literal["sft", "dpo", "kto", "policy-gradient"]


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What training does with a row: its loss, and the columns that the loss reads.

    Attributes:
        loss: loss of a row. sft is the cross-entropy of the response; dpo compares the answers of a preference pair;
            kto takes answers marked as wanted or unwanted; policy-gradient multiplies the cross-entropy by
            an advantage.
        beta: strength of the pull towards the reference model, for dpo and kto.
        reference: source of the reference log-probabilities of dpo and kto. base is the model without its adapter;
            columns reads ref_chosen_logps and ref_rejected_logps of a pair, ref_logps of a marked answer.
        weight: column of numbers that the rows' losses are multiplied with; empty for 1 each.
        advantage: column with the advantage (or reward) of each row, for policy-gradient.
        desirable_weight: weight of the wanted answers, for kto.
        undesirable_weight: weight of the unwanted answers, for kto.
        kl: baseline of kto in nats, held fixed. The trainer estimates it batch by batch and logs it as kl.
    """

    loss: LossChoice = "sft"
    beta: Annotated[float, Above(0)] = 0.1
    reference: Literal["base", "columns"] = "base"
    weight: str = ""
    advantage: str = "advantage"
    desirable_weight: Annotated[float, AtLeast(0)] = 1.0
    undesirable_weight: Annotated[float, AtLeast(0)] = 1.0
    kl: Annotated[float, AtLeast(0)] = 0.0

    def __post_init__(self) -> None:
        check(self, "loss", RecordError)

    @property
    def plain(self) -> bool:
        """Whether every row is trained on as it is: the cross-entropy of its response, with weight 1."""
        return self.loss == "sft" and not self.weight

    def require_read(self) -> None:
        """Refuse what is set and the loss would pass over.

        Raises:
            RecordError: the setting is named, and the losses that read it.
        """
        for each in fields(self):
            readers, value = _READ_BY.get(each.name, ()), getattr(self, each.name)
            if readers and self.loss not in readers and value != each.default:
                named = " and ".join(f"`loss={reader}`" for reader in readers)
                raise RecordError(
                    f"`{each.name}={value}` is read with {named} alone, and would be passed over with "
                    f"`loss={self.loss}`; leave it out, or name its loss"
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read by the names given here."""
        return (self.weight, *([self.advantage] if self.loss == "policy-gradient" else []))

    @property
    def said(self) -> dict[str, Any]:
        """What differs from the defaults, to be kept with what is made from the rows."""
        usual = LossSettings()
        return {name: value for name, value in vars(self).items() if value != getattr(usual, name)}

    def __str__(self) -> str:
        """A few words for messages."""
        return f"{self.loss} with weights" if self.weight else self.loss


PLAIN = LossSettings()
"""The loss of supervised fine-tuning, without weights."""
WEIGHT = "weight"
"""Name of the number that multiplies a row's loss."""
REFERENCES = ("reference", "reference_rejected")
"""Names of the numbers that hold the sides' log-probabilities by the reference model, in the order of the sides."""
