"""Algorithm 1 for one member in NumPy: float64, gradients by hand, from the paper and the authors' constants.

A network is a list [w1, b1, w2, b2, ...], w of shape (inputs, outputs); `nets` has lists of them by name.
"""

import numpy as np
import torch

NAMES = ("actor", "qf", "vf", "actor_target", "qf_target")


def forward(net, x):
    inputs = []
    for i in range(0, len(net), 2):
        inputs.append(x)
        x = x @ net[i] + net[i + 1]
        x = np.maximum(x, 0) if i + 2 < len(net) else x
    return x, inputs


def backward(net, inputs, gradient):
    """-> gradients of the arrays and of the input."""
    gradients = []
    for i in reversed(range(len(inputs))):
        gradients[:0] = [inputs[i].T @ gradient, gradient.sum(0)]
        gradient = (gradient @ net[2 * i].T) * (inputs[i] > 0 if i else 1)
    return gradients, gradient


# ---- value losses and their derivative in V, from A = min Q'(s, a) - V(s) ----


def expectile_value(a, args):
    factor = np.where(a > 0, args.expectile, 1 - args.expectile)
    return (factor * a**2).mean(), -2 * factor * a / len(a)


def gumbel_value(a, args):
    z = np.minimum(a / args.gumbel_beta, args.max_clip)
    scale = np.exp(-max(-1, z.max()))
    slope = np.where(a / args.gumbel_beta < args.max_clip, 1 - np.exp(z), 0) / args.gumbel_beta
    return (np.exp(z) - z - 1).mean() * scale, slope * scale / len(a)


def sparse_value(a, args):
    u = np.maximum(1 + a / (2 * args.sql_alpha), 0)
    return (u**2 - a / args.sql_alpha).mean(), (1 - u) / args.sql_alpha / len(a)


VALUES = {"dmg_offline": expectile_value, "dmg_xql": gumbel_value, "dmg_sql": sparse_value}


class Reference:
    """DMG with these arguments; or a method with a value loss, weight of data actions, ... of its own."""

    def __init__(self, nets, args, lam, nu, value, weight=None, next_value=None, q_factor=None):
        self.nets, self.args, self.value, self.nu = nets, args, value, nu
        self.weight = weight or (lambda a: np.minimum(np.exp(args.inverse_temperature * a), args.max_weight))
        self.next_value = next_value or (lambda q, v: lam * q + (1 - lam) * v)
        self.q_factor = args.q_weight if q_factor is None else q_factor
        self.moments = {name: [[[0 * w, 0 * w] for w in net] for net in nets[name]] for name in NAMES[:3]}
        self.steps, self.gradients = dict.fromkeys(NAMES[:3], 0), {}

    def v(self, s):
        return forward(self.nets["vf"][0], s)[0][:, 0]

    def q(self, name, s, a):
        return [forward(net, np.concatenate([s, a], 1))[0][:, 0] for net in self.nets[name]]

    def pi(self, name, s):
        return np.tanh(forward(self.nets[name][0], s)[0])

    def adam(self, name, outputs, x, lr):
        """A step of Adam for the nets of this name, from the loss's derivatives in their outputs for x."""
        self.steps[name] += 1
        t, self.gradients[name] = self.steps[name], []
        for net, moments, output in zip(self.nets[name], self.moments[name], outputs):
            gradients = backward(net, forward(net, x)[1], output)[0]
            self.gradients[name].append(gradients)
            for w, m, g in zip(net, moments, gradients):
                m[:] = 0.9 * m[0] + 0.1 * g, 0.999 * m[1] + 0.001 * g**2
                w -= lr * (m[0] / (1 - 0.9**t)) / (np.sqrt(m[1] / (1 - 0.999**t)) + 1e-8)

    def update(self, batch, update_actor, lr=3e-4, actor_lr=3e-4):
        s, a, r, s2, d, noise = batch
        args, n = self.args, len(s)
        q_data = np.min(self.q("qf_target", s, a), 0)
        vf_loss, slope = self.value(q_data - self.v(s), args)  # Eq. (15)
        self.adam("vf", [slope[:, None]], s, lr)

        a2 = np.clip(self.pi("actor_target", s2) + noise, -1, 1)
        y = r + args.gamma * (1 - d) * self.next_value(
            np.min(self.q("qf_target", s2, a2), 0), self.v(s2)
        )  # Eq. (16)
        errors = [q - y for q in self.q("qf", s, a)]
        self.adam("qf", [2 * error[:, None] / n for error in errors], np.concatenate([s, a], 1), lr)
        losses = {"vf_loss": vf_loss, "qf_loss": np.square(errors).mean(1).sum(), "q_values": q_data.mean()}
        if not update_actor:
            return losses

        weight, p = self.weight(q_data - self.v(s)), self.pi("actor", s)
        qs = self.q("qf", s, p)
        q, x = np.min(qs, 0), np.concatenate([s, p], 1)
        scale = self.q_factor / np.abs(q).mean()
        distance = ((p - a) ** 2).mean(1)
        losses |= {"weight": weight.mean(), "actor_loss": (self.nu * weight * distance - scale * q).mean()}
        gradient = 2 * self.nu * weight[:, None] * (p - a) / p.size  # Eq. (14): towards the data
        for net, own in zip(self.nets["qf"], qs):  # and up the smallest Q
            gradient += backward(net, forward(net, x)[1], -scale / n * (own == q)[:, None])[1][
                :, s.shape[1] :
            ]
        self.adam("actor", [gradient * (1 - p**2)], s, actor_lr)
        for name in ("actor", "qf"):
            for slow, fast in zip(self.nets[f"{name}_target"], self.nets[name]):
                for w_slow, w_fast in zip(slow, fast):
                    w_slow += args.tau * (w_fast - w_slow)
        return losses


# ---- between a script's agent and lists of arrays ----


def arrays_of(agent, m=0, what="data"):
    """Member m's nets as float64 arrays; or, with what="grad", their gradients."""
    members, found = len(agent.lam), {}
    for name in NAMES:
        parameters = [getattr(p, what) for p in getattr(agent, name).parameters()]
        if parameters[0] is not None:
            rows = range(m, len(parameters[0]), members)  # of a critic, one for each head
            arrays = [[p[row].double().numpy().copy() for p in parameters] for row in rows]
            found[name] = [
                [w.reshape(w.shape[-1:]) if i % 2 else w for i, w in enumerate(net)] for net in arrays
            ]
    return found


class Plain(torch.nn.Module):
    """The same networks made of nn.Linear, with no member axis, as somebody else's script has them."""

    class Net(torch.nn.Module):
        def __init__(self, nets, name):
            super().__init__()
            self.name, self.nets = name, torch.nn.ModuleList()
            for net in nets:
                layers = []
                for w, b in zip(net[::2], net[1::2]):
                    layers += [torch.nn.Linear(*w.shape, dtype=torch.float64), torch.nn.ReLU()]
                    layers[-2].load_state_dict({"weight": torch.tensor(w.T), "bias": torch.tensor(b)})
                self.nets.append(torch.nn.Sequential(*layers[:-1]))

        def forward(self, *inputs):
            outs = [net(torch.cat(inputs, -1)) for net in self.nets]
            if "actor" in self.name:
                return outs[0].tanh()
            return torch.stack(outs).squeeze(-1) if "qf" in self.name else outs[0].squeeze(-1)

    def __init__(self, nets, lam, nu):
        super().__init__()
        self.lam, self.nu = lam, nu
        for name in NAMES:
            setattr(self, name, Plain.Net(nets[name], name).requires_grad_("target" not in name))

    def arrays(self, what="data"):
        found = {}
        for name in NAMES:
            nets = [[getattr(p, what) for p in net.parameters()] for net in getattr(self, name).nets]
            if nets[0][0] is not None:
                found[name] = [[p.numpy().T.copy() for p in net] for net in nets]
        return found
