"""Do dmg_offline.py and the authors' code compute the same? Both train side by side and are compared.

    git clone https://github.com/maoyixiu/DMG authors
    python benchmark/parity.py authors

From the same weights, both make 200 updates on the same made-up batches with the same noise, in float64: ours
with `update`, theirs with `train_offline` of the clone's DMG.py, which is executed. The table has, for each
network, the norm of what its weights differ by, as a share of the norm of its weights. Rounding makes some
1e-15; the program fails if there is more than 1e-12.
"""

import contextlib
import importlib.util
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import dmg_offline as dmg

# Our name of a network: the authors' name
NETWORKS = {"actor": "actor", "actor_target": "actor_target", "qf": "critic", "qf_target": "critic_target"}
NETWORKS |= {"vf": "value_critic"}
# What a task sets: in our Args, and in the authors' constructor. All else are the defaults of both.
OURS = dict(nu=(0.5,), expectile=0.9, inverse_temperature=10.0, max_weight=100.0)
PRESETS = {
    "locomotion": ({}, dict(nu=0.1, expectile=0.7, temp=3.0, antmaze=False)),
    "antmaze": (OURS, dict(nu=0.5, expectile=0.9, temp=10.0, antmaze=True)),
}
OBSERVATION_DIM, ACTION_DIM = 17, 6
LIMIT = 1e-12


@dataclass
class Args:
    authors: Annotated[Path, tyro.conf.Positional]  # folder of a clone of the authors' repository
    updates: int = 200  # number of updates; every second one is also the actor's and the targets'


class Batches:
    """In the place of the authors' replay buffer: hands out the batch that was put in."""

    def sample(self, batch_size):
        return self.batch


@contextlib.contextmanager
def authors_code(path):
    """End the program with one line where the authors' code is not what this file was written for."""
    try:
        yield
    except Exception as error:  # of any class, because the file may hold anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        sys.exit(f"error: {path} is not the authors' DMG.py as it is known here ({reason:.200})")


def load(path):
    """The authors' DMG.py as a module; it imports PyTorch and NumPy alone."""
    spec = importlib.util.spec_from_file_location("authors", path)
    module = importlib.util.module_from_spec(spec)
    with authors_code(path):
        spec.loader.exec_module(module)
    module.device = torch.device("cpu")  # where its networks are made
    return module


def weights_of(theirs, ours):
    """The weights of a network of the authors in the shapes of ours: (N, inputs, outputs), (N, 1, outputs).

    N is the number of networks, 2 of critics. The authors have an nn.Linear for each layer of each.
    """
    count = len(next(ours.parameters()))
    parameters = [p.detach() for p in theirs.parameters()]  # network after network
    parameters = [p.T if p.ndim == 2 else p[None] for p in parameters]
    n = len(parameters) // count
    return [torch.stack(parameters[i::n]) for i in range(n)]


def make_batch(rng, size):
    """Observations, actions, rewards, next observations and terminations, as `update` takes them."""
    s, s2 = rng.normal(size=(2, 1, size, OBSERVATION_DIM))
    a = rng.uniform(-1, 1, (1, size, ACTION_DIM))
    r = rng.normal(size=(1, size))
    terminations = (rng.random((1, size)) < 0.1).astype(float)
    return [torch.from_numpy(part) for part in (s, a, r, s2, terminations)]


def make_both(authors, args, their_settings, batches):
    """Our agent, the authors', and pairs of their networks, which have the same weights.

    They are wide, so that advantages reach the cap and actions the bounds.
    """
    mean, std = np.zeros(OBSERVATION_DIM), np.ones(OBSERVATION_DIM)
    ours = dmg.Agent([(1, args.lam[0], args.nu[0])], mean, std, ACTION_DIM, args)
    torch.manual_seed(0)
    with authors_code(authors.__file__):
        theirs = authors.DMG(OBSERVATION_DIM, ACTION_DIM, 1.0, batches, **their_settings)
        pairs = [(getattr(ours, name), getattr(theirs, their_name)) for name, their_name in NETWORKS.items()]
        for our_network, their_network in pairs:
            for p in their_network.parameters():
                p.data *= 1.5 + torch.rand(())  # targets and networks become different, too
            weights = weights_of(their_network, our_network)
            our_network.load_state_dict(dict(zip(our_network.state_dict(), weights, strict=True)))
    return ours, theirs, pairs


def compare(authors, preset, updates):
    """For each of NETWORKS the relative difference of its weights after the updates."""
    our_settings, their_settings = PRESETS[preset]
    args = replace(dmg.Args(), device="cpu", **our_settings)
    batches = Batches()
    ours, theirs, pairs = make_both(authors, args, their_settings, batches)
    optimizers = dmg.make_optimizers(ours, args)
    rng = np.random.default_rng(0)
    for step in range(1, updates + 1):
        s, a, r, s2, terminations = batch = make_batch(rng, args.batch_size)
        batches.batch = s[0], a[0], s2[0], r[0, :, None], 1 - terminations[0, :, None]
        torch.manual_seed(step)
        with authors_code(authors.__file__):
            theirs.train_offline(args.batch_size)  # draws nothing but the noise
        torch.manual_seed(step)
        noise = (args.policy_noise * torch.randn(a.shape)).clamp(-args.noise_clip, args.noise_clip)
        update_actor = step % args.policy_frequency == 0
        if update_actor:  # the cosine, which is applied outside update
            progress = (step - args.policy_frequency) / args.offline_steps
            learning_rate = args.learning_rate * (1 + math.cos(math.pi * progress)) / 2
            optimizers["actor"].param_groups[0]["lr"].fill_(learning_rate)
        dmg.update(ours, optimizers, (*batch, noise), args, update_actor)

    differences = []
    for our_network, their_network in pairs:
        w = torch.cat([weights.flatten() for weights in our_network.parameters()])
        w_theirs = torch.cat([weights.flatten() for weights in weights_of(their_network, our_network)])
        differences.append(((w - w_theirs).norm() / w_theirs.norm()).item())
    return differences


def main():
    args = tyro.cli(Args, description=__doc__)
    path = args.authors / "DMG.py"
    if not path.is_file():
        sys.exit(f"error: there is no {path}: give a clone of https://github.com/maoyixiu/DMG")
    torch.set_default_dtype(torch.float64)  # that of all networks, ours and theirs
    authors = load(path)
    everything = []
    print(f"{'':12}" + "".join(f"{name:>14}" for name in NETWORKS))
    for preset in PRESETS:
        differences = compare(authors, preset, args.updates)
        print(f"{preset:12}" + "".join(f"{difference:14.1e}" for difference in differences))
        everything += differences
    if not all(difference <= LIMIT for difference in everything):  # NaN is no parity either
        sys.exit(f"error: after {args.updates} updates the two differ by more than rounding")
    print(f"after {args.updates} updates the largest relative difference is {max(everything):.1e}")


if __name__ == "__main__":
    main()
