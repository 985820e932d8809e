"""Networks and certificates of sizes that would bring a careless checker down, each checked in a process of its own."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

MEMORY = 6 * 2**30
SECONDS = 300


def network_file(path, arrays):
    """A network file, all of its tensors written."""
    from safetensors.numpy import save_file

    save_file(arrays, path, {"format": "aitia-group-network-v1"})
    return path


def hollow_network_file(path, order, width, size=None, header_size=None):
    """A network file whose tensors are holes: as long as the header says, with nothing on the disk."""
    shapes = {"left": (order, width), "right": (order, width), "unembed": (width, order), "bias": (order,)}
    header, end = {"__metadata__": {"format": "aitia-group-network-v1"}}, 0
    for name, shape in (shapes | {"cayley": (order, order)}).items():
        kind, bytes_each = ("I64", 8) if name == "cayley" else ("F32", 4)
        start, end = end, end + int(np.prod(shape, dtype=object)) * bytes_each
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write((header_size or len(text)).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end if size is None else size)
    return path


def cyclic(order, width, value=0.0, integers=np.int64):
    """The arrays of a network on a cyclic group, one value everywhere."""
    table = (np.arange(order)[:, None] + np.arange(order)) % order
    shapes = {"left": (order, width), "right": (order, width), "unembed": (width, order), "bias": (order,)}
    return {k: np.full(shape, value, dtype=np.float32) for k, shape in shapes.items()} | {
        "cayley": table.astype(integers)
    }


def certificate(arrays, verifier, explanation):
    from aitia.proofs import AccuracyCertificate, weights_from_arrays

    weights = weights_from_arrays(**arrays)
    return AccuracyCertificate(
        network=weights.sha256,
        group="cyclic",
        order=weights.order,
        width=weights.width,
        verifier=verifier,
        certified=0,
        cost=2**53 - 1,
        explanation=explanation,
    )


def written(folder, arrays, verifier, explanation):
    """A network and its certificate as files."""
    network = network_file(folder / "n.network.safetensors", arrays)
    return network, certificate(arrays, verifier, explanation).save(folder / "c.certificate.json")


def points(order, count):
    """A set on which the generator 1 of a cyclic group turns its first points, and leaves the others."""
    image = list(range(count))
    image[:order] = [*range(1, order), 0]
    return {"generators": [1], "images": [image]}


def votes(**changed):
    """What the verifier g-sets reads, of one cell."""
    found = {"neurons": [0], "cells": [0], "factors": [1], "factor_unit": 0, "centre": [0], "centre_unit": 0}
    found |= {
        "sets": [],
        "votes": [],
        "constants": [],
        "unit": 0,
        "merges": [],
        "pruned": 0,
        "apart": [],
        "near": [],
        "quick": 1,
    }
    return found | changed


def chain(columns):
    """Merges of columns one after the other."""
    return [[columns + k - 1 if k else 0, k + 1] for k in range(columns - 1)]


def plain_text(folder, text):
    arrays = cyclic(5, 2)
    path = folder / "c.certificate.json"
    path.write_text(text, encoding="utf-8")
    return network_file(folder / "n.network.safetensors", arrays), path


def with_hollow_network(folder, **sizes):
    path = certificate(cyclic(5, 2), "brute-force", {}).save(folder / "c.certificate.json")
    return hollow_network_file(folder / "n.network.safetensors", **sizes), path


def many_votes(folder):
    rows = [[0, k % 64, k % 40, k // 64 % 40, 1] for k in range(200_000)]
    sets = [points(5, 40)] * 64
    explanation = votes(sets=sets, votes=rows, merges=chain(64 * 40))
    return written(folder, cyclic(5, 3_000, 0.5), "g-sets", explanation)


def every_input_tied(folder):
    return written(folder, cyclic(100, 16, 1.0), "brute-force", {})


def ties_of_great_range(folder):
    arrays = {k: v if k == "cayley" else v.astype(np.float64) for k, v in cyclic(24, 16, 1.0).items()}
    arrays["left"][:, ::2] = 2.0**100
    arrays["right"][:, 1::2] = 5e-324
    return written(folder, arrays, "brute-force", {})


OVERSIZED = {
    "5,040 elements, 16,384 neurons": (
        "refused",
        lambda folder: with_hollow_network(folder, order=5_040, width=16_384),
    ),
    "a million elements": (
        "refused",
        lambda folder: with_hollow_network(folder, order=10**6, width=1, size=10**6),
    ),
    "a network file of 3 GB": (
        "refused",
        lambda folder: with_hollow_network(folder, order=5, width=2, size=3 * 10**9),
    ),
    "a header of a gigabyte": (
        "refused",
        lambda folder: with_hollow_network(folder, order=5, width=2, size=2**31 - 1, header_size=2**30),
    ),
    "a certificate of 40 MB": (
        "refused",
        lambda folder: plain_text(folder, '{"format": "' + "x" * 40_000_000 + '"}'),
    ),
    "a certificate without end": (
        "refused",
        lambda folder: (plain_text(folder, "")[0], Path("/dev/zero")),
    ),
    "lists a million deep": ("refused", lambda folder: plain_text(folder, '{"format":' + "[" * 1_000_000)),
    "ten million empty lists": (
        "refused",
        lambda folder: plain_text(folder, '{"format":[' + "[]," * 10_000_000 + "[]]}"),
    ),
    "ten million neurons": (
        "refused",
        lambda folder: written(folder, cyclic(5, 2), "g-sets", votes(neurons=[0] * 10_000_000)),
    ),
    "25 million images of points": (
        "refused",
        lambda folder: written(
            folder, cyclic(5_040, 1, integers=np.int16), "g-sets", votes(sets=[points(5_040, 5_040)] * 64)
        ),
    ),
    "25 million pairs of points": (
        "refused",
        lambda folder: written(
            folder,
            cyclic(2, 1),
            "rho-sets",
            {"rho_sets": [{"left": points(2, 5_040), "right": points(2, 5_040)}]},
        ),
    ),
    "64 sets of 5,040 points, 4,000 neurons": (
        "held",
        lambda folder: written(
            folder,
            cyclic(5, 4_000),
            "cosets",
            {"sets": [points(5, 5_040)] * 64, "neurons": [[k, k % 64, k, k] for k in range(4_000)]},
        ),
    ),
    "200,000 votes, 2,559 merges in a chain": ("held", many_votes),
    "every input tied": ("held", every_input_tied),
    "every input tied, from 2^-1074 to 2^100": ("held", ties_of_great_range),
}
"""Name -> what the checker should say, and what writes both files. A claim of no input holds where it answers."""


def run_apart(name, folder):
    """Check in another process, with bounded memory: what came of it, seconds of processor time, megabytes at most."""
    network, path = OVERSIZED[name][1](folder)
    done = subprocess.run(
        [sys.executable, __file__, str(network), str(path)], capture_output=True, text=True, check=False
    )
    network.unlink()
    if done.returncode:
        return "crashes", 0.0, 0.0
    outcome, seconds, megabytes = done.stdout.split()
    return outcome, float(seconds), float(megabytes)


def answer_in_bounds(network, path):
    """Check two files with bounded memory and time, and print what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    from aitia.errors import AitiaError
    from aitia.proofs.checker import check_certificate

    try:
        found = check_certificate(Path(network), Path(path))
        outcome = "held" if found else "not-held" if found.verdict is not None else "refused"
    except AitiaError:
        outcome = "refused"
    used = resource.getrusage(resource.RUSAGE_SELF)
    status, kilobytes = Path("/proc/self/status"), used.ru_maxrss
    if status.exists():
        # Where there is one, the high-water mark of this process alone; the other counts the parent's before the fork.
        kilobytes = int(status.read_text().split("VmHWM:")[1].split()[0])
    sys.stdout.write(f"{outcome} {used.ru_utime + used.ru_stime:.2f} {kilobytes // 1024}\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    answer_in_bounds(*sys.argv[1:])
