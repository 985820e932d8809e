"""What a network does with a few tokens, tried when it is taken up, so that a wrong assumption is found at once.

Everything in this room assumes that a network reads from left to right, runs each block once, and carries one
residual stream [batch, time, width] from block to block. Where one of these does not hold, results would be
wrong without a word, or the work would break off in the middle; such a network is refused, and the reason given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

ROWS, TIME, SHARED = 3, 11, 5
"""Of the tokens that are tried: three rows of eleven, so that no axis is mistaken for another; the first two rows
begin with the same five."""


def probe_tokens(network: Any) -> torch.Tensor:
    """Tokens to try a network on: [3, 11] int64 on its device, rows 0 and 1 alike in the first five."""
    import torch

    embeddings = network.get_input_embeddings().weight
    # Small ids are those of plain text in nearly every vocabulary; the very first are often special.
    vocabulary = min(embeddings.shape[0], 250)
    tokens = torch.arange(ROWS * TIME).mul(37).remainder(max(vocabulary - 8, 1)).add(min(7, vocabulary - 1))
    tokens = tokens.clamp(max=vocabulary - 1).reshape(ROWS, TIME)
    tokens[1, :SHARED] = tokens[0, :SHARED]
    return tokens.to(embeddings.device)


def is_outline(network: nn.Module) -> bool:
    """Whether the network has its shapes only, and no weights."""
    return any(parameter.is_meta for parameter in network.parameters())


def hidden_states(output: object) -> Any:
    """A block's output is the residual stream, alone or first in a tuple or list."""
    return output[0] if isinstance(output, tuple | list) else output


def with_hidden_states(output: object, hidden: Any) -> Any:
    """A block's output with another residual stream in it."""
    if isinstance(output, tuple | list):
        made: Any = getattr(output, "_make", type(output))  # of a named tuple, or of a plain one
        return made([hidden, *output[1:]])
    return hidden


def require_supported(network: Any, blocks: Sequence[nn.Module], name: str) -> bool:
    """Run the network on a few tokens, and refuse it if it is not what the rest of the package assumes.

    Args:
        network: a causal language model in evaluation mode; one without weights is not tried.
        blocks: its blocks, bottom first.
        name: for messages.

    Returns:
        Whether the logits are the unembedding's output as it is, neither capped nor scaled.

    Raises:
        ModelError: it has no unembedding, does not run on tokens alone, runs blocks in another way than once each
            in order, carries something else than one residual stream, or a token's result depends on
            later tokens or on the other rows of a batch.
    """
    import torch

    if is_outline(network):
        return True
    kind = f"{name} ({_inner(network)})"
    head = network.get_output_embeddings()
    if not isinstance(head, torch.nn.Module):
        raise ModelError(f"{kind}: has no unembedding (a linear layer that makes logits), so it has no loss")
    tokens = probe_tokens(network)
    width = int(network.config.get_text_config().hidden_size)
    ran: list[tuple[int, Any, Any]] = []
    unembedded: list[Any] = []

    def hook_for(number: int) -> Any:
        def hook(_block: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            hidden = hidden_states(output)
            ran.append((number, args[0] if args else kwargs.get("hidden_states"), hidden))
            if number or not torch.is_tensor(hidden):
                return output
            return with_hidden_states(output, hidden.detach().requires_grad_().clone())

        return hook

    handles = [block.register_forward_hook(hook_for(i), with_kwargs=True) for i, block in enumerate(blocks)]
    handles.append(head.register_forward_pre_hook(lambda _head, given: unembedded.append(given[0])))
    try:
        with torch.enable_grad():
            logits = network(input_ids=tokens, use_cache=False).logits.detach()
    except Exception as error:  # whatever a network raises that needs more than tokens
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        dtype = str(network.get_input_embeddings().weight.dtype).removeprefix("torch.")
        raise ModelError(
            f"{kind}: cannot be run on tokens alone in {dtype} ({type(error).__name__}: {first}); models that need "
            "more than text are not supported"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    _require_order([number for number, _, _ in ran], len(blocks), kind)
    _require_one_stream(ran, (ROWS, TIME, width), kind)
    if len(unembedded) != 1 or tuple(unembedded[0].shape[:2]) != (ROWS, TIME):
        raise ModelError(f"{kind}: its unembedding is not run once on every token; that is not supported")
    with torch.no_grad():
        alone = network(input_ids=tokens[:1, :SHARED], use_cache=False).logits
        plain = head(unembedded[0])
    _require_causal(ran[-1][2].detach(), logits, alone, kind)
    return plain.dtype == logits.dtype and plain.shape == logits.shape and torch.equal(plain, logits)


def _require_order(numbers: Sequence[int], count: int, kind: str) -> None:
    times = Counter(numbers)
    repeated = [number for number in range(count) if times[number] > 1]
    missing = [number for number in range(count) if not times[number]]
    if repeated:
        raise ModelError(
            f"{kind}: block {repeated[0]} is run {times[repeated[0]]} times in one pass, so that its site has no one "
            "activation; models that repeat their blocks are not supported"
        )
    if missing:
        raise ModelError(
            f"{kind}: block {missing[0]} is not run on text alone, so that its site has no activation; that is not "
            "supported"
        )
    if list(numbers) != sorted(numbers):
        raise ModelError(f"{kind}: its blocks are not run in their order; that is not supported")


def _require_one_stream(ran: Sequence[tuple[int, Any, Any]], wanted: tuple[int, ...], kind: str) -> None:
    import torch

    before = None
    for number, given, hidden in ran:
        shape = tuple(getattr(hidden, "shape", ()))
        if shape != wanted:
            raise ModelError(
                f"{kind}: block {number} gives {list(shape)} where one residual stream [batch, time, width] would be "
                f"{list(wanted)}; models that carry anything else from block to block, as several streams at once, are "
                "not supported"
            )
        if before is not None and not (
            getattr(given, "shape", None) == wanted
            and torch.equal(given.detach().nan_to_num(), before.nan_to_num())
        ):
            raise ModelError(
                f"{kind}: block {number} is not given what block {number - 1} gives, so that there is no one residual "
                "stream between them; that is not supported"
            )
        if number and not hidden.requires_grad:
            raise ModelError(
                f"{kind}: no gradient can be taken through block {number} (it may be reversible); that is not supported"
            )
        before = hidden.detach()


def _require_causal(hidden: torch.Tensor, logits: torch.Tensor, alone: torch.Tensor, kind: str) -> None:
    """Batches are filled up on the right without a mask, which is exact where nothing depends on what comes later."""
    import torch

    exact = logits.dtype in (torch.float32, torch.float64) and hidden.dtype == torch.float32
    changes = torch.cat([_changes(part[0, :SHARED], part[1, :SHARED]) for part in (hidden, logits)])
    # Rounding can send a token to another expert; in single precision, and at the same place, it does not.
    later = float(changes.max() if exact else changes.min())
    company = float(_changes(logits[0, :SHARED], alone[0]).min())
    if later > (1e-5 if exact else 2e-2):
        raise ModelError(
            f"{kind}: what it makes of a token depends on later tokens; only models that read from left to right "
            "are supported (is it an encoder, or was it loaded without `is_decoder`?)"
        )
    if company > (1e-3 if exact else 1e-1):
        raise ModelError(
            f"{kind}: what it makes of a row depends on the rows and the padding beside it, so that no row has a "
            "result of its own; that is not supported"
        )


def _changes(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The relative change at each token; 0 where values are not finite, which is another fault."""
    one, other = one.float(), other.float()
    change = (one - other).abs().amax(dim=-1) / one.abs().amax(dim=-1).clamp(min=1e-12)
    return change.nan_to_num(0.0, 0.0, 0.0)


def _inner(network: Any) -> str:
    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    return type(inner).__name__
