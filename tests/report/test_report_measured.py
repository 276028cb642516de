from __future__ import annotations

from convlint.audit import Decision, RunVerdict
from convlint.gpu_probes.observations import (
    Convergence,
    Curvature,
    Device,
    GradientFlow,
    LossFunction,
    Measurement,
    Observations,
    OverfitAttempt,
    OverfitOneBatch,
    Place,
    Skipped,
    StabilityLimit,
    UpdateRatio,
)
from convlint.report.measured import measured_summary, one_batch, verdict_line


def plain(lines) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def observations(**changes) -> Observations:
    options = {
        "script": "a.py",
        "arguments": (),
        "device": Device("cuda", "NVIDIA H100", "2.13.0", "3.11", "cupy"),
        "stopped": "budget",
        "held": 8,
        "steps": 40,
        "seconds": 12.34,
        "backwards": 48,
    }
    return Observations(**{**options, **changes})


def test_bare_run_is_one_line():
    assert plain(measured_summary(observations(held=0))) == [
        "Measured on NVIDIA H100 in 12.3 s: 40 steps; the time budget was used up.",
        "",
    ]


def test_every_measured_quantity_has_its_line_with_numbers():
    limit = StabilityLimit(0, "torch.optim.SGD", 0.1, False, Measurement(0.05), Measurement(0.5))
    seen = observations(
        losses=(
            LossFunction(
                "cross_entropy",
                8,
                Measurement(2.31),
                Measurement(2.3),
                None,
                10,
                "mean",
                (8, 10),
                (8,),
                None,
                None,
                None,
                None,
            ),
        ),
        convergence=Convergence(
            "converging", "linear", Measurement(0.98761), 0.1, 2.3, 0.45, steps=40
        ),
        gradient_flow=(GradientFlow("net", (), Measurement(-0.6931472), Measurement(0.25)),),
        updates=(
            UpdateRatio("w", (1,), Measurement(0.001), None, 0),
            UpdateRatio("b", (1,), Measurement(None), None, 0),
        ),
        curvature=(
            Curvature(
                "start",
                "lanczos",
                10,
                Measurement(40.0, ci=(39.9, 40.1)),
                Measurement(-1.0),
                None,
                None,
                None,
                24,
                (limit,),
            ),
        ),
        skipped=(Skipped("gradient flow", "no chain of layers"),),
        writes_held_back=("model.pt", "log.txt"),
    )
    assert plain(measured_summary(seen))[1:] == [
        "  initial loss   2.31 (cross_entropy); the best constant prediction has 2.3",
        "  loss           converging from 2.3 to 0.45 in 40 steps, linear rate ×0.9876 a step",
        "  gradient flow  ×0.5 per layer toward the input, ×0.25 end to end (net)",
        "  updates        each step changes a parameter by 0.1 % of its size"
        " (median of 1 tensor, 0.1 to 0.1 %)",
        "  learning rate  SGD is stable up to lr 0.05 at the start; in use: 0.1, 2 times above"
        " (at the edge of stability, and converging) (largest Hessian eigenvalue 40 ± 0.1)",
        "  not measured   gradient flow: no chain of layers",
        "  held back      writes to 2 files: model.pt, log.txt",
        "",
    ]


def test_eigenvalue_that_did_not_converge_is_marked():
    unsure = Measurement(3.0, converged=False)
    curvature = Curvature("end", "lanczos", 1, unsure, Measurement(None), None, None, None, 5, ())
    lines = plain(measured_summary(observations(curvature=(curvature,))))
    assert "largest Hessian eigenvalue ~3 at the end" in lines[1]


def test_a_hessian_that_is_not_that_of_the_loss_is_not_read_from():
    limit = StabilityLimit(0, "torch.optim.SGD", 0.1, False, Measurement(0.05), Measurement(0.5))
    curvature = Curvature(
        "start",
        "double backward on the loss",
        9,
        Measurement(40.0),
        Measurement(-1.0),
        None,
        None,
        0.33,
        5,
        (limit,),
        ((40.0, 0.1), (1.0, 0.9)),
    )
    lines = plain(measured_summary(observations(curvature=(curvature,))))
    assert lines[1:] == [
        "  curvature      not known at the start: second derivatives and differences of the loss are"
        " 33 % apart (a custom Function, a straight-through estimator or a detached target)",
        "",
    ]


def test_several_optimizers_and_losses_are_told_apart_by_their_lines():
    def loss(line: int, initial: float) -> LossFunction:
        return LossFunction(
            "binary_cross_entropy",
            8,
            Measurement(initial),
            Measurement(-0.0),
            None,
            None,
            "mean",
            (1,),
            (1,),
            None,
            None,
            None,
            None,
            place=Place("gan.py", line),
        )

    def at_start(optimizer: int, line: int) -> Curvature:
        limit = StabilityLimit(
            optimizer,
            "torch.optim.SGD",
            0.1,
            False,
            Measurement(0.2),
            Measurement(2.0),
            Place("gan.py", line),
        )
        unknown = Measurement(None)
        return Curvature(
            "start", "lanczos", 9, Measurement(10.0), unknown, None, None, None, 9, (limit,)
        )

    seen = observations(
        losses=(loss(144, 0.7), loss(151, 0.6)), curvature=(at_start(0, 133), at_start(1, 134))
    )
    lines = plain(measured_summary(seen))
    assert lines[1] == (
        "  initial loss   0.7 (binary_cross_entropy of line 144);"
        " the best constant prediction has 0"
    )
    assert "SGD of line 133 is stable up to lr 0.2" in lines[3]
    assert "SGD of line 134 is stable up to lr 0.2" in lines[4]


def test_verdict_is_said_with_its_reason_and_counts():
    verdict = RunVerdict(decision=Decision.NO_GO, reason="the loss diverges", refuted=1, measured=2)
    assert plain([verdict_line(verdict)]) == [
        "Verdict: no-go: the loss diverges (1 refuted, 2 only measured)"
    ]


def test_one_batch_is_told_with_its_control_and_the_least_it_can_have():
    tried = OverfitOneBatch(
        attempts=(OverfitAttempt("SGD", 0.1, 25, 2.3, 0.36, 0.01, False, True),),
        floor=0.3466,
        planned=200,
        outcome="fits",
        without_inputs=0.02,
        constant=1.606,
    )
    assert one_batch(tried) == (
        "fits: 1 % of its loss left (0.347 is the smallest it can have) after 25 steps of SGD at"
        " 0.1; with its inputs at zero 0.02, where one answer for all has 1.61 at best"
    )
