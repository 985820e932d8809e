"""Torch modules and language models as models under study: run, watched and intervened on, array in, array out.

Both classes fit the protocol `aitia.explanations.ModelUnderStudy`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.errors import SiteError
from aitia.models.language_model import LanguageModel
from aitia.models.loading.fingerprint import model_fingerprint
from aitia.models.probing import hidden_states, with_hidden_states
from aitia.models.sites import site_layer

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True, eq=False)
class ModuleUnderStudy:
    """Any torch module whose inputs and outputs have one row each.

    Attributes:
        name: for people.
        module: in evaluation mode.
        sites: names of submodules, as in `named_modules`; a site's activations are the submodule's output,
            flattened to [n, width].
        prepare: inputs [n, ...] -> what the module takes; default: a float32 tensor on its device, or an int64 one
            where the inputs are whole numbers.
        batch_rows: rows run at once.
    """

    name: str
    module: nn.Module = field(repr=False)
    sites: tuple[str, ...]
    prepare: Callable[[np.ndarray], Any] | None = None
    batch_rows: int = 256

    def __post_init__(self) -> None:
        if missing := set(self.sites) - dict(self.module.named_modules()).keys():
            raise SiteError(f"{self.name}: no submodule {', '.join(sorted(missing))}; see `named_modules`")
        self.module.eval()

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the parameters."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return model_fingerprint(self.module)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs [n, ...]."""
        return self.intervene(inputs, {})[0]

    def trace(self, inputs: np.ndarray, sites: Sequence[str]) -> dict[str, np.ndarray]:
        """Activations [n, width] at each of the sites."""
        return self.intervene(inputs, {}, sites)[1]

    def intervene(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], sites: Sequence[str] = ()
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Outputs when sites are set to what `values` holds, and activations at `sites`.

        Returns:
            [n, k] outputs, and site -> activations [n, d].

        Raises:
            SiteError: a site does not exist.
        """
        if missing := (set(values) | set(sites)) - set(self.sites):
            raise SiteError(
                f"{self.name}: no site {', '.join(sorted(missing))}; it has {', '.join(self.sites)}"
            )
        modules = {site: self.module.get_submodule(site) for site in {*values, *sites}}

        def run(chosen: slice) -> tuple[Any, dict[str, Any]]:
            given = {site: np.asarray(value)[chosen] for site, value in values.items()}
            with _tapped(modules, given, _whole) as seen:
                outputs = self.module(self._prepared(inputs[chosen]))
            return outputs, seen

        return _in_batches(run, len(inputs), self.batch_rows, sites)

    def randomised(self, seed: int) -> ModuleUnderStudy:
        """The same module with every parameter drawn from a normal distribution of the same root mean square."""
        return replace(
            self, name=f"{self.name}, random weights {seed}", module=_random_weights(self.module, seed)
        )

    def _prepared(self, inputs: np.ndarray) -> Any:
        import torch

        if self.prepare is not None:
            return self.prepare(np.ascontiguousarray(inputs))
        whole = np.issubdtype(inputs.dtype, np.integer)
        device = next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))
        return torch.as_tensor(inputs.copy()).to(device=device, dtype=torch.int64 if whole else torch.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModelUnderStudy:
    """What a language model says next, and what it holds at the last token of each text.

    Inputs are token ids [n, t], filled up with -1 on the right; a site's activations are its residual stream at the
    last real token, [n, width]; outputs are the logits of the next token, [n, vocabulary].

    Attributes:
        model: the language model.
        batch_rows: texts run at once.
    """

    model: LanguageModel = field(repr=False)
    batch_rows: int = 32

    @property
    def name(self) -> str:
        """What the model was loaded from."""
        return self.model.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the parameters, an adapter's among them."""
        return self.model.fingerprint

    @property
    def sites(self) -> tuple[str, ...]:
        """`resid_post.<layer>` for each layer."""
        return self.model.sites

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits of the next token [n, vocabulary]."""
        return self.intervene(inputs, {})[0]

    def trace(self, inputs: np.ndarray, sites: Sequence[str]) -> dict[str, np.ndarray]:
        """Residual streams at the last token [n, width]."""
        return self.intervene(inputs, {}, sites)[1]

    def intervene(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], sites: Sequence[str] = ()
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits when the residual stream at the last token is set, and residual streams at `sites`.

        Returns:
            [n, k] logits, and site -> residual streams [n, d].

        Raises:
            SiteError: a site does not exist.
        """
        import torch

        modules = {site: self.model.blocks[site_layer(site, self.model.layers)] for site in {*values, *sites}}

        def run(chosen: slice) -> tuple[Any, dict[str, Any]]:
            tokens = np.asarray(inputs[chosen])
            last = (tokens >= 0).sum(axis=1) - 1
            given = {site: np.asarray(value)[chosen] for site, value in values.items()}
            filled = torch.from_numpy(np.where(tokens < 0, self.model.pad_id, tokens).astype(np.int64))
            with _tapped(modules, given, _at_tokens(last)) as seen:
                logits = self.model.network(input_ids=filled.to(self.model.device), use_cache=False).logits
            return logits[torch.arange(len(tokens)), torch.from_numpy(last)], seen

        return _in_batches(run, len(inputs), self.batch_rows, sites)

    def randomised(self, seed: int) -> LanguageModelUnderStudy:
        """The same architecture with every parameter drawn afresh."""
        return replace(
            self,
            model=LanguageModel(
                network=_random_weights(self.model.network, seed),
                tokenizer=self.model.tokenizer,
                name=f"{self.model.name}, random weights {seed}",
            ),
        )


Place = Callable[[Any], tuple[Any, Callable[[Any], Any]]]
"""Hidden tensor -> the part that is the site's activation [n, width], and how to put another in its place."""


def _whole(hidden: Any) -> tuple[Any, Callable[[Any], Any]]:
    return hidden.reshape(len(hidden), -1), lambda new: new.reshape(hidden.shape)


def _at_tokens(last: np.ndarray) -> Place:
    def place(hidden: Any) -> tuple[Any, Callable[[Any], Any]]:
        import torch

        rows = torch.arange(len(hidden), device=hidden.device)
        where = torch.from_numpy(last).to(hidden.device)

        def put(new: Any) -> Any:
            changed = hidden.clone()
            changed[rows, where] = new
            return changed

        return hidden[rows, where], put

    return place


@contextmanager
def _tapped(
    modules: Mapping[str, nn.Module], values: Mapping[str, np.ndarray], place: Place
) -> Iterator[dict[str, Any]]:
    """Collect the activations of modules while the block runs the network, and set those that `values` names."""
    import torch

    seen: dict[str, Any] = {}

    def hook_for(site: str) -> Callable[..., Any]:
        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            hidden = hidden_states(output)
            part, put = place(hidden)
            if site in values:
                part = (
                    torch.as_tensor(values[site])
                    .to(device=hidden.device, dtype=hidden.dtype)
                    .reshape(part.shape)
                )
                hidden = put(part)
            seen[site] = part
            return with_hidden_states(output, hidden)

        return hook

    handles = [module.register_forward_hook(hook_for(site)) for site, module in modules.items()]
    try:
        with torch.no_grad():
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _in_batches(
    run: Callable[[slice], tuple[Any, dict[str, Any]]], n: int, rows: int, sites: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    outputs: list[np.ndarray] = []
    traced: dict[str, list[np.ndarray]] = {site: [] for site in sites}
    for start in range(0, n, rows):
        found, seen = run(slice(start, start + rows))
        outputs.append(found.float().cpu().numpy())
        for site in sites:
            traced[site].append(seen[site].float().cpu().numpy())
    return np.concatenate(outputs), {site: np.concatenate(parts) for site, parts in traced.items()}


def _random_weights(module: nn.Module, seed: int) -> nn.Module:
    """A copy with every parameter drawn from a normal distribution of the same root mean square."""
    import torch

    drawn = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in drawn.parameters():
            scale = parameter.float().square().mean().sqrt().cpu()
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(noise.to(dtype=parameter.dtype))
    return drawn
