"""Graphs that stay alive are counted, and those let go are not."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from convlint.gpu_probes.quantities.graph_growth import GraphGrowthRecorder


def alive(keep: Callable[[list[object], torch.Tensor], None], steps: int = 5) -> tuple[int, ...]:
    weight = torch.nn.Parameter(torch.ones(3))
    recorder = GraphGrowthRecorder()
    kept: list[object] = []
    for _ in range(steps):
        loss = (weight * 2).sum()
        recorder.back_propagated(loss, nodes=3)
        loss.backward()
        keep(kept, loss)
        del loss
    growth = recorder.results()
    assert growth is not None
    assert growth.nodes == (3,) * steps
    return growth.alive


def test_losses_kept_as_numbers_let_their_graphs_go() -> None:
    assert alive(lambda kept, loss: kept.append(loss.item())) == (0, 0, 0, 0, 0)
    assert alive(lambda kept, loss: kept.append(loss.detach())) == (0, 0, 0, 0, 0)


def test_losses_kept_in_a_list_keep_their_graphs() -> None:
    assert alive(lambda kept, loss: kept.append(loss)) == (0, 1, 2, 3, 4)


def test_a_sum_of_losses_keeps_the_graphs_of_all() -> None:
    def add(kept: list[object], loss: torch.Tensor) -> None:
        kept[:] = [kept[0] + loss if kept else loss]

    assert alive(add) == (0, 1, 2, 3, 4)


def test_nothing_back_propagated_is_no_growth() -> None:
    assert GraphGrowthRecorder().results() is None


def test_graphs_in_cycles_that_nothing_reaches_do_not_add_up() -> None:
    def forget_in_a_cycle(kept: list[object], loss: torch.Tensor) -> None:
        cycle: list[object] = [loss]
        cycle.append(cycle)

    gc.disable()
    try:
        growth = alive(forget_in_a_cycle, steps=20)
    finally:
        gc.enable()
    assert max(growth) <= 6
    assert alive(lambda kept, loss: kept.append(loss), steps=20) == tuple(range(20))
