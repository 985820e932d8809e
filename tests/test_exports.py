"""Every export of every face has an entry in docs/reference, a test that names it, and a caller that is no test."""

import ast
import re
from functools import cache

from test_architecture import ROOT, SOURCE, faces

INNER_LAYERS = {"aitia.cli", "aitia.cli.commands"}
"""Faces of the command line: it is documented by its commands."""


def texts(*patterns):
    return {path: path.read_text(encoding="utf-8") for each in patterns for path in sorted(ROOT.glob(each))}


@cache
def exports():
    """(face, name) of every export, those of the top level among them."""
    import aitia

    found = {("aitia", name) for name in aitia.__all__ if name != "__version__"}
    return found | {
        (face, name) for face, names in faces().items() if face not in INNER_LAYERS for name in names
    }


@cache
def definitions():
    """Name -> the statements at the top of a file of the package that define it."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.setdefault(node.name, []).append((node, bool(ast.get_docstring(node))))
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                for name in (
                    each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
                ):
                    found.setdefault(name, []).append((node, said))
    return found


def in_signature(node):
    """The names in the signature of a function, or in the fields, bases and signatures of a class."""
    parts = []
    for each in [node, *(node.body if isinstance(node, ast.ClassDef) else [])]:
        if isinstance(each, ast.FunctionDef):
            parts += [each.args, each.returns]
        elif isinstance(each, ast.AnnAssign):
            parts += [each.annotation, each.value]
        elif isinstance(each, ast.ClassDef):
            parts += each.bases
        elif isinstance(each, ast.Assign):
            parts.append(each.value)
    return {name for part in parts if part is not None for name in re.findall(r"\w+", ast.unparse(part))}


def covered():
    """The names in tests; and the types and constants in the signatures of what is tested, which come with it."""
    words = set(re.findall(r"\w+", " ".join(texts("tests/**/*.py").values())))
    names = {name for _, name in exports()}
    found = names & words
    todo = list(found)
    while todo:
        for node, _ in definitions().get(todo.pop(), ()):
            new = {name for name in in_signature(node) & names - found if not is_function(name)}
            found |= new
            todo += new
    return found


def is_function(name):
    return any(isinstance(node, ast.FunctionDef) for node, _ in definitions().get(name, ()))


def documented():
    """(face, name) of what the pages of the reference show: a face's names, or those that a page picks from it."""
    found = set()
    for text in texts("docs/reference/*.md").values():
        for face, options in re.findall(r"^::: (\S+)\n((?:[ ]+.*\n)*)", text + "\n", re.M):
            picked = re.search(r"members: \[([^\]]*)\]", options)
            found |= {
                (face, name) for name in (re.findall(r"\w+", picked[1]) if picked else faces().get(face, ()))
            }
    return found


def test_every_export_has_an_entry_in_the_reference():
    shown = documented()
    rooms = {name for _, name in shown}
    lacking = {f"{face}.{name}" for face, name in exports() if face != "aitia" and name not in rooms}
    lacking |= {f"aitia.{name}" for face, name in exports() if face == "aitia" and not exported(name)}
    assert not lacking, "\n".join(sorted(lacking))
    unknown = {f"{face}.{name}" for face, name in shown if name not in faces().get(face, ())}
    assert not unknown, "the reference picks what the face does not list"


def exported(name):
    """Whether some face of a room, or the room of errors, shows a name of the top level."""
    import aitia

    home = aitia._HOME_OF[name]
    return home == "aitia.errors" or name in faces().get(home, ())


def test_every_export_says_what_it_is():
    silent = {
        f"{face}.{name}"
        for face, name in exports()
        if not any(said for _, said in definitions().get(name, [(None, False)]))
    }
    assert not silent, "\n".join(sorted(silent))


def test_every_export_has_a_test():
    lacking = {name for _, name in exports()} - covered()
    assert not lacking, "\n".join(sorted(lacking))


def test_every_export_has_a_caller_that_is_no_test():
    found = texts("README.md", "docs/**/*.md", "docs/**/*.ipynb", "examples/**/*.py", "benchmarks/**/*.py")
    found |= texts("src/**/*.py")
    users = [
        text for path, text in found.items() if path.name != "__init__.py" and path.parent.name != "reference"
    ]
    lacking = set()
    for face, name in exports():
        own = re.compile(rf"\b(def|class) {name}\b|^{name}\b.*=|\"{name}\"", re.M)
        if not any(re.search(rf"\b{name}\b", own.sub("", text)) for text in users if name in text):
            lacking.add(f"{face}.{name}")
    assert not lacking, "\n".join(sorted(lacking))


def test_what_comes_with_a_tested_name_is_found():
    assert "Records" in in_signature(definitions()["rank"][0][0]) | in_signature(
        definitions()["read_records"][0][0]
    )
    assert is_function("rank")
    assert not is_function("Ranking")
