"""The scripts repeat each other on purpose: what has the same name is the same in all of them, in the same order."""

import ast
import difflib

import pytest
from conftest import ROOT

BASE = "dmg_offline.py"
OTHERS = sorted(path.name for path in ROOT.glob("dmg_*.py") if path.name != BASE)

# What sets a script apart from dmg_offline.py: "new", "missing", "different", or one passage (old, new) of a function
SQL_WEIGHT = (
    "weight = (args.inverse_temperature * advantage).exp().clamp(max=args.max_weight)",
    "weight = advantage.relu() if args.relu_weight else (args.inverse_temperature * advantage).exp()\n"
    "            weight = weight.clamp(max=args.max_weight)",
)
EXPECTILE_RANGE = "'--expectile must lie in (0, 1]': not 0 < args.expectile <= 1"
XQL_RANGES = (
    "'--gumbel-beta must be above 0': not args.gumbel_beta > 0, "
    "'--huber-delta must be above 0': not (args.huber_delta is None or args.huber_delta > 0)"
)
XQL_LOSS = (
    "qf_loss = (agent.qf(observations, actions) - target.unsqueeze(1)).square().mean((2, 3)).sum(1)",
    "error = agent.qf(observations, actions) - target.unsqueeze(1)\n"
    "    bound = math.inf if args.huber_delta is None else args.huber_delta\n"
    "    bounded = error.clamp(-bound, bound)\n"
    "    qf_loss = (bounded * (2 * error - bounded)).mean((2, 3)).sum(1)",
)
DIFFERENCES = {
    "dmg_xql.py": dict.fromkeys(["Args.exp_name", "value_loss"], "different")
    | dict.fromkeys(["Args.expectile", "PRESETS.expectile"], "missing")
    | dict.fromkeys(["Args.gumbel_beta", "Args.max_clip", "Args.huber_delta", "PRESETS.gumbel_beta"], "new")
    | {"resolve_args": (EXPECTILE_RANGE, XQL_RANGES), "update": XQL_LOSS},
    "dmg_sql.py": dict.fromkeys(["Args.exp_name", "value_loss"], "different")
    | dict.fromkeys(["Args.expectile", "PRESETS.expectile"], "missing")
    | dict.fromkeys(["Args.sql_alpha", "Args.relu_weight", "PRESETS.sql_alpha"], "new")
    | {
        "resolve_args": (EXPECTILE_RANGE, "'--sql-alpha must be above 0': not args.sql_alpha > 0"),
        "update": SQL_WEIGHT,
    },
    "dmg_finetune.py": dict.fromkeys(
        ["Args.exp_name", "resolve_args", "make_block_runner", "train", "main"], "different"
    )
    | dict.fromkeys(["from functools import partial"], "new")
    | dict.fromkeys([f"Args.{name}" for name in ("checkpoint", "online_steps", "learning_starts")], "new")
    | dict.fromkeys([f"Args.{name}" for name in ("exploration_noise", "lam_end", "nu_end")], "new")
    | dict.fromkeys([f"Args.{name}" for name in ("decay", "decay_interval", "online_gamma")], "new")
    | dict.fromkeys(["open_environment", "make_by_id", "relax", "allocate"], "new")
    | dict.fromkeys(["start_episode", "act", "replay_episode", "interact"], "new"),
}


def definitions(source):
    """Name -> text without comments and layout, in order; a class Args is split by field, a dictionary by key."""
    found = {}

    def add(name, node):
        found[name] = "\n".join(filter(None, [found.get(name), ast.unparse(node)]))

    statements = ast.parse(source).body
    for node in statements[1:] if ast.get_docstring(ast.parse(source)) else statements:
        if isinstance(node, ast.ClassDef) and node.name == "Args":
            for field in node.body:
                add(f"Args.{field.target.id}" if isinstance(field, ast.AnnAssign) else "Args", field)
            node.body = [ast.Pass()]
            add("Args", node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            add(node.name, node)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                add(f"{ast.unparse(node.targets[0])}.{ast.unparse(key).strip(chr(39))}", value)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            add(ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target), node)
        else:  # an import, or the last lines
            add(ast.unparse(node).split("\n")[0], node)
    return found


def drift(base, other, allowed):
    """In what two sources differ beyond what is allowed, and what is allowed without need; "" if nothing."""
    ours, theirs, problems = definitions(base), definitions(other), []
    for name in [
        *ours,
        *(name for name in theirs if name not in ours),
        *(n for n in allowed if n not in ours | theirs),
    ]:
        expected, how = ours.get(name), allowed.get(name)
        if isinstance(how, tuple):
            if (expected or "").count(how[0]) != 1:
                problems.append(f"{name}: the passage that may differ is no longer in it once:\n{how[0]}")
            expected, how = (expected or "").replace(*how), None
        if name in ours and name in theirs:
            actual = None if expected == theirs[name] else "different"
        else:
            actual = "new" if name in theirs else "missing" if name in ours else None
        if actual != how and how is not None:
            problems.append(f"{name}: listed as {how}, but it is {actual or 'the same or gone'}")
        elif actual != how:
            texts = [(text or "").splitlines() for text in (expected, theirs.get(name))]
            lines = difflib.unified_diff(*texts, "as expected", "as it is", lineterm="")
            problems.append("\n".join([f"{name}: {actual}", *lines]))
    orders = [[name for name in one if name in ours and name in theirs] for one in (ours, theirs)]
    if orders[0] != orders[1]:
        problems.append("\n".join(["order:", *difflib.unified_diff(*orders, "as expected", "as it is", lineterm="")]))
    return "\n\n".join(problems)


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_the_same_name_is_the_same(name):
    found = drift((ROOT / BASE).read_text(), (ROOT / name).read_text(), DIFFERENCES.get(name, {}))
    assert not found, f"{name} has drifted from {BASE}\n\n{found}"


def test_the_list_names_existing_scripts_only():
    assert set(DIFFERENCES) <= set(OTHERS)


FLIP = "agent.lam * q_next + (1 - agent.lam) * v_next"
PLANTED = {
    "a constant in update": (lambda s: s.replace(".clamp(-1, 1)\n", ".clamp(-2, 2)\n", 1), "update: different"),
    "a term in update": (lambda s: s.replace(FLIP, FLIP.replace("q_next", "v_next", 1)), "+        target ="),
    "another default": (lambda s: s.replace("gamma: float = 0.99", "gamma: float = 0.995"), "Args.gamma: different"),
    "a new flag": (lambda s: s.replace("    gamma: float", "    extra: int = 1\n    gamma: float"), "Args.extra: new"),
    "another preset": (lambda s: s.replace('"tau": (0.005', '"tau": (0.05'), "PRESETS.tau: different"),
    "another constant": (lambda s: s.replace("GOAL_RADIUS = 0.5", "GOAL_RADIUS = 0.4"), "+GOAL_RADIUS = 0.4"),
    "a missing import": (lambda s: s.replace("import json\n", "", 1), "import json: missing"),
    "a missing function": (lambda s: cut(s, "normalize")[0], "normalize: missing"),
    "a reordered function": (lambda s: "".join(cut(s, "normalize")), "order:"),
    "a function of its own": (lambda s: s + "\n\ndef helper():\n    pass\n", "helper: new"),
}


def cut(source, name):
    """The source without a function, and the function."""
    (node,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name]
    lines = source.splitlines(keepends=True)
    function = lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines[: node.lineno - 1] + lines[node.end_lineno :]), "\n\n" + "".join(function)


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("name", OTHERS)
def test_a_planted_drift_is_caught(name, kind, tmp_path):
    change, message = PLANTED[kind]
    copy, source = tmp_path / name, (ROOT / name).read_text()
    copy.write_text(change(source))
    assert copy.read_text() != source
    found = drift((ROOT / BASE).read_text(), copy.read_text(), DIFFERENCES[name])
    assert message in found and found.count("\n\n") == 0, found  # this, and nothing else


@pytest.mark.parametrize("name", OTHERS)
def test_comments_and_layout_do_not_matter(name):
    source = (ROOT / name).read_text().replace("\ndef fail(", "\n# a remark\n\ndef fail(")
    assert not drift((ROOT / BASE).read_text(), source, DIFFERENCES[name])


def test_an_allowance_without_need_is_reported():
    source = (ROOT / BASE).read_text()
    assert drift(source, source, {}) == ""
    for allowed in ("different", "new", "missing"):
        assert "update: listed as" in drift(source, source, {"update": allowed})
        assert "vanished: listed as" in drift(source, source, {"vanished": allowed})
    assert "update: different" in drift(source, source, {"update": SQL_WEIGHT})  # the passage has become the same
    assert "no longer in it once" in drift(source, source, {"update": ("a line of long ago", "another")})
    shorter = source.replace(SQL_WEIGHT[0], SQL_WEIGHT[0].replace("max=", "min="))
    assert "update: different" in drift(source, shorter, {"update": SQL_WEIGHT})  # and no other is
