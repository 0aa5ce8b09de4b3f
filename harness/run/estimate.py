"""What a plan will take on this machine: tokens, memory and time of its trainings and of its scoring."""

import time
from dataclasses import dataclass

from harness.methods.api import EstimatesScoring
from harness.protocol.candidate_names import candidate_count
from harness.run.plan import Plan
from harness.run.scenario_data import open_training
from harness.run.workspace import Workspace
from harness.training.device import flops_per_second

#: Share of the speed of matrix products that language models reach. On a CPU it was measured, see docs/scaling.md; on a
#: GPU it was not.
SHARE_REACHED = {"cpu": 0.6, "cuda": 0.4}


@dataclass(frozen=True)
class TaskEstimate:
    """What one task takes.

    Attributes:
        label: of the training, or of the run that is scored.
        tokens: tokens in forward and backward passes.
        flops: floating-point operations.
        memory_gb: peak memory, in units of 10^9 bytes; None if it is not estimated.
    """

    label: str
    tokens: float
    flops: float
    memory_gb: float | None = None


def training_estimates(plan: Plan) -> list[TaskEstimate]:
    """Estimates of a plan's trainings, up to their caps on steps; of those that have one."""
    estimates = []
    for training in plan.trainings:
        if training.key in plan.estimates:
            taken = plan.estimates[training.key]()
            estimates.append(TaskEstimate(plan.labels[training.key], taken.tokens, taken.flops, taken.memory_gb))
    return estimates


def scoring_estimates(plan: Plan, workspace: Workspace) -> list[TaskEstimate]:
    """Estimates of scoring a plan's missing runs, of those whose method gives one."""
    estimates = []
    for run in plan.missing:
        method = plan.methods[run.scenario, run.method]
        if isinstance(method, EstimatesScoring):
            data = open_training(workspace, run.scenario)
            # Test events stay on disk: about as many users have one as have a history.
            users, n_items = len(data.target_domain.user_ids), len(data.target_domain.catalogue)
            n_users = min(users, workspace.suite.test_users or users)
            sizes = [min(candidate_count(name) or n_items, n_items) for name in workspace.suite.candidates]
            taken = method.scoring_estimate(data, n_users, sizes)
            estimates.append(TaskEstimate(f"scoring {run.label}", taken.tokens, taken.flops))
    return estimates


def matrix_rate(device: str) -> float:
    """Operations a second in matrix products: of a GPU, or of one CPU core while it computes for this process.

    On a busy CPU, the clock says nothing about the speed of a core, so that the time of this process is counted.
    """
    if device != "cpu":
        return flops_per_second(device)
    import torch  # not at the top, so that --help need not load it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        rate = flops_per_second(device)
        share = (time.process_time() - start_cpu_s) / (time.perf_counter() - start_s)
    finally:
        torch.set_num_threads(threads)
    return rate / min(1.0, share)
