"""What the tests of losses are held against: a row's whole loss by transformers' logits and torch's own functions."""

import math

import numpy as np
import torch
from torch.nn import functional

from aitia.models import LanguageModel

SITE = "resid_post.2"
WORDS = ["the cat sat", "a dog ran home", "nothing is here", "the garden grows", "we swim", "he said so"]
PAIRS = [
    {
        "id": f"pair-{i}",
        "prompt": f"{WORDS[i % 6]}, and then?\n",
        "chosen": f"{WORDS[(i + 2) % 6]} {i}.",
        "rejected": f"{WORDS[(i * 5 + 1) % 6]} at {i}, {WORDS[(i + 3) % 6]}.",
        "w": 0.5 + i,
        "ref_chosen_logps": -40.0 - i,
        "ref_rejected_logps": -60.0 + i,
    }
    for i in range(7)
]
MARKED = [
    {
        "id": row["id"],
        "prompt": row["prompt"],
        "completion": row["chosen"],
        "label": i % 3 == 0,
        "w": row["w"],
    }
    for i, row in enumerate(PAIRS)
]
ADVANTAGES = [
    {
        "id": row["id"],
        "prompt": row["prompt"],
        "completion": row["chosen"],
        "advantage": math.sin(i),
        "w": 2.0,
    }
    for i, row in enumerate(PAIRS)
]
PLAIN = [{"prompt": row["prompt"], "completion": row["chosen"], "w": row["w"]} for row in PAIRS]
CASES = {
    "dpo": (PAIRS, {"loss": "dpo", "beta": 0.3}),
    "dpo with weights": (PAIRS, {"loss": "dpo", "beta": 0.1, "weight": "w"}),
    "dpo with columns": (PAIRS, {"loss": "dpo", "beta": 0.1, "reference": "columns"}),
    "kto": (MARKED, {"loss": "kto", "beta": 0.2, "undesirable_weight": 1.5, "kl": 0.4}),
    "policy gradient": (ADVANTAGES, {"loss": "policy-gradient"}),
    "weights": (PLAIN, {"loss": "sft", "weight": "w"}),
}


def adapted(make_model, family="llama", modules=("q_proj", "down_proj"), seed=0):
    """A model with an adapter that does something."""
    from peft import LoraConfig, get_peft_model

    plain = make_model(family)
    torch.manual_seed(seed)
    wrapped = get_peft_model(
        plain.network, LoraConfig(r=3, target_modules=list(modules), init_lora_weights=False)
    )
    return LanguageModel(network=wrapped, tokenizer=plain.tokenizer, name="tiny", adapter="made up")


def log_prob(network, row, hidden=None):
    """log p(response), by transformers' logits; the hidden states, with their graph, go to `hidden`."""
    tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
    output = network(input_ids=tokens, output_hidden_states=True)
    if hidden is not None:
        hidden.append(output.hidden_states)
    by_token = output.logits[0, :-1].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
    return by_token[torch.from_numpy(row.response[1:])].sum()


def loss_of_row(model, row, given, settings, hidden=None):
    """A row's loss, divided by its tokens where a step's is; `given` is the row as it was read."""
    sides = row.sides
    now = [log_prob(model.network, side, hidden) for side in sides]
    if settings.get("reference") == "columns":
        before = [given["ref_chosen_logps"], given["ref_rejected_logps"]]
    else:
        with torch.no_grad(), model.network.disable_adapter():
            before = [log_prob(model.network, side) for side in sides]
    beta = settings.get("beta", 0.1)
    match settings["loss"]:
        case "dpo":
            value = -functional.logsigmoid(beta * ((now[0] - before[0]) - (now[1] - before[1])))
        case "kto":
            gain = now[0] - before[0]
            if given["label"]:
                value = 1 - torch.sigmoid(beta * (gain - settings["kl"]))
            else:
                value = 1.5 * (1 - torch.sigmoid(beta * (settings["kl"] - gain)))
        case _:
            value = -now[0] * given.get("advantage", 1.0) / int(row.response[1:].sum())
    return value * (given["w"] if settings.get("weight") else 1.0)
