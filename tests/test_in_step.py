"""The scripts repeat each other on purpose: what has the same name is the same in all, in the same order."""

import ast
import difflib

import pytest
from conftest import ROOT

BASE = (ROOT / "dmg_offline.py").read_text()

# What sets a script apart: "new", "missing", "different", or passages (old, new) of a function
EXPECTILE_RULE = "require(0 < args.expectile <= 1, '--expectile must be above 0 and at most 1')"
XQL = {"value_loss": "different", "presets": [("expectile=0.9", "gumbel_beta=0.6")]}
XQL |= {"Args.expectile": "missing", "Args.gumbel_beta": "new", "Args.max_clip": "new"}
XQL |= {"check": [(EXPECTILE_RULE, "require(args.gumbel_beta > 0, '--gumbel-beta must be above 0')")]}
SQL = {"value_loss": "different", "presets": [("expectile=0.9", "sql_alpha=0.1")]}
SQL |= {"Args.expectile": "missing", "Args.sql_alpha": "new", "Args.relu_weight": "new"}
SQL |= {"check": [(EXPECTILE_RULE, "require(args.sql_alpha > 0, '--sql-alpha must be above 0')")]}
SQL_WEIGHT = (
    "weight = (args.inverse_temperature * advantage).exp().clamp(max=args.max_weight)",
    "weight = advantage.relu() if args.relu_weight else (args.inverse_temperature * advantage).exp()\n"
    "            weight = weight.clamp(max=args.max_weight)",
)
SQL |= {"update": [SQL_WEIGHT]}
FINETUNE = dict.fromkeys(["presets", "check", "save", "parse_args", "main"], "different")
FINETUNE |= dict.fromkeys(["from types import SimpleNamespace", "Simulator", "relax", "explore"], "new")
FLAGS = "checkpoint online_steps learning_starts exploration_noise online_gamma lam_end nu_end decay".split()
FINETUNE |= {f"Args.{flag}": "new" for flag in [*FLAGS, "decay_interval"]}
DIFFERENCES = {"dmg_xql": XQL, "dmg_sql": SQL, "dmg_finetune": FINETUNE}


def definitions(source):
    """Name -> text without comments and layout, in order; the class Args is split into its fields."""
    statements, found = ast.parse(source).body[1:], {}  # without the docstring
    for node in statements:
        parts = [node]
        if getattr(node, "name", "") == "Args":
            parts += node.body[1:]
            node.body = node.body[:1]
        for part in parts:
            text = ast.unparse(part)
            name = getattr(part, "name", None) or text.split("\n")[0].split(" = ")[0].split(" |= ")[0]
            name = f"Args.{part.target.id}" if isinstance(part, ast.AnnAssign) else name
            found[name] = f"{found[name]}\n{text}" if name in found else text
    return found


def drift(other, allowed, base=BASE):
    """Names in which two sources differ beyond what is allowed, or do not differ but may; and how."""
    ours, theirs, problems = definitions(base), definitions(other), {}
    for name in ours | theirs | allowed:
        expected, actual, how = ours.get(name), theirs.get(name), allowed.get(name)
        if isinstance(how, list):
            for old, new in how:
                expected = (expected or "").replace(old, new) if (expected or "").count(old) == 1 else "?"
            how = None
        found = "missing" if actual is None else "new" if expected is None else "different"
        if found != how and not (expected == actual and how is None):
            texts = [(text or "").splitlines() for text in (expected, actual)]
            problems[name] = "\n".join(
                difflib.unified_diff(*texts, f"{name}, expected", "found", lineterm="")
            )
        elif expected == actual and how:
            problems[name] = f"{name}: listed as {how}, but it is the same"
    orders = [[name for name in one if name in ours and name in theirs] for one in (ours, theirs)]
    if orders[0] != orders[1]:
        problems["order"] = "\n".join(difflib.unified_diff(*orders, lineterm=""))
    return problems


@pytest.mark.parametrize(
    "script", sorted(path.stem for path in ROOT.glob("dmg_*.py") if path.stem != "dmg_offline")
)
def test_what_has_the_same_name_is_the_same(script):
    problems = drift((ROOT / f"{script}.py").read_text(), DIFFERENCES[script])
    assert not problems, f"{script} has drifted from dmg_offline\n\n" + "\n\n".join(problems.values())


PLANTED = {
    "update": ("agent.lam * q_next + (1", "agent.lam * q_data + (1"),
    "Linear": ("math.sqrt(inputs)", "math.sqrt(outputs)"),
    "Args.gamma": ("gamma: float = 0.99", "gamma: float = 0.995"),
    "Args.extra": ("    gamma: float", "    extra: int = 1\n    gamma: float"),
    "REFERENCE_RETURNS": ("3234.3", "3234.4"),
    "import json": ("import json\n", ""),
    "helper": ("def fail(", "def helper():\n    pass\n\n\ndef fail("),
    "order": ("import json\nimport math\n", "import math\nimport json\n"),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("script", DIFFERENCES)
def test_a_planted_drift_is_caught(script, name):
    changed = (ROOT / f"{script}.py").read_text().replace(*PLANTED[name], 1)
    assert list(drift(changed, DIFFERENCES[script])) == [name]


def test_an_allowance_without_need_is_reported():
    """And comments do not matter."""
    assert not drift(BASE.replace("\ndef fail(", "\n# a remark\n\ndef fail("), {})
    for allowed in ("different", "new", "missing", [("a line of long ago", "another")], [SQL_WEIGHT]):
        assert list(drift(BASE, {"update": allowed})) == ["update"]
    assert list(drift(BASE, {"vanished": "new"})) == ["vanished"]
