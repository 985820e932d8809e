"""What aitia is developed with: pinned, its licences and wheels written down, and held against what is installed.

    python supply_chain/audit.py           compare what is installed with packages.json; status 1 where it differs
    python supply_chain/audit.py --lock    write constraints.txt, packages.json and sbom.cdx.json from what is installed

Works offline: everything is read from the packages' own metadata. The set is what `aitia[dev]` needs, through and
through, by pyproject.toml; other packages in the environment do not count.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import tomllib
import uuid
from collections import deque
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
ROOT = HERE.parent
ALLOWED = (
    "MIT",
    "BSD",
    "Apache",
    "PSF",
    "Python Software Foundation",
    "ISC",
    "MPL",
    "HPND",
    "Unlicense",
    "0BSD",
    "zlib",
    "CNRI",
    "Zope",
)
_UNSTABLE = (".pyc", "/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json")


def needed(*parts: str) -> dict[str, tuple[Distribution, list[str]]]:
    """Every package that aitia with these extras needs here, and what each of them needs: name -> (package, names)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    todo = deque(_requirements(project["dependencies"], ""))
    wanted_extras = deque(parts)
    while wanted_extras:
        for line in _requirements(extras[wanted_extras.popleft()], ""):
            if line.name == "aitia":
                wanted_extras += sorted(line.extras)
            else:
                todo.append(line)
    found: dict[str, tuple[Distribution, list[str]]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted = todo.popleft()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            package = distribution(wanted.name)
        except PackageNotFoundError:
            sys.exit(f"{wanted.name}: needed and not installed; make the environment first (make lint)")
        below = [line for extra in ("", *extras) for line in _requirements(package.requires or [], extra)]
        names = {canonicalize_name(line.name) for line in below}
        found[name] = (package, sorted(names | set(found[name][1] if name in found else ())))
        todo += below
    return dict(sorted(found.items()))


def _requirements(lines: list[str], extra: str) -> list[Requirement]:
    """Those requirements that count here, under an extra or none."""
    parsed = [Requirement(line) for line in lines]
    kept = [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return [one for one in kept if not extra or one.marker is None or "extra" in str(one.marker)]


def licence(package: Distribution) -> str:
    """The licence, in the words of the package: its expression, else its classifiers, else its first line."""
    metadata = package.metadata
    if metadata.get("License-Expression"):
        return metadata["License-Expression"]
    classified = [
        line.rsplit("::", 1)[1].strip()
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    if classified:
        return "; ".join(classified)
    return (metadata.get("License") or "not said").strip().splitlines()[0][:60]


def wheel(package: Distribution) -> tuple[str, str]:
    """Which wheel it came from, and the digest of its list of files, which holds the digest of each."""
    tags = [
        line[5:].strip()
        for line in (package.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag:")
    ]
    rows = [
        row
        for row in csv.reader((package.read_text("RECORD") or "").splitlines())
        if row and row[1] and not row[0].startswith("..") and not row[0].endswith(_UNSTABLE)
    ]
    whole = hashlib.sha256("\n".join(sorted(",".join(row) for row in rows)).encode()).hexdigest()
    return ".".join(sorted(tags)) or "source", whole


def describe(package: Distribution) -> dict[str, Any]:
    """What is written down about a package."""
    tag, whole = wheel(package)
    return {"version": package.version.split("+")[0], "licence": licence(package), "wheels": {tag: whole}}


def problems(found: dict[str, tuple[Distribution, list[str]]], known: dict[str, Any]) -> list[str]:
    """What is installed and not as it was written down."""
    wrong = []
    for name, (package, _) in found.items():
        here = describe(package)
        if name not in known:
            wrong.append(f"{name} {here['version']}: not known; look at it, then `make lock`")
            continue
        written = known[name]
        wrong += [
            f"{name}: {key} {here[key]!r}, written down as {written[key]!r}"
            for key in ("version", "licence")
            if here[key] != written[key]
        ]
        for tag, whole in here["wheels"].items():
            if here["version"] == written["version"] and written["wheels"].get(tag, whole) != whole:
                wrong.append(f"{name} {here['version']}: other files than the wheel that was written down")
    for name, written in known.items():
        if not any(word.lower() in written["licence"].lower() for word in ALLOWED):
            wrong.append(f"{name}: licence {written['licence']!r} is none of {', '.join(ALLOWED)}")
    return wrong


def bill_of_materials(
    found: dict[str, tuple[Distribution, list[str]]], known: dict[str, Any]
) -> dict[str, Any]:
    """The packages as a CycloneDX 1.6 document; the same packages give the same text."""
    version = (
        (ROOT / "src/aitia/__init__.py").read_text(encoding="utf-8").split('__version__ = "')[1].split('"')[0]
    )
    reference = {name: f"pkg:pypi/{name}@{known[name]['version']}" for name in found}
    own = f"pkg:pypi/aitia@{version}"
    content = json.dumps([known, version], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": own,
                "name": "aitia",
                "version": version,
                "purl": own,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": reference[name],
                "name": name,
                "version": known[name]["version"],
                "purl": reference[name],
                "licenses": [{"license": {"name": known[name]["licence"]}}],
            }
            for name in found
        ],
        "dependencies": [
            {"ref": own, "dependsOn": sorted(reference.values())},
            *(
                {"ref": reference[name], "dependsOn": [reference[n] for n in names]}
                for name, (_, names) in found.items()
            ),
        ],
    }


def main() -> None:
    """Audit, or lock."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lock", action="store_true", help="write what is installed down")
    options = parser.parse_args()
    found = needed("dev")
    listed = HERE / "packages.json"
    if options.lock:
        known = {name: describe(package) for name, (package, _) in found.items()}
        listed.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        pins = "".join(f"{name}=={one['version']}\n" for name, one in known.items())
        (ROOT / "constraints.txt").write_text(pins, encoding="utf-8")
        bill = json.dumps(bill_of_materials(found, known), indent=1)
        (HERE / "sbom.cdx.json").write_text(bill + "\n", encoding="utf-8")
    known = json.loads(listed.read_text(encoding="utf-8"))
    wrong = problems(found, known)
    print(f"{len(found)} packages, {len(wrong)} not as written down in {listed.relative_to(ROOT)}")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
