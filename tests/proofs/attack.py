"""`make attack`: mutated certificates and networks against the checker, and the truth in integers against what it says.

A certificate is false where the checker certifies an input on which the right logit is not strictly the largest, or
lets a claim of more inputs hold than are right. A crash is any exception that is not one of aitia's own.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from aitia.errors import AitiaError
from aitia.group_networks import interpret
from aitia.proofs import VERIFIERS, check_certificate, parse_certificate, prove_accuracy, weights_from_arrays
from proofs.mutations import NETWORKS, Case, arrays_of, mutated_certificate, right_inputs
from proofs.oversized import OVERSIZED, run_apart
from proofs.proof_networks import planted_network, random_network

PLANTED = {"Z5": (1, "2a"), "S3": (2, "2a"), "D4": (2, "2a"), "A4": (3, "3a")}
OUTCOMES = ("tried", "refused", "not held", "held", "inputs certified", "false certificates", "crashes")


def cases():
    """Small networks that are right on some or all inputs, with their certificates."""
    networks = {
        name: planted_network(0.01, name=name, order=order, irrep=irrep)
        for name, (order, irrep) in PLANTED.items()
    }
    networks["Z2"] = random_network("Z2", width=3, size=2.0)
    found = []
    for name, network in networks.items():
        interpretation = interpret(network)
        certificates = {
            verifier: prove_accuracy(network, verifier=verifier, interpretation=interpretation).plain()
            for verifier in VERIFIERS
        }
        found.append(Case(name=name, arrays=arrays_of(network), certificates=certificates))
    return found


def mutated_network(arrays, generator):
    """A network that was changed once or twice; two changes that do not go together leave one."""
    for _ in range(generator.choice((1, 1, 2))):
        try:
            with np.errstate(all="ignore"):
                arrays = generator.choice(NETWORKS)(arrays, generator)
        except (ValueError, IndexError, TypeError, OverflowError):
            break
    return arrays


def text_for(plain, weights, generator):
    """A certificate made out to a network, and usually to what it might hold for."""
    plain = json.loads(json.dumps(plain))
    if weights is not None and generator.random() < 0.97:
        plain["network"] |= {"sha256": weights.sha256, "order": weights.order, "neurons": weights.width}
        plain["claim"]["inputs"] = weights.inputs
        most = plain["claim"]["certified"]
        claims = (0, 1, most, most + 1, most - 1, weights.inputs)
        plain["claim"]["certified"] = min(max(generator.choice(claims), 0), weights.inputs)
        plain["claim"]["cost"] = generator.choice((2**53 - 1, 2**53 - 1, plain["claim"]["cost"]))
    return plain


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Tally:
    """What came of the attempts, by verifier."""

    def __init__(self):
        self.counts = {}
        self.faults = []

    def add(self, name, outcome, number=1):
        self.counts.setdefault(name, Counter())[outcome] += number

    def total(self, outcome):
        return sum(each[outcome] for each in self.counts.values())

    def table(self):
        rows = [
            ("", *OUTCOMES),
            *((name, *(str(each[o]) for o in OUTCOMES)) for name, each in self.counts.items()),
        ]
        rows.append(("all", *(str(self.total(o)) for o in OUTCOMES)))
        return "\n".join(
            "".join(f"{cell:>20}" if k else f"{cell:<18}" for k, cell in enumerate(row)) for row in rows
        )


def attempt(arrays, text, name, tally, truth):
    """Check one certificate; `truth` is a list that the exact answer is put into when it is first needed."""
    tally.add(name, "tried")
    try:
        certificate = parse_certificate(text)
        found = check_certificate(weights_from_arrays(**arrays), certificate)
    except AitiaError:
        tally.add(name, "refused")
        return
    except Exception as error:
        tally.add(name, "crashes")
        tally.faults.append(f"{name}: {error!r}: {text[:2_000]}")
        return
    tally.add(name, "held" if found else "not held" if found.verdict is not None else "refused")
    if found.verdict is None or not found.verdict.count:
        return
    tally.add(name, "inputs certified", found.verdict.count)
    if not truth:
        truth.append(right_inputs(arrays))
    if (found.verdict.certified & ~truth[0]).any() or (found and certificate.certified > truth[0].sum()):
        tally.add(name, "false certificates")
        tally.faults.append(f"{name}: false: {text[:2_000]}")


def attack(networks, seed, tally, every=None, found=None):
    """So many mutated networks, each with every verifier's certificate as it was and mutated."""
    generator, found = random.Random(seed), found or cases()
    start = time.time()
    for number in range(networks):
        case = found[number % len(found)]
        others = [plain for other in found for plain in other.certificates.values()]
        arrays = case.arrays if generator.random() < 0.15 else mutated_network(case.arrays, generator)
        try:
            weights = weights_from_arrays(**arrays)
        except AitiaError:
            weights = None
        except Exception as error:
            tally.add("networks", "crashes")
            tally.faults.append(f"network: {error!r}")
            continue
        truth = []
        for name, plain in case.certificates.items():
            attempt(arrays, json.dumps(text_for(plain, weights, generator)), name, tally, truth)
            # A network that is refused is refused for every certificate: one attempt is enough.
            if weights is None:
                break
            for _ in range(2):
                text = mutated_certificate(text_for(plain, weights, generator), others, generator)
                attempt(arrays, text, name, tally, truth)
        if every and not (number + 1) % every:
            say(
                f"{number + 1} networks, {tally.total('tried')} certificates, {time.time() - start:.0f} s",
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=550, help="how many mutated networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sizes", action=argparse.BooleanOptionalAction, default=True, help="oversized files too"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("error", category=RuntimeWarning, module="aitia")
    tally = Tally()
    attack(arguments.networks, arguments.seed, tally, every=50)
    with tempfile.TemporaryDirectory() as folder:
        for name in OVERSIZED if arguments.sizes else ():
            outcome, seconds, megabytes = run_apart(name, Path(folder))
            tally.add("sizes", "tried")
            tally.add("sizes", outcome)
            say(f"{name:<40} {outcome:<10} {seconds:6.1f} s of processor time {megabytes:8.0f} MB")
            if outcome != OVERSIZED[name][0]:
                tally.faults.append(f"{name}: {outcome}, not {OVERSIZED[name][0]}")
    say(tally.table())
    say("\n".join(tally.faults[:20]))
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
