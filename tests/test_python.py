"""What people do with a script: edit its networks, call main(), resume elsewhere, log elsewhere."""

import importlib.util
import math
import multiprocessing
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PENDULUM, ROOT, TINY, assert_equal, checkpoint, ended, fork, result, run, run_dir

import dmg_finetune as ft
import dmg_offline as dmg

RELU = "layers += [Linear(generators, inputs, width), nn.ReLU(inplace=True)]"
SHARED_NORM = "layers += [Linear(generators, inputs, width), nn.LayerNorm(width), nn.GELU()]"
OWN_NORM = "layers += [Linear(generators, inputs, width), Norm(len(generators), width), nn.GELU()]"
NORM_CLASS = """class Norm(nn.Module):
    def __init__(self, networks, width):
        super().__init__()
        self.scale = nn.Parameter(1 + torch.arange(networks).view(-1, 1, 1) + torch.rand(1, 1, width))

    def forward(self, x):
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.scale


def mlp("""


def edited(tmp_path, *changes):
    """A copy of dmg_offline.py with these passages changed, as a module."""
    text = (ROOT / "dmg_offline.py").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "my_dmg.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("my_dmg", path)
    module = sys.modules["my_dmg"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("changes", [[], [(RELU, SHARED_NORM)], [(RELU, OWN_NORM), ("def mlp(", NORM_CLASS)]])
def test_the_actor_that_was_trained_is_played(changes, tmp_path):
    module = edited(tmp_path, *changes)
    agent = module.Agent([(1, 0.25, 0.1), (2, 0.25, 0.1)], np.zeros(3), np.ones(3), 2, module.Args())
    observations = torch.randn(5, 3)
    trained = agent.actor(observations.expand(2, 5, 3))
    for m in range(2):
        played = module.actor_of(agent, m)(observations[None])[0]
        torch.testing.assert_close(played, trained[m])
    assert not torch.allclose(trained[0], trained[1], atol=1e-3)


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_main_from_python_is_the_command_line(pendulum, capsys):
    run("dmg_offline", *TINY, "--seed", 1, 2, "--runs-dir", "by_command")
    changes = dict(env_id=PENDULUM, device="cpu", offline_steps=40, eval_interval=10, log_interval=5)
    changes |= dict(eval_episodes=2, batch_size=16, seed=(1, 2), runs_dir="by_python")
    results = dmg.main(dmg.Args(**changes))
    assert_equal(checkpoint("by_command")["agent"], checkpoint("by_python")["agent"])
    assert results["run_dir"] == str(run_dir("by_python")) and results["step"] == 40
    assert_equal(results["members"], result("by_python")["members"])
    assert result("by_command")["command"][0] == "--env-id" and result("by_python")["command"] == []
    assert "40 of 40 updates" in capsys.readouterr().out


@pytest.mark.parametrize("module", [dmg, ft])
def test_resuming_from_python_takes_the_arguments_of_the_run(module, pendulum):
    online = ["--online-steps", 20] if module is ft else []
    run(module.__name__, *TINY, *online, "--gamma", 0.9)
    before = checkpoint()
    results = module.main(module.Args(resume=str(run_dir()), gamma=0.5, offline_steps=500, device="cpu"))
    assert results["args"]["gamma"] == 0.9 and results["args"]["offline_steps"] == 40
    assert_equal(checkpoint()["agent"], before["agent"])  # it had ended


def test_from_python_too_a_run_of_another_version_is_refused(pendulum, capsys):
    run("dmg_offline", *TINY)
    state = checkpoint()
    del state["run"]["args"]["tau"]
    torch.save(state, run_dir() / "checkpoint.pt")
    with pytest.raises(SystemExit):
        dmg.main(dmg.Args(resume=str(run_dir()), device="cpu"))
    assert "another version, with other flags: tau" in capsys.readouterr().err


@pytest.mark.parametrize("module, flags", [(dmg, []), (ft, ["--online-steps", "1"])])
def test_an_interrupted_call_can_be_resumed_while_its_traceback_is_kept(module, flags, pendulum, monkeypatch):
    """As a notebook keeps it."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as kept:
        patch.setattr(module, "train", interrupted)
        module.main(module.parse_args([*TINY, *flags]))
    assert kept.tb and module.main(module.Args(resume=str(run_dir()), device="cpu"))["step"] >= 40


def test_a_pools_worker_evaluates_by_itself(pendulum, monkeypatch):
    """For it may have no children."""
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert dmg.main(dmg.parse_args(TINY))["step"] == 40


def test_workers_are_handed_bytes_and_no_tensors():
    """The pool would copy tensors by threads of its own: 90 instead of 160 updates/s with two threads."""
    handed = []
    pool = SimpleNamespace(map=lambda play, policies, seeds: handed.extend(policies) or [0.0] * len(seeds))
    agent = dmg.Agent([(1, 0.25, 0.1)], np.zeros(3), np.ones(3), 1, dmg.Args())
    dmg.evaluate(agent, None, pool, [{"seed": 1, "diverged_at": None}], 0, dmg.Args())
    assert handed and {type(policy) for policy in handed} == {bytes}


def test_ctrl_c_is_let_through_again_where_no_worker_can_be_asked(pendulum):
    broken = SimpleNamespace(map=interrupted)
    agent = dmg.Agent([(1, 0.25, 0.1)], np.zeros(3), np.ones(3), 1, dmg.Args())
    with pytest.raises(KeyboardInterrupt):
        dmg.evaluate(agent, None, broken, [{"seed": 1, "diverged_at": None}], 0, dmg.Args())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_arguments_of_another_form_are_refused(capsys):
    others = dict(gamma=np.float64(0.9), seed=(np.int64(1),), runs_dir=ROOT)  # no checkpoint could be read
    others |= dict(offline_steps=1.5e6, batch_size=64.0)  # which would fail late
    others |= dict(gamma="3e-4", tau=None, nu=("0.1",), trust_env="False", learning_rate=True)  # from YAML
    for name, value in (dict(seed=2, lam=0.5, nu=[0.1], hidden=64) | others).items():
        with pytest.raises(SystemExit):
            dmg.main(dmg.Args(**{name: value}))
        assert f"{name}={value!r}: write it like" in capsys.readouterr().err


@pytest.mark.parametrize("module", [dmg, ft])
def test_coefficients_may_be_integers(module):
    agent = module.Agent([(1, 0, 1)], np.zeros(3), np.ones(3), 1, module.Args())
    assert agent.lam.dtype == agent.nu.dtype == torch.float32


def test_help_shows_the_values_of_a_task_without_its_data():
    text = " ".join(run("dmg_offline", "--help", "--env-id", "antmaze-large-play").out.split())
    assert "(default: 0.9)" in text and "(default: 100)" in text and "(default: 50000)" in text
    assert "(default: 0.7)" in " ".join(run("dmg_offline", "--help", "--env-id", "hopper-medium").out.split())


@pytest.mark.parametrize("module", [dmg, ft])
def test_what_was_saved_on_a_gpu_goes_on_on_a_cpu(module):
    """The optimizers' settings are the new device's, and generators that cannot be taken over are new."""
    args = module.Args(device="cpu", hidden=(8,))
    agent = module.Agent([(1, 0.25, 0.1)], np.zeros(3), np.ones(3), 1, args)
    optimizers = module.make_optimizers(agent, args)
    saved = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
    for state in saved.values():
        state["param_groups"][0]["capturable"] = True
    run_of = {"args": vars(args) | {"device": "cuda:0"}, "step": 7}
    foreign = torch.zeros(16, dtype=torch.uint8)  # a GPU's generator has a state of 16 bytes
    saved = {"run": run_of, "agent": agent.state_dict(), "optimizers": saved, "generators": [foreign]}
    generators = [torch.Generator().manual_seed(1)]
    module.restore(saved, agent, optimizers, generators, args)
    for optimizer in optimizers.values():
        assert optimizer.param_groups[0]["capturable"] is False
        assert optimizer.param_groups[0]["lr"].device.type == "cpu"
    assert generators[0].initial_seed() == 8 and run_of["args"]["device"] == "cpu"


def test_without_git_there_is_training(pendulum, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    run("dmg_offline", *TINY)
    assert result()["git_commit"] == "" and result()["step"] == 40


def test_the_run_keeps_its_script_and_the_versions(pendulum):
    run("dmg_offline", *TINY)
    assert (run_dir() / "dmg_offline.py").read_text() == (ROOT / "dmg_offline.py").read_text()
    assert {"torch", "numpy", "gymnasium", "minari", "mujoco", "gymnasium-robotics"} <= result()[
        "versions"
    ].keys()


def test_new_flags_may_be_negative_or_none(tmp_path):
    new = "    reward_shift: float = -1.0  # new\n    clip: float | None = None  # new\n    lam: tuple"
    module = edited(tmp_path, ("    lam: tuple", new))
    module.check(module.Args(device="cpu"))
    module.check(module.Args(device="cpu", reward_shift=-2.0, clip=3.0))
    for bad in (dict(reward_shift=math.nan), dict(clip=-1.0), dict(nu=(-1.0,))):
        with pytest.raises(SystemExit):
            module.check(module.Args(device="cpu", **bad))


def test_track(pendulum, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    ended(fork("dmg_offline", *TINY, "--track"), 0)  # wandb changes SummaryWriter for the rest of its process
    assert list((run_dir() / "wandb").glob("offline-run-*"))


def test_track_without_wandb(pendulum, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "pip install wandb" in run("dmg_offline", *TINY, "--track", code=2).err
