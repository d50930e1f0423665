"""What needs a GPU: TEST_CUDA=1 bash tests/run.sh -k test_cuda. Without that word no test sees one."""

import copies
import pytest
import torch
from conftest import TINY, checkpoint, run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and TEST_CUDA=1")
CUDA = f"cuda:{torch.cuda.device_count() - 1}"  # the last one: where there are several, not the default
FLAGS = dict.fromkeys((path.stem for path in copies.SCRIPTS), "")
FLAGS |= dict.fromkeys(("rd_td3", "rd_sac"), "--rd-start 20 --rd-switch 9")
FLAGS |= {"dmg_finetune": "--online-steps 10", "iql": "--online-steps 10 --dropout 0.1"}
FLAGS |= dict.fromkeys(("dmg_offline", "dmg_xql", "dmg_sql"), "--lam 0.1 0.5")


@pytest.mark.parametrize("script", FLAGS)
def test_a_cuda_graph_ends_where_eager_updates_end(script, pendulum):
    """Also that the actor's learning rate goes on inside the graph."""
    for flag in ("--cuda-graph", "--no-cuda-graph"):
        flags = [flag, "--device", CUDA, "--offline-steps", 50, "--seed", 1, 2, *FLAGS[script].split()]
        run(script, *TINY, *flags, "--runs-dir", flag[2:])
    for name, graph in checkpoint("cuda-graph")["agent"].items():
        torch.testing.assert_close(graph, checkpoint("no-cuda-graph")["agent"][name], atol=1e-4, rtol=0)
