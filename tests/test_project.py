"""What the files promise: imports, style, documentation."""

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPTS = sorted(ROOT.glob("dmg_*.py"))
PACKAGES = {"gymnasium", "minari", "numpy", "torch", "tyro", "tqdm"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_the_standard_library_and_the_required_packages_alone(script):
    tree = ast.parse(script.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= PACKAGES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_only_classes_are_args_and_modules(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ClassDef) and node.name != "Args":
            assert [ast.unparse(base) for base in node.bases] == ["nn.Module"]


def test_lint_and_format():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_pinned():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_readme_explains_every_metric_and_every_short_name(script):
    readme = (ROOT / "README.md").read_text()
    source = script.read_text()
    logged = re.findall(r'"((?:charts|eval)/\w+)"', source)
    losses = re.findall(r'"(\w+)": \w+(?:_loss|\.mean)', source.split("def update")[1].split("def make_block")[0])
    assert logged and len(losses) == 5
    for tag in [*logged, *(f"losses/{name}" for name in losses)]:
        assert f"`{tag}`" in readme, tag


def test_every_flag_has_a_help_text():
    """tyro reads the comment behind a flag's line as its help."""
    for script in SCRIPTS:
        source = script.read_text().splitlines()
        (args,) = [
            n for n in ast.walk(ast.parse(script.read_text())) if isinstance(n, ast.ClassDef) and n.name == "Args"
        ]
        for field in args.body:
            assert isinstance(field, ast.AnnAssign) and "  # " in source[field.lineno - 1], ast.unparse(field)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_flag_is_ignored(script):
    """Every field of Args is read as args.NAME somewhere in its script."""
    tree = ast.parse(script.read_text())
    (args,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Args"]
    flags = {node.target.id for node in args.body}
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "args"
    }
    assert flags <= read, f"{script.name} ignores {sorted(flags - read)}"


def test_shell_scripts_parse():
    for path in [*ROOT.glob("**/*.sh"), ROOT / ".ci" / "run"]:
        if ".venv" not in path.parts:
            assert subprocess.run(["bash", "-n", str(path)]).returncode == 0, path
