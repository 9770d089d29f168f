"""What peftcore's own source never does, read off its syntax trees."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import peftcore

FILES = sorted(Path(peftcore.__file__).parent.rglob("*.py"))

UNSAFE_MODULES = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"),
    *("zipfile", "tarfile", "telnetlib", "xmlrpc"),
}

UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execv", "os.execvp"),
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("numpy.load", "np.load", "np.loadtxt", "np.fromfile"),
    *("shutil.unpack_archive", "subprocess.getoutput", "tempfile.mktemp"),
    *("pandas.read_pickle", "pd.read_pickle"),
}


@cache
def trees() -> list[tuple[str, ast.AST]]:
    return [(str(path), ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]


@cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """Return file and line, the name as written, and the call."""
    return [
        (f"{path}:{node.lineno}", ast.unparse(node.func), node)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]


def value_of(call: ast.Call, keyword: str) -> object:
    """Return a keyword's value: a constant, ``None`` where it is not given."""
    for given in call.keywords:
        if given.arg == keyword:
            return given.value.value if isinstance(given.value, ast.Constant) else given.value
    return None


def test_there_are_sources_to_read() -> None:
    assert len(FILES) > 80
    assert sum(name == "json.loads" for _, name, _ in calls()) >= 5


def test_no_module_that_unpickles_or_unpacks_is_imported() -> None:
    found = []
    for path, tree in trees():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [f"{path}: {n}" for n in names if n.split(".")[0] in UNSAFE_MODULES]
    assert found == []


def test_nothing_is_evaluated_unpickled_or_handed_to_a_shell() -> None:
    assert [f"{where}: {name}" for where, name, _ in calls() if name in UNSAFE_CALLS] == []
    shells = [where for where, _, call in calls() if value_of(call, "shell") not in (None, False)]
    assert shells == []
    pickles = [where for where, _, call in calls() if value_of(call, "allow_pickle") is not None]
    assert pickles == []


def test_remote_code_is_never_trusted() -> None:
    """Whatever loads from a folder or the hub by a class chosen at run time says so itself."""
    for where, name, call in calls():
        assert value_of(call, "trust_remote_code") in (None, False), where
        owner, _, method = name.rpartition(".")
        if owner.startswith("Auto") and method in ("from_pretrained", "from_config"):
            assert value_of(call, "trust_remote_code") is False, where


def test_weights_are_loaded_as_safetensors_alone() -> None:
    loads = [
        (where, call)
        for where, name, call in calls()
        if name.startswith("AutoModel") and name.endswith(".from_pretrained")
    ]
    assert loads
    for where, call in loads:
        assert value_of(call, "use_safetensors") is True, where


@pytest.mark.parametrize("name", ["snapshot_download", "hf_hub_download"])
def test_one_door_leads_to_the_hub(name: str) -> None:
    """:mod:`peftcore.hub` asks for full commit hashes."""
    users = {
        Path(path).name
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names)
    }
    assert users <= {"hub.py"}
