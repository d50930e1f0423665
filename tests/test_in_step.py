"""The scripts repeat each other on purpose: what has the same name is the same in all, in the same order."""

import ast
import difflib

import pytest
from conftest import ROOT

SOURCES = {path.stem: path.read_text() for path in sorted(ROOT.glob("*.py"))}
BASE = SOURCES["dmg_offline"]

# What sets a script apart from dmg_offline, or IQL's from dmg_finetune:
# "new", "missing", "different", or passages (old, new) of a function
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
# IQL has no lam, nu and policy actions in its targets; nothing is handed over, nothing starts from scratch
REMOVED = "checkpoint learning_starts exploration_noise lam_end nu_end decay decay_interval policy_frequency"
REMOVED += " policy_noise noise_clip lam nu q_weight"
IQL = dict.fromkeys([f"Args.{flag}" for flag in REMOVED.split()], "missing")
IQL |= dict.fromkeys(["import itertools", "from types import SimpleNamespace"], "missing")
IQL |= dict.fromkeys(["Simulator", "relax"], "missing")
IQL |= dict.fromkeys(["Args.normalize_rewards", "LOG_STD_RANGE", "log_likelihood", "preprocess"], "new")
IQL |= dict.fromkeys(["Agent", "update", "draw", "check", "parse_args", "explore", "main"], "different")
IQL |= {"Args.online_steps": [("1000000", "0")], "Args.max_weight": [("3.0", "100.0")]}
IQL |= {"Args.normalize_observations": [("True", "False")], "value_loss": [("Eq. (15)", "Eq. (5)")]}
IQL |= {"make_batch": [("rows, noise, widths", "rows, widths"), (".squeeze(-1), noise)", ".squeeze(-1))")]}
INITIALISED = (
    "like nn.Linear, uniformly within 1 / sqrt(inputs), network i from generators[i].",
    "with orthogonal weights of gain sqrt(2), network i from generators[i], and with biases 0.",
)
UNIFORM = """

        def uniform(*shape):
            draws = torch.stack([torch.rand(shape, generator=generator) for generator in generators])
            return nn.Parameter((2 * draws - 1) / math.sqrt(inputs))
        self.weight = uniform(inputs, outputs)
        self.bias = uniform(1, outputs)"""
ORTHOGONAL = """
        weights = torch.empty(len(generators), inputs, outputs)
        for weight, generator in zip(weights, generators):
            nn.init.orthogonal_(weight, math.sqrt(2), generator)
        self.weight = nn.Parameter(weights)
        self.bias = nn.Parameter(torch.zeros(len(generators), 1, outputs))"""
IQL |= {"Linear": [INITIALISED, (UNIFORM, ORTHOGONAL)]}
WITH_LOG_STD = """[*getattr(agent, name).parameters()]
        if name == 'actor':
            parameters.append(agent.log_std)"""
IQL |= {"make_optimizers": [("getattr(agent, name).parameters()", WITH_LOG_STD)]}
NAMED_BY_LAM_AND_NU = """for seed, lam, nu in members:
        name = f'seed{seed}'
        if len(args.lam) > 1:
            name += f'_lam{lam}'
        if len(args.nu) > 1:
            name += f'_nu{nu}'
        member = {'name': name, 'seed': seed, 'lam': lam, 'nu': nu,"""
NAMED_BY_SEED = """for seed in members:
        member = {'name': f'seed{seed}', 'seed': seed,"""
IQL |= {"start_run": [(NAMED_BY_LAM_AND_NU, NAMED_BY_SEED)]}
MAZE = """dict(normalize_observations=task == 'antmaze', step_cost=1.0, nu=(0.5,))
    maze |= dict(inverse_temperature=10.0, max_weight=100.0, expectile=0.9, nu_end=0.005)"""
IQLS_MAZE = "dict(normalize_rewards=False, step_cost=1.0, inverse_temperature=10.0, expectile=0.9)"
EXPERT = "dict(nu=(10.0,), nu_end=0.1) if task in LOCOMOTION and 'expert' in dataset.id else {}"
SCALED = "{} if task in ('hopper', 'halfcheetah', 'walker2d') else dict(normalize_rewards=False)"
IQL |= {"presets": [(MAZE, IQLS_MAZE), (EXPERT, SCALED)]}
DIFFERENCES = {"dmg_xql": XQL, "dmg_sql": SQL, "dmg_finetune": FINETUNE, "iql": IQL}
BASES = {"iql": "dmg_finetune"}
# RD has no V, no weights of actions and no schedule; its critics show features, and it draws uniform actions
RD_FLAGS = "kappa bc_weight rd_coef rd_start rd_switch ood kappa_ood".split()
RD_TD3 = dict.fromkeys([f"Args.{flag}" for flag in RD_FLAGS], "new")
RD_TD3 |= dict.fromkeys(["lower_bound", "spread", "switch_stage", "rd_penalty"], "new")
RD_TD3 |= {f"Args.{flag}": "missing" for flag in "lam nu inverse_temperature max_weight expectile".split()}
RD_TD3 |= {"value_loss": "missing", "Args.q_weight": [("1.0", "2.5")]}
RD_TD3 |= {"Args": [("the authors' for locomotion", "TD3+BC's and, for RD, ours")]}
RD_TD3 |= dict.fromkeys(["Critic", "Agent", "update", "draw", "presets"], "different")
SQUEEZED = (
    "return (observations, actions, rewards.squeeze(-1), next_observations, terminations.squeeze(-1), noise)"
)
WITH_UNIFORM = """rewards, terminations = (rewards.squeeze(-1), terminations.squeeze(-1))
    return (observations, actions, rewards, next_observations, terminations, noise, uniform)"""
RD_TD3 |= {"make_batch": [("rows, noise, ", "rows, noise, uniform, "), (SQUEEZED, WITH_UNIFORM)]}
RATE = "        learning_rate = torch.tensor(args.learning_rate, device=args.device)\n"
OF_V = "V, Q and policy; the learning rate is a tensor, because a CUDA graph would freeze a number."
OPTIMIZERS = [(RATE, ""), ("parameters, learning_rate", "parameters, args.learning_rate")]
OPTIMIZERS += [("'vf', 'qf', 'actor'", "'qf', 'actor', 'clone', 'ood_actor'")]
RD_TD3 |= {"make_optimizers": [*OPTIMIZERS, (OF_V, "Q, the policy and RD's two policies.")]}
RULES = f"""require(max(*args.lam, args.gamma, args.tau) <= 1, '--lam, --gamma and --tau must be at most 1')
    {EXPECTILE_RULE}"""
RDS_RULES = """require(max(args.gamma, args.tau) <= 1, '--gamma and --tau must be at most 1')
    require(args.hidden, '--hidden: RD is about the last hidden layer, give one or more')
    is_fine = args.critics > 1 or args.kappa == args.kappa_ood == 0
    require(is_fine, '--kappa and --kappa-ood are about the spread of critics: give --critics 2 or more')
    require(args.ood in ('policy', 'uniform'), f'--ood {args.ood}: must be policy or uniform')"""
FLAG = ("values = getattr(args, name)", "values, flag = (getattr(args, name), name.replace('_', '-'))")
RD_TD3 |= {
    "check": [(RULES, RDS_RULES), ("'lam', 'nu'", "'rd_coef'"), FLAG, ("{name}: must be", "{flag}: must be")]
}
NAMED_BY_RD_COEF = """for seed, rd_coef in members:
        name = f'seed{seed}'
        if len(args.rd_coef) > 1:
            name += f'_rd{rd_coef}'
        member = {'name': name, 'seed': seed, 'rd_coef': rd_coef,"""
RD_TD3 |= {"start_run": [(NAMED_BY_LAM_AND_NU, NAMED_BY_RD_COEF)]}
SCHEDULE = """            if update_actor:
                progress = (step - args.policy_frequency) / args.offline_steps
                actor_lr.fill_(args.learning_rate * (1 + math.cos(math.pi * progress)) / 2)
"""
MAIN = [(SCHEDULE, ""), ("    actor_lr = optimizers['actor'].param_groups[0]['lr']\n", "")]
MAIN += [("args.seed, args.lam, args.nu", "args.seed, args.rd_coef"), ("seed, _, _ in", "seed, _ in")]
MAIN += [("indices, noise)", "indices, noise, uniform)"), ("indices, noise =", "indices, noise, uniform =")]
MAIN += [("[indices], noise", "[indices], noise, uniform"), ("noise[i]", "noise[i], uniform[i]")]
Q_MEAN = "evaluation['q_mean'] = losses['q_values'][m].item() if losses else math.nan\n            "
FEATURES = "{name: losses[name][m].item() for name in ('cosine', 'phi_norm') if name in losses}"
MAIN += [(Q_MEAN, f"{Q_MEAN}evaluation |= {FEATURES}\n            ")]
RD_TD3 |= {"main": MAIN}
DIFFERENCES |= {"rd_td3": RD_TD3}
# On SAC the policy is a Gaussian with a temperature and no target; CQL draws actions in its penalty
RD_SAC = dict.fromkeys(["LOG_STD_RANGE", "sample", "cql_gap"], "new")
RD_SAC |= {f"Args.{flag}": "missing" for flag in "policy_noise noise_clip q_weight bc_weight".split()}
SAC_FLAGS = "policy_learning_rate backup_entropy cql_alpha cql_actions"
RD_SAC |= {f"Args.{flag}": "new" for flag in SAC_FLAGS.split()}
RD_SAC |= {"Args": [("TD3+BC's", "CQL's as CORL ran it")], "Args.log_interval": [("1000", "250")]}
RD_SAC |= {"Args.hidden": [("256, 256", "256, 256, 256")], "Args.policy_frequency": [("2", "1")]}
RD_SAC |= dict.fromkeys(["Agent", "update", "make_optimizers", "draw"], "different")
AT_ONCE = (
    "require(args.batch_size * args.log_interval <= 100000000.0, "
    "'--batch-size times --log-interval is above 1e8')",
    """actions = 3 + 3 * args.cql_actions if args.cql_alpha else 3
    drawn = actions * args.batch_size * args.log_interval * len(args.seed) * len(args.rd_coef)
    require(drawn <= 40000000.0, f'{drawn:.1e} random actions at once exceed 4e7: lower --log-interval')""",
)
RD_SAC |= {"check": [("args.critics, *args", "args.critics, args.cql_actions, *args"), AT_ONCE]}
QUICK = "maze |= dict(hidden=(64, 64), policy_learning_rate=0.0003, cql_alpha=1.0)\n        "
LOOK = "return maze | dict(offline_steps=15000"
RD_SAC |= {"presets": [(LOOK, QUICK + LOOK)]}
DIFFERENCES |= {"rd_sac": RD_SAC}
BASES["rd_sac"] = "rd_td3"


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


def drift_of(script, source):
    return drift(source, DIFFERENCES[script], SOURCES[BASES.get(script, "dmg_offline")])


@pytest.mark.parametrize("script", [script for script in SOURCES if script != "dmg_offline"])
def test_what_has_the_same_name_is_the_same(script):
    problems = drift_of(script, SOURCES[script])
    base = BASES.get(script, "dmg_offline")
    assert not problems, f"{script} has drifted from {base}\n\n" + "\n\n".join(problems.values())


def test_without_hand_over_arguments_are_parsed_as_in_dmg_offline():
    iql, dmg_offline = definitions(SOURCES["iql"]), definitions(BASE)
    assert iql["parse_args"] == dmg_offline["parse_args"]


PLANTED = {
    "update": ("agent.lam * q_next + (1", "agent.lam * q_data + (1"),
    "Linear": ("baddbmm(self.bias, x, self.weight)", "baddbmm(self.bias, x, 2 * self.weight)"),
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
    if DIFFERENCES[script].get(name) == "different":
        pytest.skip(f"{script} has its own {name}")
    changed = SOURCES[script].replace(*PLANTED[name], 1)
    assert list(drift_of(script, changed)) == [name]


PLANTED_IN_IQL = {
    "Linear": ("math.sqrt(2), generator", "1.0, generator"),
    "value_loss": ("advantage > 0", "advantage > 1"),
    "make_batch": ("(next_observations - agent.mean)", "next_observations"),
    "make_optimizers": ("parameters.append(agent.log_std)", "pass"),
    "start_run": ('"seed": seed', '"seed": 0'),
    "presets": ('"halfcheetah", "walker2d") else', '"halfcheetah", "ant") else'),
    "Args.online_steps": ("online_steps: int = 0", "online_steps: int = 1"),
    "Args.max_weight": ("max_weight: float = 100.0", "max_weight: float = 10.0"),
    "play": ("np.tanh(", "np.sin("),
    "save": ("online_rows.clone()", "online_rows"),
}


@pytest.mark.parametrize("name", PLANTED_IN_IQL)
def test_a_planted_drift_in_iqls_passages_is_caught(name):
    changed = SOURCES["iql"].replace(*PLANTED_IN_IQL[name], 1)
    assert changed != SOURCES["iql"] and list(drift_of("iql", changed)) == [name]


def test_an_allowance_without_need_is_reported():
    """And comments do not matter."""
    assert not drift(BASE.replace("\ndef fail(", "\n# a remark\n\ndef fail("), {})
    for allowed in ("different", "new", "missing", [("a line of long ago", "another")], [SQL_WEIGHT]):
        assert list(drift(BASE, {"update": allowed})) == ["update"]
    assert list(drift(BASE, {"vanished": "new"})) == ["vanished"]
