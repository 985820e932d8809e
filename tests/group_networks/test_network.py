"""The folded network and its file: arithmetic by loops, round trips, and files that are not what they claim."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aitia.errors import NetworkError
from aitia.finite_groups import named_group
from aitia.group_networks import GroupNetwork, load_network


def random_network(name="S3", width=5, seed=0, dtype=np.float32):
    group = named_group(name)
    generator = np.random.default_rng(seed)
    shapes = {"left": (group.order, width), "right": (group.order, width), "unembed": (width, group.order)}
    arrays = {key: generator.standard_normal(shape).astype(dtype) for key, shape in shapes.items()}
    return GroupNetwork(group=group, bias=generator.standard_normal(group.order).astype(dtype), **arrays)


def test_logits_by_loops():
    network = random_network()
    for x in range(6):
        for y in range(6):
            for z in range(6):
                wanted = float(network.bias[z])
                for i in range(5):
                    wanted += max(float(network.left[x, i]) + float(network.right[y, i]), 0) * float(
                        network.unembed[i, z]
                    )
                assert abs(network.logits(np.array(x), np.array(y))[z] - wanted) < 1e-12


def test_accuracy_counts_strict_wins():
    network = random_network(width=40, seed=1)
    hits = 0
    for x, logits in network.every_logit():
        for k, y in np.ndindex(len(x), 6):
            answer = network.group.table[x[k], y]
            hits += all(logits[k, y, answer] > logits[k, y, z] for z in range(6) if z != answer)
    assert network.accuracy == hits / 36
    flat = GroupNetwork(
        group=network.group,
        left=np.zeros((6, 1)),
        right=np.zeros((6, 1)),
        unembed=np.zeros((1, 6)),
        bias=np.zeros(6),
    )
    assert flat.accuracy == 0  # every input is a tie


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saved_and_loaded_bit_for_bit(tmp_path, dtype):
    network = random_network(dtype=dtype)
    loaded = load_network(network.save(tmp_path / "s3.network.safetensors"))
    assert loaded.fingerprint == network.fingerprint
    assert loaded.group.name == "S3"
    for name in ("left", "right", "unembed", "bias"):
        assert getattr(loaded, name).dtype == dtype
        assert (getattr(loaded, name) == getattr(network, name)).all()


def test_the_file_is_the_shared_format(tmp_path):
    """A file written by hand, by the format's description alone, is read."""
    group = named_group("Z4")
    generator = np.random.default_rng(0)
    arrays = {
        "left": generator.standard_normal((4, 3)),
        "right": generator.standard_normal((4, 3)),
        "unembed": generator.standard_normal((3, 4)),
        "bias": np.zeros(4),
        "cayley": np.array([[(x + y) % 4 for y in range(4)] for x in range(4)]),
    }
    save_file(arrays, tmp_path / "n.safetensors", {"group": "Z4", "format": "aitia-group-network-v1"})
    network = load_network(tmp_path / "n.safetensors")
    assert (network.group.table == group.table).all()
    assert network.width == 3
    assert network.seed is None


def changed(path, **changes):
    """Rewrite a network file with some tensors or metadata replaced (None: left out)."""
    tensors = load_file(path)
    metadata = {"format": "aitia-group-network-v1", "group": "S3"}
    for name, value in changes.items():
        (metadata if name in metadata else tensors)[name] = value
    kept = {name: np.ascontiguousarray(value) for name, value in tensors.items() if value is not None}
    save_file(kept, path, {key: value for key, value in metadata.items() if value is not None})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": "other"}, "format 'other', not 'aitia-group-network-v1'"),
        ({"format": None}, "not a network file"),
        ({"bias": None}, "has no tensor bias"),
        ({"left": np.zeros((5, 5), dtype=np.float32)}, r"left has shape \(5, 5\)"),
        ({"left": np.zeros((6, 0), dtype=np.float32)}, r"left has shape \(6, 0\)"),
        ({"unembed": np.zeros((6, 5), dtype=np.float32)}, r"unembed has shape \(6, 5\), not \(5, 6\)"),
        ({"bias": np.zeros(6, dtype=np.int64)}, "bias holds int64"),
        ({"bias": np.full(6, np.nan, dtype=np.float32)}, r"bias\[0\] is nan"),
        ({"right": np.full((6, 5), np.inf, dtype=np.float32)}, r"right\[0, 0\] is inf"),
        ({"cayley": np.zeros((6, 6), dtype=np.int64)}, "identity"),
        ({"cayley": np.zeros((6, 6))}, "integers"),
        ({"cayley": named_group("Z4").table.copy()}, "4 elements|not \\(4"),
    ],
)
def test_files_that_are_not_what_they_claim(tmp_path, changes, message):
    path = random_network().save(tmp_path / "n.network.safetensors")
    changed(path, **changes)
    with pytest.raises(NetworkError, match=message) as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(NetworkError, match="no such network file"):
        load_network(tmp_path / "none")
    path = random_network().save(tmp_path / "n.network.safetensors")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(NetworkError, match="damaged"):
        load_network(path)
    path.write_text(json.dumps({"left": []}))
    with pytest.raises(NetworkError, match="damaged"):
        load_network(path)
