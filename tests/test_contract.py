"""What the harness expects of every script (benchmark/add_a_method.md)."""

import importlib
from dataclasses import replace
from types import SimpleNamespace

import copies
import pytest
import torch
from conftest import TINY, checkpoint, result, run

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
    flags = "--offline-steps 6 --eval-interval 6 --eval-episodes 0 --hidden 8 8".split()
    flags += ["--online-steps", 1] if hasattr(module.Args(), "online_steps") else []
    run(script, *TINY, *flags, "--seed", 1, 2, 3, "--runs-dir", "three")
    run(script, *TINY, *flags, "--seed", 2, "--runs-dir", "one")
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
