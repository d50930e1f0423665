"""The comparison with the authors' code, on a stand-in of theirs: faults on either side are noticed."""

import sys

import parity
import pytest
import torch

import dmg_offline as dmg

# DMG from the paper's equations, in the form in which parity.py expects the authors' DMG.py
STAND_IN = """
from copy import deepcopy
from math import cos, pi

import torch
from torch import nn


def mlp(inputs, outputs):
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs)
    )


class MinOfTwo(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.nets = nn.ModuleList([mlp(inputs, 1), mlp(inputs, 1)])

    def both(self, s, a):
        return [net(torch.cat([s, a], 1)) for net in self.nets]

    def forward(self, s, a):
        return torch.minimum(*self.both(s, a))


class DMG:
    def __init__(self, state_dim, action_dim, max_action, replay_buffer, nu, expectile, temp, antmaze):
        self.buffer, self.nu, self.expectile, self.temp = replay_buffer, nu, expectile, temp
        self.max_weight, self.lam, self.step = 100 if antmaze else 3, 0.25, 0
        self.actor = nn.Sequential(mlp(state_dim, action_dim), nn.Tanh())
        self.critic, self.value_critic = MinOfTwo(state_dim + action_dim), mlp(state_dim, 1)
        self.actor_target, self.critic_target = deepcopy(self.actor), deepcopy(self.critic)
        for name in ("actor", "critic", "value_critic"):
            setattr(self, f"{name}_adam", torch.optim.Adam(getattr(self, name).parameters(), 3e-4))

    def descend(self, name, loss):
        adam = getattr(self, f"{name}_adam")
        adam.zero_grad()
        loss.backward()
        adam.step()

    def advantage(self, s, a):
        return self.critic_target(s, a).detach() - self.value_critic(s)

    def train_offline(self, batch_size=256, writer=None):
        s, a, s2, r, not_done = self.buffer.sample(batch_size)
        self.step += 1
        self.learn_value(s, a)
        self.learn_critic(s, a, r, s2, not_done)
        if self.step % 2 == 0:
            self.learn_actor(s, a)
            self.move_targets()

    def learn_value(self, s, a):  # Eq. (15)
        advantage = self.advantage(s, a)
        share = (self.expectile - (advantage < 0).double()).abs()
        self.descend("value_critic", (share * advantage**2).mean())

    @torch.no_grad()
    def target(self, r, s2, not_done):  # Eq. (16)
        noise = (0.2 * torch.randn(len(s2), 6)).clamp(-0.5, 0.5)
        a2 = (self.actor_target(s2) + noise).clamp(-1, 1)
        mixed = self.lam * self.critic_target(s2, a2) + (1 - self.lam) * self.value_critic(s2)
        return r + 0.99 * not_done * mixed

    def learn_critic(self, s, a, r, s2, not_done):
        y = self.target(r, s2, not_done)
        self.descend("critic", sum(((q - y) ** 2).mean() for q in self.critic.both(s, a)))

    def learn_actor(self, s, a):  # Eq. (14), with Q divided by its size
        weight = (self.temp * self.advantage(s, a).detach()).exp().clamp(max=self.max_weight)
        p = self.actor(s)
        q = self.critic(s, p)
        self.actor_adam.param_groups[0]["lr"] = 1.5e-4 * (1 + cos(pi * (self.step - 2) / 1e6))
        self.descend("actor", -q.mean() / q.abs().mean().detach() + self.nu * (weight * (p - a) ** 2).mean())

    @torch.no_grad()
    def move_targets(self):
        for name in ("actor", "critic"):
            slow, fast = getattr(self, f"{name}_target"), getattr(self, name)
            for w, w2 in zip(slow.parameters(), fast.parameters()):
                w += 0.005 * (w2 - w)
"""
Q_STEP, V_STEP = "        self.learn_critic(s, a, r, s2, not_done)\n", "        self.learn_value(s, a)\n"
FAULTS = {  # what is wrong: what it replaces, and by what
    "expectile swapped": ("advantage < 0", "advantage > 0"),
    "V of before its update in the target of Q": (V_STEP + Q_STEP, Q_STEP + V_STEP),
    "noise not clipped": (".clamp(-0.5, 0.5)", ""),
    "next action not clipped": (".clamp(-1, 1)", ""),
    "terminations bootstrap": ("* not_done * mixed", "* mixed"),
    "lam and 1 - lam swapped": (
        "self.lam, self.step = 100 if antmaze else 3, 0.25, 0",
        "self.lam, self.step = 100 if antmaze else 3, 0.75, 0",
    ),
    "one critic in the policy": ("q = self.critic(s, p)", "q = self.critic.both(s, p)[0]"),
    "Q of the policy as it is": (" / q.abs().mean().detach()", ""),
    "pull away from the data": ("+ self.nu", "- self.nu"),
    "weights without a cap": (".clamp(max=self.max_weight)", ""),
    "cap of another task": ("100 if antmaze else 3", "3 if antmaze else 100"),
    "targets at every update": (
        "if self.step % 2 == 0:\n",
        "self.move_targets()\n        if self.step % 2 == 0:\n",
    ),
}


@pytest.fixture
def end_of(tmp_path, monkeypatch):
    """Function: run the tool on a clone with this DMG.py; returns its error, None without one."""

    def end(source, updates=2):
        if source is not None:
            (tmp_path / "DMG.py").write_text(source)
        monkeypatch.setattr(sys, "argv", ["parity.py", str(tmp_path), "--updates", str(updates)])
        try:
            return parity.main()
        except SystemExit as stop:
            return stop.code

    yield end
    torch.set_default_dtype(torch.float32)


def test_the_equations_agree_to_rounding(end_of, capsys):
    assert end_of(STAND_IN, updates=20) is None
    head, *rows, verdict = capsys.readouterr().out.splitlines()
    assert head.split() == ["actor", "actor_target", "qf", "qf_target", "vf"]
    numbers = {preset: [float(number) for number in row] for preset, *row in map(str.split, rows)}
    assert numbers.keys() == {"locomotion", "antmaze"} and {len(row) for row in numbers.values()} == {5}
    largest = max(sum(numbers.values(), []))
    assert 0 < largest < 1e-13 and f"{largest:.1e}" in verdict  # exactly 0 would be two names of one thing


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_theirs_is_noticed(end_of, fault):
    old, new = FAULTS[fault]
    assert STAND_IN.count(old) == 1
    assert "differ by more than rounding" in end_of(STAND_IN.replace(old, new))


def test_a_fault_of_ours_is_noticed(end_of, monkeypatch):
    monkeypatch.setattr(dmg, "value_loss", lambda advantage, args: advantage.square().mean(-1))
    assert "differ by more than rounding" in end_of(STAND_IN)


def test_nan_is_noticed(end_of):
    assert "differ by more than rounding" in end_of(STAND_IN.replace("r + 0.99", "r / 0 + 0.99"))


@pytest.mark.parametrize(
    "old, new, reason",
    [
        (None, None, "there is no"),
        ("import torch\n", "import nowhere\n", "No module named 'nowhere'"),
        ("def mlp", "def def mlp", "SyntaxError"),
        ("class DMG", "class Another", "has no attribute 'DMG'"),
        ("expectile, temp, antmaze", "tau, temp, antmaze", "unexpected keyword argument 'expectile'"),
        ("value_critic", "value", "has no attribute 'value_critic'"),
        ("nn.ReLU(), nn.Linear(256, 256)", "nn.ReLU()", "zip()"),
        ("256", "128", "size mismatch"),
        ("def train_offline", "def train", "has no attribute 'train_offline'"),
        ("s2, r, not_done = self", "s2, r, not_done, extra = self", "not enough values to unpack"),
    ],
)
def test_another_file_ends_in_one_line(end_of, old, new, reason):
    end = end_of(old and STAND_IN.replace(old, new))
    assert end.startswith("error: ") and reason in end and "\n" not in end


def test_a_mistake_of_ours_shows_where_it_is(end_of, monkeypatch):
    def update(*_):
        raise ValueError("ours")

    monkeypatch.setattr(dmg, "update", update)
    with pytest.raises(ValueError, match="ours"):
        end_of(STAND_IN)
