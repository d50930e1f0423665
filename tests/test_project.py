"""What the files promise: imports, form, style, documentation."""

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPTS = sorted(ROOT.glob("*.py"))
PACKAGES = {"gymnasium", "minari", "numpy", "torch", "tyro", "tqdm"}
each_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)


def nodes(path, kind):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kind)]


@each_script
def test_scripts_import_the_standard_library_and_the_required_packages_alone(path):
    imported = {alias.name.split(".")[0] for node in nodes(path, ast.Import) for alias in node.names}
    imported |= {"." * node.level + (node.module or "").split(".")[0] for node in nodes(path, ast.ImportFrom)}
    assert "torch" in imported and imported - set(sys.stdlib_module_names) <= PACKAGES


@each_script
def test_every_flag_has_a_help_text_and_is_read(path):
    """tyro takes the comment behind a flag as its help."""
    (args,) = [node for node in nodes(path, ast.ClassDef) if node.name == "Args"]
    lines, fields = (
        path.read_text().splitlines(),
        [node for node in args.body if isinstance(node, ast.AnnAssign)],
    )
    reads = {node.attr for node in nodes(path, ast.Attribute) if ast.unparse(node.value) == "args"}
    assert {node.target.id for node in fields} <= reads and len(fields) > 20
    for node in fields:
        explains_itself = node.target.id == "device"
        assert explains_itself or "  # " in lines[node.lineno - 1], ast.unparse(node)


@each_script
def test_the_algorithm_comes_first_and_lines_are_short(path):
    lines = path.read_text().splitlines()
    assert max(map(len, lines)) <= 110
    names = [node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")]
    assert names.index("update") < names.index("make_batch") < names.index("fail") and names[-1] == "main"
    if path.stem == "dmg_offline":
        assert lines.index("def value_loss(advantage, args):") < 210


@each_script
def test_the_readme_explains_every_metric(path):
    readme, source = (ROOT / "README.md").read_text(), path.read_text()
    update = ast.unparse(next(node for node in nodes(path, ast.FunctionDef) if node.name == "update"))
    losses = re.findall(r"'(\w+)': \w+", update) + re.findall(r"losses\['(\w+)'\] =", update)
    assert {"qf_loss", "q_values", "actor_loss"} <= set(losses)
    tags = {f"losses/{name}" for name in losses} | set(re.findall(r'"(charts/\w+)"', source))
    for tag in tags | {"charts/SPS", "eval/episodic_return", "eval/normalized_score"}:
        assert f"`{tag}`" in readme, tag


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
