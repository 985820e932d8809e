"""Sites: named places inside a decoder-only language model where activations live.

A site's name is `resid_post.<layer>`: the residual stream after block `<layer>`, counted from 0, as
a tensor [batch, time, width]. `resid_post.19` is what other tools call `hidden_states[20]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError, SiteError

if TYPE_CHECKING:
    from torch import nn

_SITE = re.compile(r"resid_post\.(\d+)")


def decoder_blocks(network: nn.Module) -> nn.ModuleList:
    """The list of transformer blocks of a decoder-only network, whatever it is called there.

    It is the module list as long as the configuration's number of layers. Lists inside another such list (the experts
    of a block) do not count. Where there are several still, as in a model that also sees, it is the one of the text
    decoder that is nested least.

    Returns:
        The blocks, the lowest first.

    Raises:
        ModelError: no such list, or several.
    """
    from torch import nn

    config: Any = getattr(network, "config", None)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    counts = [getattr(text_config, name, None) for name in ("num_hidden_layers", "num_layers")]

    def lists_of(module: nn.Module, layers: int | None) -> dict[str, nn.ModuleList]:
        found = {
            name: part
            for name, part in module.named_modules()
            if isinstance(part, nn.ModuleList) and len(part) == layers
        }
        inside = {id(part) for each in found.values() for part in each.modules() if part is not each}
        return {name: each for name, each in found.items() if id(each) not in inside}

    # Where a block has two attention layers, the second field counts the blocks.
    layers = next((count for count in counts if count and lists_of(network, count)), counts[0])
    found = lists_of(network, layers)
    if len(found) > 1 and hasattr(network, "get_decoder"):
        decoder: Any = network.get_decoder()  # type: ignore[operator]
        found = lists_of(decoder, layers) if isinstance(decoder, nn.Module) else found
        least = min((name.count(".") for name in found), default=0)
        found = {name: each for name, each in found.items() if name.count(".") == least}
    if len(found) != 1:
        raise ModelError(
            f"{type(network).__name__}: expected one list of {layers} transformer blocks, found {len(found)}; "
            "only decoder-only language models are supported"
        )
    return next(iter(found.values()))


def site_names(layers: int) -> tuple[str, ...]:
    """The names of all sites of a model with `layers` blocks, bottom first."""
    return tuple(f"resid_post.{layer}" for layer in range(layers))


def site_layer(site: str, layers: int) -> int:
    """The block a site belongs to.

    Returns:
        The block's number, from 0.

    Raises:
        SiteError: the name is not that of a site of a model with `layers` blocks.
    """
    match = _SITE.fullmatch(site)
    if match is None or int(match[1]) >= layers:
        raise SiteError(
            f"site {site!r} does not exist in this model; its sites are resid_post.0 to resid_post.{layers - 1}"
        )
    return int(match[1])


def sort_sites(sites: Sequence[str], layers: int) -> tuple[str, ...]:
    """The given sites without repetition, bottom first.

    Returns:
        Names of sites, the lowest layer first.

    Raises:
        SiteError: a site does not exist, or none is given.
    """
    if not sites:
        raise SiteError(f"no site given; choose among resid_post.0 to resid_post.{layers - 1}")
    return tuple(sorted(set(sites), key=lambda site: site_layer(site, layers)))
