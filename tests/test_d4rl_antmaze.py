"""D4RL's AntMaze: the compiled model against the maze and D4RL's numbers, and the rules of an episode."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from benchmark import d4rl_antmaze
from benchmark.d4rl_antmaze import cell_center, cells, running_observation

# D4RL's evaluation mazes, once more: # is a wall, S the start, G the goal
MAPS = {
    "umaze": """
        #####
        #S  #
        ### #
        #G  #
        #####""",
    "medium": """
        ########
        #S ##  #
        #  #   #
        ##   ###
        #  #   #
        # #  # #
        #   # G#
        ########""",
    "large": """
        ############
        #S   #     #
        # ## # # # #
        #      #   #
        # #### ### #
        #  # #     #
        ## # # # ###
        #  #   # G #
        ############""",
}
WALLS = {"umaze": 18, "medium": 38, "large": 62}
GOALS = {"umaze": (0, 8), "medium": (20, 20), "large": (32, 24)}  # D4RL's cells, in D4RL's coordinates


@pytest.fixture(scope="module", params=WALLS)
def maze(request):
    """An environment of each maze, as Gymnasium makes it."""
    env = gym.make(f"benchmark.d4rl_antmaze:D4RLAntMaze/{request.param}-v2")
    yield env
    env.close()


@pytest.fixture(scope="module")
def umaze():
    return gym.make("D4RLAntMaze/umaze-v2").unwrapped


@pytest.fixture(scope="module")
def field():
    return gym.make("D4RLAntMaze/open-v2").unwrapped


def place(env, xy, goal):
    """The ant at rest at xy, on its legs."""
    qpos = env.init_qpos.copy()
    qpos[:2] = xy
    env.set_state(qpos, np.zeros(14))
    env.goal = np.array(goal, float)


def test_every_cell_is_a_wall_or_free_as_in_the_map(maze):
    env = maze.unwrapped
    rows = [line.strip() for line in MAPS[env.maze].split("\n")[1:]]
    boxes = np.flatnonzero(env.model.geom_type == mujoco.mjtGeom.mjGEOM_BOX)
    assert len(boxes) == WALLS[env.maze]
    assert (env.model.geom_size[boxes] == [2, 2, 1]).all() and (env.model.geom_pos[boxes, 2] == 1).all()
    assert (env.model.geom_contype[boxes] == 1).all() and (env.model.geom_conaffinity[boxes] == 1).all()
    centers = set(map(tuple, env.model.geom_pos[boxes, :2]))
    for i, row in enumerate(rows):
        for j, mark in enumerate(row):
            assert (mark == "#") == (
                (4 * (j - 1), 4 * (i - 1)) in centers
            )  # the start cell (1, 1) is at (0, 0)
            assert (mark == "S") == ((i, j) in cells(env.maze, "R"))
            assert (mark == "G") == ((i, j) == env.goal_cell)


def test_start_goal_and_time_limit_are_d4rls(maze):
    env = maze.unwrapped
    assert tuple(env.goal_cell_xy) == GOALS[env.maze]
    assert tuple(cell_center(env.maze, (1, 1))) == (0, 0) and cells(env.maze, "R") == [(1, 1)]
    assert maze.spec.max_episode_steps == (700 if env.maze == "umaze" else 1000)
    assert set(d4rl_antmaze.DATA_GOALS[env.maze]) <= set(cells(env.maze))


def test_the_model_is_d4rls_ant(maze):
    model = maze.unwrapped.model
    assert model.body_mass.sum() == pytest.approx(0.91088, abs=1e-5)
    assert model.opt.timestep == 0.02 and model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert maze.unwrapped.frame_skip == 5 and maze.unwrapped.dt == pytest.approx(0.1)
    assert (model.nq, model.nv, model.nu) == (15, 14, 8)
    assert (model.actuator_ctrlrange == [-30, 30]).all() and (model.actuator_gear[:, 0] == 1).all()
    assert (model.geom_solref == [0.02, 1]).all() and (model.geom_solimp[:, :3] == [0.8, 0.8, 0.01]).all()
    assert (model.geom_margin == 0.01).all() and (model.geom_friction == [1, 0.5, 0.5]).all()
    assert (model.dof_armature[6:] == 1).all() and (model.dof_damping[6:] == 1).all()
    hips, ankles = np.degrees(model.jnt_range[1::2]), np.degrees(model.jnt_range[2::2])
    np.testing.assert_allclose(hips, [[-30, 30]] * 4)
    np.testing.assert_allclose(ankles, [[30, 70], [-70, -30], [-70, -30], [30, 70]])
    motors = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, j) for j in model.actuator_trnid[:, 0]]
    assert motors == ["hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3"]


def test_spaces_and_the_order_of_the_29_numbers(maze):
    env = maze.unwrapped
    assert maze.observation_space.shape == (29,)
    assert maze.action_space == gym.spaces.Box(-1, 1, (8,), np.float32)
    qpos, qvel = np.arange(15) / 10, np.arange(14) - 5.0
    env.set_state(qpos, qvel)
    np.testing.assert_array_equal(env.observe(), [*qpos, *qvel])
    assert mujoco.mj_id2name(env.model, mujoco.mjtObj.mjOBJ_JOINT, 1) == "hip_1"  # number 7 of an observation


def test_goals_are_drawn_anew_around_the_goal_cell(maze):
    env = maze.unwrapped
    maze.reset(seed=0)
    goals = np.array([maze.reset() and env.goal.copy() for _ in range(1500)]) - GOALS[env.maze]
    assert goals.min() > 0 and goals.max() < 1.5 and len(np.unique(goals)) == goals.size
    np.testing.assert_allclose(goals.mean(0), d4rl_antmaze.GOAL_OFFSET, atol=0.035)  # of U(0, 1) + U(0, 0.5)
    np.testing.assert_allclose(goals.var(0), (1 + 0.25) / 12, atol=0.015)
    np.testing.assert_allclose((goals < 0.5).mean(0), 0.25, atol=0.06)  # of U(0, 1.5) it would be a third
    assert abs(np.corrcoef(goals.T)[0, 1]) < 0.15


def test_starts_are_noisy_as_in_d4rl(umaze):
    umaze.reset(seed=0)
    starts = np.array([umaze.reset()[0] for _ in range(600)])
    qpos, qvel = starts[:, :15] - umaze.init_qpos, starts[:, 15:]
    assert tuple(umaze.init_qpos[:4]) == (0, 0, 0.75, 1)
    np.testing.assert_allclose(np.linalg.norm(starts[:, 3:7], axis=1), 1)
    uniform = np.delete(qpos, 3, axis=1)  # without w, which only makes the quaternion's norm 1
    assert np.abs(uniform).max() < 0.111
    np.testing.assert_allclose(uniform.std(0), 0.1 / 3**0.5, atol=0.005)
    np.testing.assert_allclose(qvel.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(qvel.std(0), 0.1, atol=0.012)
    assert np.abs(qvel).max() > 0.3  # normal, not uniform


def test_other_start_and_goal_cells(umaze):
    for _ in range(20):
        observation, _ = umaze.reset(options={"start_cell": (3, 3), "goal_cell": (1, 2)})
        assert (observation[:2] >= 8).all() and (observation[:2] <= 9).all()
        assert (umaze.goal >= (4, 0)).all() and (umaze.goal <= (5.5, 1.5)).all()
    observation, _ = umaze.reset()
    assert np.abs(observation[:2]).max() <= 0.1 and (umaze.goal >= (0, 8)).all()


@pytest.mark.parametrize("offset, reached", [(0.499, True), (0.501, False)])
def test_the_episode_ends_with_reward_1_within_half_a_metre(umaze, offset, reached):
    umaze.reset(seed=0)
    place(umaze, (4, 0), (6, 0))
    assert umaze.step(np.zeros(8))[1:4] == (0.0, False, False)
    place(umaze, (4, 0), (6, 0))
    after = umaze.step(np.zeros(8))[0][:2]  # where the ant will be
    place(umaze, (4, 0), after + [0.6 * offset, -0.8 * offset])
    _, reward, terminated, truncated, info = umaze.step(np.zeros(8))
    assert (reward, terminated, truncated, info["success"]) == (float(reached), reached, False, reached)


def test_nothing_else_ends_an_episode_but_its_time(maze):
    maze.reset(seed=0)
    qpos = maze.unwrapped.init_qpos.copy()
    qpos[3:7] = 0, 1, 0, 0  # on its back
    maze.unwrapped.set_state(qpos, np.zeros(14))
    limit = maze.spec.max_episode_steps
    ends = [maze.step(np.zeros(8))[1:4] for _ in range(limit if maze.unwrapped.maze == "umaze" else 20)]
    assert ends[:-1] == [(0.0, False, False)] * (len(ends) - 1)
    assert ends[-1] == (0.0, False, len(ends) == limit)


def test_walls_stop_the_ant(umaze):
    umaze.reset(seed=0)
    place(umaze, (0, 0), (0, 8))
    umaze.data.qvel[1] = -20
    lowest = min(umaze.step(np.zeros(8))[0][1] for _ in range(20))
    assert -1.8 < lowest < -0.5  # the wall's face is at y = -2, the torso's radius 0.25


def rollout(env, seed, steps=60):
    rng, observations = np.random.default_rng(5), [env.reset(seed=seed)[0]]
    for _ in range(steps):
        observations.append(env.step(rng.uniform(-1, 1, 8))[0])
    return np.array(observations), env.unwrapped.goal


def test_a_seed_repeats_bit_for_bit(maze, field):
    for env, other in (maze, gym.make(maze.spec)), (field, gym.make("D4RLAntMaze/open-v2")):
        (first, goal), (again, same_goal) = rollout(env, 3), rollout(env, 3)
        fresh, fresh_goal = rollout(other, 3)
        assert (first == again).all() and (first == fresh).all()
        assert (goal == same_goal).all() and (goal == fresh_goal).all()
        assert (rollout(env, 4, steps=1)[0][0] != first[0]).any()


def test_the_state_can_be_read_and_set(umaze):
    observations, _ = rollout(umaze, 0)
    action = np.random.default_rng(0).uniform(-1, 1, 8)
    umaze.set_state(observations[-1][:15], observations[-1][15:])
    np.testing.assert_array_equal(umaze.observe(), observations[-1])
    after = umaze.step(action)[0]
    umaze.reset(seed=9)
    umaze.set_state(observations[-1][:15], observations[-1][15:])
    np.testing.assert_allclose(umaze.step(action)[0], after, atol=1e-5)  # but for the solver's warm start


def test_an_action_of_1_is_a_motor_force_of_30(umaze):
    umaze.reset(seed=0)
    action = np.linspace(-1, 1, 8)
    umaze.step(action)
    np.testing.assert_allclose(umaze.data.actuator_force, 30 * action)
    joints = umaze.model.jnt_dofadr[umaze.model.actuator_trnid[:, 0]]
    np.testing.assert_allclose(umaze.data.qfrc_actuator[joints], 30 * action)
    umaze.step(np.full(8, 7.0))
    assert (umaze.data.actuator_force == 30).all()


def test_the_runner_sees_its_state_but_not_where_it_is_and_the_way_to_the_goal(umaze):
    observations, _ = rollout(umaze, 0)
    for observation in observations[::6]:
        qpos, qvel, goal = observation[:15], observation[15:], observation[:2] + [0.3, -0.4]
        seen = running_observation(qpos, qvel, goal)
        np.testing.assert_array_equal(seen[:-2], observation[2:])
        np.testing.assert_allclose(seen[-2:], [0.6, -0.8])
        np.testing.assert_allclose(running_observation(qpos, qvel, observation[:2] + [30, -40]), seen)
    assert (running_observation(qpos, qvel, qpos[:2])[-2:] == 0).all()  # at the goal


def test_the_field_rewards_running_to_the_goal_without_turning_and_ends_with_a_fall(field):
    field.reset(seed=0)
    assert not (field.model.geom_type == mujoco.mjtGeom.mjGEOM_BOX).any() and field.model.nu == 8
    assert gym.spec("D4RLAntMaze/open-v2").max_episode_steps == 1000
    for angle in (0, 1, 3, -2):  # which way it faces, from the way that it runs
        place(field, (0, 0), (9, 0))
        field.data.qpos[3:7] = np.cos(angle / 2), 0, 0, np.sin(angle / 2)
        observation, reward, fallen, _, _ = field.step(np.full(8, 0.5))
        speed = (9 - np.linalg.norm(field.data.qpos[:2] - [9, 0])) / 0.1
        heading = field.data.body("torso").xmat[0]
        assert heading == pytest.approx(np.cos(angle), abs=0.1)
        assert reward == pytest.approx(speed + 0.2 - 0.02 * 2 + 0.5 * (heading - 1)) and not fallen
        seen = running_observation(field.data.qpos, field.data.qvel, np.array([9, 0]))
        np.testing.assert_array_equal(observation, seen)
    place(field, (0, 0), (9, 0))
    field.data.qvel[0] = 30
    reward = field.step(np.zeros(8))[1]
    heading = field.data.body("torso").xmat[0]
    assert reward == pytest.approx(2.2 + 0.5 * (heading - 1))  # no pay for more than 2 m/s
    qpos = field.init_qpos.copy()
    qpos[3:7] = 0, 1, 0, 0
    field.set_state(qpos, np.zeros(14))
    assert field.step(np.zeros(8))[2]


def test_the_field_has_a_new_goal_after_150_steps_or_when_one_is_reached(field):
    field.reset(seed=0)
    field.goal = first = np.array([1000.0, 0.0])
    for _ in range(149):
        field.step(np.zeros(8))
    assert field.goal is first
    field.step(np.zeros(8))
    assert field.goal is not first and np.linalg.norm(field.goal - field.data.qpos[:2]) <= 10
    field.goal = near = field.data.qpos[:2].copy()
    assert field.step(np.zeros(8))[4]["success"] and field.goal is not near
    goals = np.array([field.reset() and field.goal.copy() for _ in range(400)])
    np.testing.assert_allclose(np.square(goals).sum(1).mean(), 50, atol=6)  # evenly in the disc
    assert np.abs(goals.mean(0)).max() < 1
