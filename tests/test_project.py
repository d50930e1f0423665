"""What the files promise: imports, form, style, documentation."""

import ast
import subprocess
import sys

import copies
import pytest
from conftest import ROOT

PACKAGES = {"gymnasium", "minari", "numpy", "torch", "tyro", "tqdm"}
each_script = pytest.mark.parametrize("path", copies.SCRIPTS, ids=lambda path: path.name)


def nodes(path, kind):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kind)]


def packages(imports):
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {"." * node.level + (node.module or "") for node in imports if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


@each_script
def test_scripts_import_the_standard_library_and_the_required_packages_alone(path):
    """And Weights & Biases, but that only where --track asks for it."""
    assert "torch" in packages(ast.parse(path.read_text()).body) <= PACKAGES
    assert packages(nodes(path, ast.Import | ast.ImportFrom)) - PACKAGES == {"wandb"}


@each_script
def test_every_flag_has_a_help_text_and_is_read(path):
    """tyro takes the comment behind a flag as its help: on its line, not on one that it goes on in."""
    (args,) = [node for node in nodes(path, ast.ClassDef) if node.name == "Args"]
    lines, fields = path.read_text().splitlines(), [node for node in args.body if hasattr(node, "annotation")]
    (members,) = [node for node in nodes(path, ast.Assign) if ast.unparse(node.targets[0]) == "MEMBERS"]
    reads = {node.attr for node in nodes(path, ast.Attribute) if ast.unparse(node.value) == "args"}
    unread = {node.target.id for node in fields} - reads - set(ast.literal_eval(members.value))
    assert not unread, f"no code reads the flags {unread}: delete them"
    assert len(fields) > 20
    for node in fields:
        is_explained = "  # " in lines[node.lineno - 1]
        assert is_explained, f"{ast.unparse(node)}: write the flag's help behind it, as a comment"


@each_script
def test_the_method_comes_first(path):
    """Above the first banner all of the method, then main(), then the helpers of the harness."""
    text = path.read_text()
    defined = [
        [node.name for node in ast.parse(part).body if hasattr(node, "name")] for part in copies.split(text)
    ]
    method, between, helpers = map(set, defined)
    assert {"Args", "Agent", "update", "train", "presets", "check_flags"} <= method
    assert {"main", "parse_args"} <= between and defined[1][0] == "main"
    assert {"fail", "load_transitions", "make_env", "save", "load_checkpoint"} <= helpers
    if path.stem == "dmg_offline":
        assert text.splitlines().index("def value_loss(advantage, args):") < 210


def test_lint_and_format():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_pinned():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line


def test_shell_scripts_parse():
    for path in [*ROOT.glob("*/*.sh"), ROOT / ".ci" / "run"]:
        assert subprocess.run(["bash", "-n", str(path)]).returncode == 0, path
