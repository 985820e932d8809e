"""Putting a PEFT adapter on its base as PEFT does, and refusing one of which anything would be left off."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.engine import note
from aitia.errors import ModelError, reason_of
from aitia.files import read_json
from aitia.models.loading.weights import named

if TYPE_CHECKING:
    import torch

CONFIGURATION = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# What changes modules in place; the tests hold each against PEFT. The others add tokens, or mix adapters as they run.
_KINDS = ("LORA", "IA3", "LOHA", "LOKR", "TRAINABLE_TOKENS")
_OWN = re.compile(r"\.(lora_|ia3_|hada_|lokr_|modules_to_save\.|token_adapter\.trainable_tokens_delta)")
_TWICE = re.compile(r"(modules_to_save|trainable_tokens_delta)(\.|$)")
_PREFIX = "base_model.model."
_VOCABULARY_LAST = ".lora_embedding_A"
_VOCABULARY_FIRST = (
    ".weight",
    ".base_layer.weight",
    ".modules_to_save.weight",
    ".original_module.weight",
    ".token_adapter.base_layer.weight",
)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / CONFIGURATION).exists()


def require_adapter_folder(folder: Path, what: str) -> dict[str, Any]:
    """Refuse a folder that holds no adapter that can be applied exactly; its configuration.

    Returns:
        The adapter's configuration.

    Raises:
        ModelError: naming what is there, and the mend.
    """
    if not is_adapter(folder):
        if (folder / "config.json").is_file():
            raise ModelError(
                f"{what}: that is a whole model, not an adapter; give it as `model`, without an adapter"
            )
        raise ModelError(
            f"{what}: there is no {CONFIGURATION}; give the folder that PEFT saved the adapter in"
        )
    settings = read_json(folder / CONFIGURATION)
    kind = settings.get("peft_type")
    if kind not in _KINDS:
        raise ModelError(
            f"{what}: it is of the kind {kind}, which is not applied here ({', '.join(_KINDS)} are); where PEFT can, "
            "merge it into its base (`merge_and_unload`), save that, and give it as the model"
        )
    if settings.get("alora_invocation_tokens"):
        raise ModelError(
            f"{what}: an activated LoRA, which works from some tokens on only, is not applied here"
        )
    if not (folder / WEIGHTS).exists():
        held = " (pickled weights are not read)" if (folder / "adapter_model.bin").exists() else ""
        raise ModelError(f"{what}: there is no {WEIGHTS}{held}; save the adapter again with PEFT")
    return settings


def put_on(
    network: Any, folder: Path, settings: Mapping[str, Any], *, base: str, what: str, tokens: int | None
) -> Any:
    """A network with an adapter on it, for inference.

    Where the adapter was saved with embeddings of another vocabulary, the base's are resized first; rows that
    neither the base nor the adapter holds become NaN, so that they are never taken for weights.

    Args:
        network: the base.
        folder: of the adapter.
        settings: its configuration.
        base: what the network was loaded from.
        what: for messages.
        tokens: in the vocabulary saved with the adapter, if there is one.

    Returns:
        The PEFT model.

    Raises:
        ModelError: the adapter does not fit; the tensors are named.
    """
    import warnings

    from peft import PeftModel
    from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict

    weights = load_peft_weights(str(folder), device="cpu")
    _note_oddities(settings, base)
    _require_known_names(network, weights, what)
    resized = _resize(network, weights, settings, tokens, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they speak of is refused below, by name
            tuned = PeftModel.from_pretrained(network, str(folder), is_trainable=False)
            result = set_peft_model_state_dict(tuned, weights)  # the same once more, for what it says
    except KeyError as error:
        raise ModelError(
            f"{what}: {WEIGHTS} lacks {error.args[0]!r}, which {CONFIGURATION} speaks of; save the adapter again"
        ) from error
    except Exception as error:
        raise ModelError(f"{what}: cannot be put on this model: {reason_of(error)}") from error
    left, missing = _left_over(tuned, weights, result), _missing(tuned, settings, result)
    faults = [f"the model has no place for {named(left)}"] if left else []
    faults += [f"{WEIGHTS} lacks {named(missing)}"] if missing else []
    if faults:
        raise ModelError(f"{what}: does not fit: {'; '.join(faults)}. {_likely(settings)}")
    if resized:
        _require_rows(tuned, what)
    return tuned


def _left_over(tuned: Any, weights: Mapping[str, torch.Tensor], result: Any) -> list[str]:
    """The saved tensors that found no place. PEFT saves some embeddings twice: the same numbers are no loss."""
    import torch

    state = tuned.state_dict()

    def is_copy(name: str) -> bool:
        held = state.get(_TWICE.sub(r"\1.default\2", name))
        return held is not None and name in weights and torch.equal(weights[name].to(held), held)

    return sorted(name for name in result.unexpected_keys if not is_copy(name))


def _missing(tuned: Any, settings: Mapping[str, Any], result: Any) -> list[str]:
    """The adapter's tensors that were not in its file, but for those tied to one that was."""
    biases = {"all": r"\.bias$", "lora_only": r"\.base_layer\.bias$"}.get(str(settings.get("bias")), "$^")
    state, gone = tuned.state_dict(), set(result.missing_keys)
    loaded = {value.data_ptr() for name, value in state.items() if name not in gone}
    own = [name for name in gone if _OWN.search(name) or re.search(biases, name)]
    return sorted(name for name in own if state[name].data_ptr() not in loaded)


def _require_known_names(network: Any, weights: Mapping[str, torch.Tensor], what: str) -> None:
    """Refuse an adapter whose tensors speak of modules that the model does not have at all."""
    known = {name for name, _ in network.named_modules()}
    strange = sorted(name for name in weights if not name.startswith(_PREFIX))
    if strange:
        raise ModelError(
            f"{what}: does not fit: its tensors are called {named(strange)}, not {_PREFIX}…; save it from a PEFT model"
        )
    if weights and not any(_module_of(name) in known for name in weights):
        raise ModelError(
            f"{what}: does not fit: the model has none of its modules: {named(sorted(weights))}. It was trained on "
            "another architecture, or through another wrapper (a vision-language model, say): give that as the model"
        )


def _module_of(name: str) -> str:
    """The module that a saved tensor belongs to."""
    path = name.removeprefix(_PREFIX)
    own = _OWN.search(f".{path}")
    return path[: own.start() - 1] if own and own.start() else path.rsplit(".", 1)[0]


def _resize(
    network: Any,
    weights: Mapping[str, torch.Tensor],
    settings: Mapping[str, Any],
    tokens: int | None,
    what: str,
) -> bool:
    """Give the embeddings as many rows as the adapter was trained with; whether that changed them.

    Returns:
        True where they were resized.

    Raises:
        ModelError: it was trained with more tokens, and no tokenizer says which.
    """
    import torch

    layers = [network.get_input_embeddings(), network.get_output_embeddings()]
    names = [name for name, module in network.named_modules() if any(module is layer for layer in layers)]
    before = len(layers[0].weight)
    saved = {rows for name in names for rows in _saved_rows(weights, f"{_PREFIX}{name}")}
    trained = [index for each in _indices(settings) for index in each]
    if not saved and trained and max(trained) >= before:
        saved = {max(max(trained) + 1, tokens or 0)}
    if len(saved) != 1 or saved == {before}:
        return False
    rows = saved.pop()
    if rows > before and tokens is None:
        raise ModelError(
            f"{what}: was trained with {rows} tokens, its base has {before}, and no tokenizer was saved with it: which "
            "tokens were added is not known; copy the tokenizer that it was trained with into its folder"
        )
    network.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in (network.get_input_embeddings(), network.get_output_embeddings()):
            if layer is not None:
                layer.weight[before:] = float("nan")
                if getattr(layer, "bias", None) is not None:
                    layer.bias[before:] = float("nan")
    return True


def _require_rows(tuned: Any, what: str) -> None:
    """Refuse new rows of an embedding that the adapter's file did not hold; unused ones become zero."""
    import torch

    names: dict[int, list[str]] = {}
    tensors = {}
    for name, parameter in tuned.named_parameters(remove_duplicate=False):
        names.setdefault(parameter.data_ptr(), []).append(name)
        tensors[parameter.data_ptr()] = parameter
    for place, parameter in tensors.items():
        unset = parameter.isnan()
        used = [name for name in names[place] if ".original_module." not in name]
        if used and bool(unset.any()):
            raise ModelError(
                f"{what}: was trained with other tokens than its base, but {WEIGHTS} lacks their rows of "
                f"{named(used)}; save it with its embeddings (save_embedding_layers in PEFT)"
            )
        with torch.no_grad():
            parameter[unset] = 0


def _saved_rows(weights: Mapping[str, torch.Tensor], module: str) -> set[int]:
    found = {weights[module + _VOCABULARY_LAST].shape[1]} if module + _VOCABULARY_LAST in weights else set()
    return found | {len(weights[module + end]) for end in _VOCABULARY_FIRST if module + end in weights}


def _indices(settings: Mapping[str, Any]) -> Sequence[Sequence[int]]:
    chosen = settings.get("trainable_token_indices") or settings.get("token_indices") or []
    return list(chosen.values()) if isinstance(chosen, dict) else [chosen]


def _note_oddities(settings: Mapping[str, Any], base: str) -> None:
    """Say what need not be wrong, but may be."""
    from dataclasses import fields

    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    trained_on = settings.get("base_model_name_or_path")
    if trained_on and Path(trained_on).name != Path(base).name:
        note(f"The adapter was trained on {trained_on}; it is put on {base}")
    known = {each.name for each in fields(PEFT_TYPE_TO_CONFIG_MAPPING[settings["peft_type"]])}
    unknown = sorted(name for name, value in settings.items() if value and name not in known)
    if unknown:
        note(
            f"{CONFIGURATION} has settings that this version of peft passes over: {named(unknown)}; "
            "if they matter, install the version that it was trained with"
        )


def _likely(settings: Mapping[str, Any]) -> str:
    trained_on = settings.get("base_model_name_or_path") or "a model that it does not name"
    return f"It was trained on {trained_on}: give that as the model, or save the adapter again"
