"""Nothing that is read is ever run: the source of the package and of the experiments has no way to do it.

A walk over syntax trees, so that neither a comment nor a docstring counts. What it looks for is tried on examples.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [*sorted((ROOT / "maxent_ray").rglob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "code"}
HARMLESS_NAMES = {"pickle.UnpicklingError", "pickle.PicklingError", "pickle.PickleError"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "torch.jit.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "torch.save",
    "torch.utils.cpp_extension.load",
    "runpy.run_path",
}
YAML = {f"yaml.{name}" for name in ("safe_load", "SafeLoader", "SafeDumper", "dump", "YAMLError", "MarkedYAMLError")}
"""A loader of our own may extend the safe one; ``yaml.load``, which takes any, may not be used."""
MUST_BE = {
    "trust_remote_code": False,
    "use_safetensors": True,
    "weights_only": True,
    "allow_pickle": False,
    "shell": False,
}
"""Keyword arguments that open a door, and the only value that may be written."""

EXCEPTIONS = {
    # One process hands a problem to another through a temporary folder that only they use.
    "experiments/benchmarks/hypergradient.py": {"torch.save()"},
    "experiments/benchmarks/unroll_cost.py": {"torch.load() without weights_only=True", "weights_only=False"},
}


def doors(tree: ast.AST) -> Iterator[str]:
    """Every way to run what was read."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"import {each.name}" for each in names if each.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] in MODULES | {"yaml"}:
                whole = {f"{module}.{each.name}" for each in names}
                yield from (f"from {name}" for name in sorted(whole - HARMLESS_NAMES - YAML))
            case ast.ImportFrom(module=module, names=names):
                renamed = {each.name for each in names} & (MODULES | ({"load", "save"} if module == "torch" else set()))
                yield from (f"from {module} import {name}" for name in sorted(renamed))
            case ast.Attribute():
                name = ast.unparse(node)
                if name.startswith("yaml.") and name not in YAML:
                    yield name
            case ast.Call():
                yield from doors_of_call(node)
            case ast.Name(id="__builtins__" | "__import__" as name):
                yield name


def doors_of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}
    if name.removeprefix("builtins.") in BUILTINS or name in CALLS:
        yield f"{name}()"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load() without weights_only=True"
    if name.endswith("read_pickle") or name.endswith("to_pickle"):
        yield f"{name}()"
    if name.endswith(".from_pretrained") and given.get("trust_remote_code") != "False":
        yield f"{name}() without trust_remote_code=False"
    if name.endswith("ForCausalLM.from_pretrained") and given.get("use_safetensors") != "True":
        yield f"{name}() without use_safetensors=True"
    for keyword, value in given.items():
        if keyword in MUST_BE and value != str(MUST_BE[keyword]):
            yield f"{keyword}={value}"


OPEN = [
    "import pickle",
    "import cloudpickle as harmless",
    "from pickle import loads",
    "from ray import cloudpickle",
    "from torch import load",
    "import marshal",
    "from yaml import Loader",
    "torch.load(path)",
    "torch.load(path, weights_only=False)",
    "torch.load(path, weights_only=whatever)",
    "torch.save(state, path)",
    "yaml.load(text, Loader=yaml.SafeLoader)",
    "yaml.full_load(text)",
    "load = yaml.unsafe_load",
    "class Mine(yaml.Loader): pass",
    "Mine.add_multi_constructor('', yaml.constructor.UnsafeConstructor.construct_python_object)",
    "eval(completion)",
    "value = [exec(text) for text in texts]",
    "compile(text, '', 'eval')",
    "builtins.eval(text)",
    "__import__('os')",
    "AutoModelForCausalLM.from_pretrained(name, trust_remote_code=True, use_safetensors=True)",
    "AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False)",
    "AutoTokenizer.from_pretrained(name)",
    "subprocess.run(command, shell=True)",
    "os.system(command)",
    "numpy.load(path, allow_pickle=True)",
    "pandas.read_pickle(path)",
]
SHUT = [
    "torch.load(path, weights_only=True)",
    "yaml.safe_load(text)",
    "class Mine(yaml.SafeLoader): pass",
    "re.compile('eval')",
    "'''eval(text)'''",
    "# pickle\nmodel.eval()",
    "from pickle import UnpicklingError",
    "AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False, use_safetensors=True)",
]


@pytest.mark.parametrize("source", OPEN)
def test_a_door_is_seen(source: str) -> None:
    assert list(doors(ast.parse(source)))


@pytest.mark.parametrize("source", SHUT)
def test_a_wall_is_no_door(source: str) -> None:
    assert list(doors(ast.parse(source))) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_file_can_run_what_it_reads(file: Path) -> None:
    name = file.relative_to(ROOT).as_posix()
    assert set(doors(ast.parse(file.read_text(encoding="utf-8")))) == EXCEPTIONS.get(name, set())


def test_all_files_were_read() -> None:
    assert len(FILES) > 100
    assert EXCEPTIONS.keys() <= {file.relative_to(ROOT).as_posix() for file in FILES}


def test_what_ships_is_text_and_safetensors() -> None:
    shipped = [path for path in (ROOT / "maxent_ray").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    page = {".LICENSE", ".css", ".html", ".js"}
    assert {path.suffix for path in shipped} <= {".py", ".pyi", ".typed", ".json", ".safetensors", *page}
