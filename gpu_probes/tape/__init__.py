"""The tape: a training step as a list of aten operations that can be replayed.

``TapeRecorder`` notes the operations from the forward pass to the loss; ``Tape.loss`` computes
them again for any parameters. Curvature, learning-rate ranges and remedies rest on it.
"""

from __future__ import annotations

from convlint.gpu_probes.tape.operations import TapeUnavailable
from convlint.gpu_probes.tape.recorder import TapeRecorder
from convlint.gpu_probes.tape.substitutions import Change
from convlint.gpu_probes.tape.tape import Tape

__all__ = ["Change", "Tape", "TapeRecorder", "TapeUnavailable"]
