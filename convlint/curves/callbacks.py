"""``ConvergenceMonitor`` as a callback of Lightning, transformers and Keras.

Each library is imported when its callback is made. Whether weights are kept is up to
``restore_best``: they are copied at every new best and put back when training ends.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.curves.monitor import ConvergenceMonitor


def lightning_callback(
    monitor: ConvergenceMonitor, metric: str | None = "val_loss", *, restore_best: bool = True
) -> Any:
    """A ``Callback`` that stops the trainer when the monitor says so.

    Losses come from what ``training_step`` returns; ``metric`` is looked up in the trainer's
    ``callback_metrics`` after each validation (None: there is no metric).

    Raises:
        ImportError: neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        from pytorch_lightning.callbacks import Callback

    class MonitorConvergence(Callback):  # type: ignore[misc, unused-ignore]
        """Stops the run when its ``monitor`` does."""

        def __init__(self) -> None:
            self.monitor = monitor
            monitor.awaits_metric = metric is not None

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            """Take the loss of the step."""
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if loss is not None:
                _stop(trainer, monitor.update(loss))

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            """Take the metric, but for the sanity check before training."""
            if metric is None or trainer.sanity_checking:
                return
            value = _found(trainer.callback_metrics, metric)
            if value is not None:
                model = pl_module if restore_best else None
                _stop(trainer, monitor.update(metric=value, model=model))

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            """Put the best weights back."""
            if restore_best:
                monitor.restore_best(pl_module)

    def _stop(trainer: Any, decision: object) -> None:
        if decision:
            trainer.should_stop = True

    return MonitorConvergence()


def transformers_callback(
    monitor: ConvergenceMonitor, metric: str | None = "eval_loss", *, restore_best: bool = True
) -> Any:
    """A ``TrainerCallback`` that ends training when the monitor says so.

    Takes ``loss`` and ``grad_norm`` of what the trainer logs, and ``metric`` of each evaluation.

    Raises:
        ImportError: ``transformers`` is not installed.
    """
    from transformers import TrainerCallback

    class MonitorConvergence(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Stops the run when its ``monitor`` does."""

        def __init__(self) -> None:
            self.monitor = monitor
            monitor.awaits_metric = metric is not None

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            """Take the loss since the last log."""
            loss = (logs or {}).get("loss")
            if loss is not None and monitor.update(loss, gradient_norm=logs.get("grad_norm")):
                control.should_training_stop = True

        def on_evaluate(
            self,
            args: Any,
            state: Any,
            control: Any,
            metrics: Any = None,
            model: Any = None,
            **_: Any,
        ) -> None:
            """Take the metric."""
            value = _found(metrics or {}, metric)
            if value is None:
                return
            if monitor.update(metric=value, model=model if restore_best else None):
                control.should_training_stop = True

        def on_train_end(
            self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
        ) -> None:
            """Put the best weights back."""
            if restore_best:
                monitor.restore_best(model)

    return MonitorConvergence()


def keras_callback(
    monitor: ConvergenceMonitor, metric: str | None = "val_loss", *, restore_best: bool = True
) -> Any:
    """A ``keras.callbacks.Callback`` that ends ``fit`` when the monitor says so.

    Takes ``loss`` and ``metric`` of each epoch.

    Raises:
        ImportError: ``keras`` is not installed.
    """
    from keras.callbacks import Callback

    class MonitorConvergence(Callback):  # type: ignore[misc, unused-ignore]
        """Stops the run when its ``monitor`` does."""

        def __init__(self) -> None:
            super().__init__()
            self.monitor = monitor
            monitor.awaits_metric = metric is not None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Take the numbers of the epoch."""
            logs = logs or {}
            value = _found(logs, metric)
            model = self.model if restore_best else None
            if monitor.update(logs.get("loss"), metric=value, model=model):
                self.model.stop_training = True

        def on_train_end(self, logs: Any = None) -> None:
            """Put the best weights back."""
            if restore_best:
                monitor.restore_best(self.model)

    return MonitorConvergence()


def _found(logged: Mapping[str, Any], metric: str | None) -> Any:
    """The value of ``metric``; None, with a warning, where nothing of that name was logged."""
    if metric is not None and metric not in logged:
        warnings.warn(
            f"ConvergenceMonitor has no {metric!r} to go by; logged are: {', '.join(logged)}",
            stacklevel=3,
        )
    return None if metric is None else logged.get(metric)
