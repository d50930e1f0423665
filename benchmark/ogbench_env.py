"""OGBench's single tasks, as they are scored: an episode returns 1 if it succeeds, otherwise 0.

    gym.make("benchmark.ogbench_env:OGBench/cube-single-singletask-task2-v0")

Starts, goals, time limits and what counts as a success are the library's (pip install ogbench==1.2.2
dm_control==1.0.44). Its own rewards count unmet conditions, so that a return would say how long an episode
took; the data have them (import_ogbench.py), and so has info["training_reward"], for what is seen online.
"""

import warnings
from unittest import mock

import gymnasium as gym
import numpy as np

try:
    import ogbench  # noqa: F401  (registers its environments)
except ImportError as error:
    raise ImportError("OGBench is missing: pip install ogbench==1.2.2 dm_control==1.0.44") from error

TASKS = [name for name in gym.registry if "-singletask" in name and not name.startswith("visual-")]


class OGBenchEnv(gym.Env):
    """The library's environment of a task, such as cube-single-singletask-task2-v0; success ends an episode.

    As the library tells it in its data too, a step is a success if it began in a state that solves the task.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, task, render_mode=None, **size):
        if task not in TASKS:  # it comes from a data set: Gymnasium would import what such a name asks for
            raise ValueError(f"{task} is none of OGBench's tasks")
        self.render_mode = render_mode
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about bounds in float64
            self.env = gym.make(task, disable_env_checker=True, **size)
            self.action_space, self.observation_space = self.env.action_space, self.env.observation_space

    def reset(self, *, seed=None, options=None):
        """A seed repeats an episode to the bit, which the library's own does not."""
        super().reset(seed=seed)
        if seed is None:  # the next episode's, from this environment's own generator
            seed = int(self.np_random.integers(2**31))
        np.random.seed(seed)  # mazes draw their starts there
        self.action_space.seed(seed)
        # robots act at random before they are reset, and make their action space anew for it
        robot = type(self.env.unwrapped)
        with mock.patch.object(robot, "action_space", self.action_space, create=True):
            return self.env.reset(seed=seed)

    def step(self, action):
        observation, reward, _, truncated, info = self.env.step(action)
        success = bool(info["success"])
        info["training_reward"] = float(reward)
        return observation, float(success), success, truncated, info

    def render(self):
        return self.env.unwrapped.render()

    def close(self):
        self.env.close()


for name in TASKS:
    gym.register(f"OGBench/{name}", "benchmark.ogbench_env:OGBenchEnv", kwargs={"task": name})
