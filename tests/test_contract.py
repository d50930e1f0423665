"""What the harness expects of every script (benchmark/add_a_method.md)."""

import importlib
import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import copies
import numpy as np
import pytest
import torch
from conftest import ROOT, TINY, checkpoint, result, returns, run, run_dir
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

each_script = pytest.mark.parametrize("script", [path.stem for path in copies.SCRIPTS])
TASKS = {"Pendulum-v1": "x", "AntMaze_Large-v4": "x", "D4RLAntMaze/umaze-v2": "x", "PointMaze-v3": "x"}
TASKS |= {"Hopper-v5": "x-expert"}


@each_script
def test_presets_are_flags(script):
    module = importlib.import_module(script)
    assert module.MEMBERS[0] == "seed", f"{script}.py: the first of MEMBERS is seed"
    for env_id, name in TASKS.items():
        presets = module.presets(SimpleNamespace(id=name, env_spec=SimpleNamespace(id=env_id)))
        unknown = presets.keys() - vars(module.Args()).keys()
        assert not unknown, f"{script}.py: presets() of {env_id} has {unknown}, which Args lacks"
        module.check(replace(module.Args(), **presets))


@each_script
def test_a_member_among_others_is_the_run_alone(script, pendulum):
    module = importlib.import_module(script)
    flags = "--offline-steps 6 --eval-interval 6 --eval-episodes 1 --hidden 8 8".split()
    flags += ["--online-steps", 1] if hasattr(module.Args(), "online_steps") else []
    run(script, *TINY, *flags, "--seed", 1, 2, 3, "--runs-dir", "three")
    run(script, *TINY, *flags, "--seed", 2, "--runs-dir", "one")
    np.testing.assert_allclose(returns("three")[1], returns("one")[0], rtol=1e-3)
    page = (ROOT / "benchmark" / "README.md").read_text()
    tags = EventAccumulator(str(run_dir("one") / "seed2")).Reload().Tags()["scalars"]
    missing = [tag for tag in tags if f"`{tag}`" not in page]
    assert not missing, f"benchmark/README.md, table of tags: add rows for {missing}"
    saved = result("one")["members"][0]["evaluations"][-1]
    for name in module.IN_RESULT:
        assert name in saved, f"{script}.py: IN_RESULT names {module.IN_RESULT[name]}, no loss of update()"
    for name, alone in checkpoint("one")["agent"].items():
        three = checkpoint("three")["agent"][name]
        if alone.is_floating_point() and alone.dim() == 3:
            text = f"{script}.py: {name} depends on the other members"
            torch.testing.assert_close(three[1::3], alone, atol=2e-5, rtol=0, msg=text)
    run_args, weights = result("one")["args"], checkpoint("one")["agent"]
    members = [tuple(member[flag] for flag in module.MEMBERS) for member in result("one")["members"]]
    agent = module.Agent(members, weights["mean"].numpy(), weights["std"].numpy(), 1, module.Args(**run_args))
    actions = module.actor_of(agent, 0)(1000 * torch.randn(1, 9, 3))
    assert actions.abs().max() <= 1, f"{script}.py: actor gives actions outside [-1, 1]"


def train_three(module, poison):
    """Parameters and losses of three members after six updates on random data, member 1 plus poison."""
    args = replace(module.Args(), seed=(1, 2, 3), device="cpu", hidden=(8, 8), batch_size=16, offline_steps=6)
    members = list(itertools.product(*[getattr(args, flag) for flag in module.MEMBERS]))
    numbers, (rows, n, m) = torch.Generator().manual_seed(0), (50, 4, 2)
    data = [torch.rand(rows, *width, generator=numbers) for width in ((n,), (m,), (), (n,), ())]
    data[4] = (data[4] < 0.1).float()
    agent = module.Agent(members, np.zeros(n), np.ones(n), m, args)
    for parameter in agent.parameters():
        parameter.data[1::3] += poison
    optimizers = module.make_optimizers(agent, args)
    generators = [torch.Generator().manual_seed(seed) for seed in args.seed]

    def train_step(indices, *drawn, **flags):
        batch = [part[indices] for part in data] + list(drawn)
        return module.update(agent, optimizers, batch, args, **flags)

    losses = module.train(train_step, optimizers, generators, rows, m, 0, 6, args)
    return dict(agent.named_parameters()), losses


@each_script
def test_a_nan_stays_with_its_member(script):
    """So nothing at all goes from one member to another."""
    module = importlib.import_module(script)
    clean, _ = train_three(module, poison=0.0)
    poisoned, losses = train_three(module, poison=math.nan)
    for name in clean:
        for member in (0, 2):
            is_same = torch.equal(clean[name][member::3], poisoned[name][member::3])
            assert is_same, f"{script}.py: {name} depends on the other members"
    assert losses["qf_loss"][1].isnan() and all(loss[::2].isfinite().all() for loss in losses.values())


ENSEMBLE = dict(critics=10, kappa=2.5, kappa_ood=1.0)
UPDATES = [(path.stem, {}) for path in copies.SCRIPTS] + [("iql", dict(dropout=0.4))]
UPDATES += [("rd_td3", ENSEMBLE | dict(bc_weight=0.0))]
UPDATES += [("rd_sac", ENSEMBLE | dict(cql_alpha=0.0, backup_entropy=True))]
UPDATES += [(script, dict(ood="uniform")) for script in ("rd_td3", "rd_sac")]


@pytest.mark.parametrize("script, changes", UPDATES)
def test_an_update_can_be_recorded(script, changes):
    """As a CUDA graph: it asks nothing of the host (tensors without values raise), and works in place."""
    module, batches = importlib.import_module(script), []
    settings = dict(seed=(1, 2, 3), device="cpu", hidden=(8, 8), batch_size=16, offline_steps=2)
    args = replace(module.Args(), **settings | changes)
    members = list(itertools.product(*[getattr(args, flag) for flag in module.MEMBERS]))
    columns = [torch.zeros(3, 16, *width) for width in ((4,), (2,), (), (4,), ())]

    def make():
        agent = module.Agent(members, np.zeros(4), np.ones(4), 2, args)
        return agent, module.make_optimizers(agent, args)

    def update(batch, flags):
        return module.update(agent, optimizers, batch, args, **flags)

    def train_step(indices, *drawn, **flags):
        batches.append(([*columns, *drawn], flags))
        return update(*batches[-1])

    def addresses():
        state = [t for optimizer in optimizers.values() for s in optimizer.state.values() for t in s.values()]
        return [t.data_ptr() for t in (*agent.state_dict().values(), *state)]

    agent, optimizers = make()
    generators = [torch.Generator().manual_seed(seed) for seed in args.seed]
    module.train(train_step, optimizers, generators, 50, 2, 0, 2, args)  # Adam makes its state
    before = addresses()
    update(*batches[-1])
    assert addresses() == before
    with FakeTensorMode(allow_non_fake_inputs=True):
        agent, optimizers = make()
        for batch, flags in batches:
            losses = update([torch.zeros(part.shape) for part in batch], flags)
        with pytest.raises(DataDependentOutputException):
            losses["qf_loss"].tolist()
