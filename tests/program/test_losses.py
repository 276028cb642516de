"""Facts about losses and the tensors on their way: overwritten, cut, compared, converted."""

from extraction import HEAD, chain, events, extract

from convlint.program.facts import EventKind


def test_a_loss_assigned_anew_unread_is_marked_with_the_place() -> None:
    program = extract(
        """
        for x, y in loader:
            loss = criterion(model(x), y)
            step = 3
            loss = F.mse_loss(model(x), y)
            loss = loss + criterion(model(x), y)
        """,
        HEAD,
    )
    first, second, third = program.losses
    assert first.overwritten is not None
    assert first.overwritten.line == first.location.line + 2
    assert second.overwritten is None
    assert third.overwritten is None


def test_a_loss_knows_the_function_it_stands_in() -> None:
    program = extract(
        """
        def objective(x, y):
            return criterion(model(x), y)
        for x, y in loader:
            objective(x, y).backward()
            F.mse_loss(model(x), y)
        """,
        HEAD,
    )
    assert [loss.function for loss in program.losses] == ["objective", ""]


def test_variable_passes_values_on_and_cuts_the_graph() -> None:
    program = extract(
        """
        from torch.autograd import Variable
        for x, y in loader:
            Variable(model(x), requires_grad=True).sum().backward()
        """,
        HEAD,
    )
    (backward,) = [e for e in events(program) if e.kind is EventKind.BACKWARD]
    assert chain(program, backward.flow)[:3] == ["sum", "variable", "linear"]
    variable = next(flow for flow in program.flows if flow.op == "variable")
    assert variable.detached
    assert variable.args["requires_grad"].constant is True


def test_requires_grad_is_noted_as_a_method_and_as_an_assignment() -> None:
    program = extract(
        """
        for x, y in loader:
            loss = criterion(model(x), y)
            loss.requires_grad_()
            loss.requires_grad = True
        """,
        HEAD,
    )
    calls = [c for c in program.calls if c.name == "torch.Tensor.requires_grad_"]
    assert [c.args["input"].flow for c in calls] == [program.losses[0].flow] * 2
    assert [c.args["requires_grad"].constant for c in calls] == [True, True]


def test_comparisons_keep_their_operator_and_constant() -> None:
    program = extract("for x, y in loader:\n    mask = model(x) > 0.5\n", HEAD)
    (compare,) = [flow for flow in program.flows if flow.op == "compare"]
    assert compare.args["operator"].constant == ">"
    assert compare.args["right"].number == 0.5
    assert compare.detached


def test_a_comparison_with_nan_is_noted_whatever_the_other_side_is() -> None:
    program = extract(
        """
        import math
        import numpy as np
        def check(value):
            assert value != np.nan
            return value == math.nan or float("nan") > value
        """,
        HEAD,
    )
    signs = [f.args["operator"].constant for f in program.flows if f.op == "compare"]
    assert signs == ["!=", "==", ">"]


def test_a_module_keeps_the_dtype_it_was_last_brought_to() -> None:
    program = extract(
        """
        half = nn.Linear(2, 2).half()
        brain = nn.Linear(2, 2).to("cuda", torch.bfloat16)
        back = nn.Linear(2, 2).half().float()
        """,
        HEAD,
    )
    dtypes = {
        o.names[0]: o.attributes["dtype"].name for o in program.objects if "dtype" in o.attributes
    }
    assert dtypes == {"half": "torch.float16", "brain": "torch.bfloat16", "back": "torch.float32"}


def test_a_call_knows_whether_a_branch_decides_about_it() -> None:
    program = extract(
        """
        import sys
        torch.manual_seed(0)
        if len(sys.argv) > 1:
            torch.manual_seed(1)
        """,
        HEAD,
    )
    seeds = [call.conditional for call in program.calls if call.name == "torch.manual_seed"]
    assert seeds == [False, True]


def test_the_loss_a_library_model_returns_in_its_output_is_back_propagated() -> None:
    program = extract(
        """
        from transformers import AutoModelForCausalLM
        model = AutoModelForCausalLM.from_pretrained("gpt2")
        for batch in loader:
            output = model(**batch)
            (output.loss / 8).backward()
            output.loss.backward()
        """,
        HEAD,
    )
    losses = [e.flow for e in events(program) if e.kind is EventKind.BACKWARD]
    assert [chain(program, loss)[:2] for loss in losses] == [
        ["div", "getitem"],
        ["getitem", "from_pretrained"],
    ]
