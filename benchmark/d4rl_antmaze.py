"""D4RL's AntMaze v2 on today's MuJoCo, and an open field in which its ant learns to run to a goal.

    gym.make("benchmark.d4rl_antmaze:D4RLAntMaze/umaze-v2")  # or medium, large, open

The ant is Gymnasium's but for the three things that D4RL's file has otherwise: the time step, softer
contacts, and motors a fifth as strong. An observation of a maze is the state of the physics, position (15
numbers: x, y, z, quaternion, 8 joints) and velocity (14); the goal is not in it.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv, mujoco_env

# D4RL's evaluation mazes: 1 is a wall, R the start, G the goal; y grows with the row, x with the column
MAZES = {
    "umaze": "11111 1R001 11101 1G001 11111",
    "medium": "11111111 1R011001 10010001 11000111 10010001 10100101 100010G1 11111111",
    "large": "111111111111 1R0001000001 101101010101 100000010001 101111011101 100101000001 "
    "110101010111 100100010G01 111111111111",
}
# The cells (row, column) that D4RL's play data run to, from everywhere; its umaze data from the start
DATA_GOALS = {
    "umaze": [(3, 1)],
    "medium": [(2, 6), (5, 1), (6, 5)],
    "large": [(1, 6), (3, 5), (3, 10), (5, 2), (7, 4), (7, 6), (7, 9)],
}
TIME_LIMITS = {"umaze": 700, "medium": 1000, "large": 1000}  # steps of 0.1 s
CELL_SIZE, WALL_HEIGHT, GOAL_RADIUS = 4.0, 2.0, 0.5  # metres
GOAL_OFFSET = 0.75  # in x and y, of the goals that are drawn from the middle of their cell: on average
MOTOR_STRENGTH = 30.0  # of an action of 1
# The open field: distance of new goals (m), steps after which one is given up, highest speed that pays (m/s)
FIELD_RADIUS, GOAL_STEPS, TOP_SPEED = 10.0, 150, 2.0


def cells(maze, marks="0RG"):
    """(row, column) of all cells with one of these marks, by default of all free cells."""
    rows = MAZES[maze].split()
    return [(i, j) for i, row in enumerate(rows) for j, mark in enumerate(row) if mark in marks]


def cell_center(maze, cell):
    """Position (x, y) of the middle of a cell (row, column); the start cell's is (0, 0)."""
    (start,) = cells(maze, "R")
    return CELL_SIZE * np.array([cell[1] - start[1], cell[0] - start[0]])


def build_xml(maze=None):
    """Gymnasium's ant.xml with D4RL's changes and the walls of a maze, as a string."""
    root = ElementTree.parse(Path(mujoco_env.__file__).parent / "assets" / "ant.xml").getroot()
    root.find("option").set("timestep", "0.02")
    root.find("default/geom").attrib.update(solref=".02 1", solimp=".8 .8 .01")
    for motor in root.iter("motor"):
        motor.attrib.update(ctrlrange=f"{-MOTOR_STRENGTH} {MOTOR_STRENGTH}", gear="1")
    for row, column in cells(maze, "1") if maze else []:
        x, y = cell_center(maze, (row, column))
        wall = {"name": f"wall_{row}_{column}", "type": "box", "contype": "1", "conaffinity": "1"}
        wall["pos"] = f"{x} {y} {WALL_HEIGHT / 2}"
        wall["size"] = f"{CELL_SIZE / 2} {CELL_SIZE / 2} {WALL_HEIGHT / 2}"
        ElementTree.SubElement(root.find("worldbody"), "geom", wall, rgba="0.7 0.5 0.3 1")
    return ElementTree.tostring(root, encoding="unicode")


class AntMazeEnv(MujocoEnv):
    """Reward 1 and the end where the ant comes within 0.5 m of the goal (x, y), which each reset draws anew.

    reset(options={"start_cell": (row, column), "goal_cell": (row, column)}) takes other cells than the map's;
    a start cell is spread over as D4RL does it for data with many starts.
    """

    metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"], "render_fps": 10}

    def __init__(self, maze="umaze", **kwargs):
        self.maze, self.goal = maze, np.zeros(2)
        if maze:
            (self.goal_cell,) = cells(maze, "G")
            self.goal_cell_xy = cell_center(maze, self.goal_cell)
        space = gym.spaces.Box(-np.inf, np.inf, (29,), np.float64)
        camera = {"distance": 40.0 if maze else 10.0, "elevation": -60.0}
        super().__init__("ant.xml", 5, observation_space=space, default_camera_config=camera, **kwargs)

    def _initialize_simulation(self):
        model = mujoco.MjModel.from_xml_string(build_xml(self.maze))
        model.vis.global_.offwidth, model.vis.global_.offheight = self.width, self.height
        return model, mujoco.MjData(model)

    def _set_action_space(self):
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.reset_options = options or {}
        return super().reset(seed=seed)

    def reset_model(self):
        self.draw_goal()
        position = self.init_qpos + self.np_random.uniform(-0.1, 0.1, self.model.nq)
        velocity = self.init_qvel + 0.1 * self.np_random.standard_normal(self.model.nv)
        if "start_cell" in self.reset_options:
            start = cell_center(self.maze, self.reset_options["start_cell"])
            position[:2] = start + self.np_random.uniform(0, 1, 2)
        position[3:7] /= np.linalg.norm(position[3:7])  # as D4RL's MuJoCo did by itself
        self.set_state(position, velocity)
        return self.observe()

    def draw_goal(self):
        center = cell_center(self.maze, self.reset_options.get("goal_cell", self.goal_cell))
        noise = self.np_random.uniform(0, 1, 2) + self.np_random.uniform(0, 0.5, 2)
        self.goal = np.maximum(center + noise, 0)

    def observe(self):
        return np.concatenate([self.data.qpos, self.data.qvel])

    def distance(self):
        return np.linalg.norm(self.data.qpos[:2] - self.goal)

    def move(self, action):
        self.do_simulation(MOTOR_STRENGTH * np.clip(action, -1.0, 1.0), self.frame_skip)
        if self.render_mode == "human":
            self.render()

    def step(self, action):
        self.move(action)
        reached = bool(self.distance() <= GOAL_RADIUS)
        return self.observe(), float(reached), reached, False, {"success": reached}


class AntFieldEnv(AntMazeEnv):
    """The ant without walls, rewarded for running to a goal without turning; a fall ends the episode.

    A goal that is reached, or has not been for 15 s, is followed by another one.
    """

    def draw_goal(self):
        angle, radius = self.np_random.uniform(0, 2 * np.pi), FIELD_RADIUS * np.sqrt(self.np_random.uniform())
        self.goal = self.data.qpos[:2] + radius * np.array([np.cos(angle), np.sin(angle)])
        self.goal_age = 0

    def observe(self):
        return running_observation(self.data.qpos, self.data.qvel, self.goal)

    def step(self, action):
        before = self.distance()
        self.move(action)
        speed = (before - self.distance()) / self.dt
        reward = min(speed, TOP_SPEED) + 0.2 - 0.02 * np.square(np.clip(action, -1.0, 1.0)).sum()
        torso = self.data.body("torso").xmat
        reward += 0.5 * (float(torso[0]) - 1)  # 0 where it faces as it began, whichever way it runs
        fallen = bool(torso[8] < 0.5)  # its own z axis, 1 where it points up
        reached = bool(self.distance() <= GOAL_RADIUS)
        self.goal_age += 1
        if reached or self.goal_age == GOAL_STEPS:
            self.draw_goal()
        return self.observe(), float(reward), fallen, False, {"success": reached}


def running_observation(qpos, qvel, goal):
    """What the running ant sees, 29 numbers: its state but for x and y, and the direction of the goal (x, y).

    All as seen from the ground, like D4RL's observations: a policy that learns from those can learn this one.
    """
    way = goal - qpos[:2]
    return np.concatenate([qpos[2:], qvel, way / max(np.linalg.norm(way), 1e-6)])


for name, limit in TIME_LIMITS.items():
    options = {"max_episode_steps": limit, "kwargs": {"maze": name}}
    gym.register(f"D4RLAntMaze/{name}-v2", "benchmark.d4rl_antmaze:AntMazeEnv", **options)
options = {"max_episode_steps": 1000, "kwargs": {"maze": None}}
gym.register("D4RLAntMaze/open-v2", "benchmark.d4rl_antmaze:AntFieldEnv", **options)
