"""Static extraction: libcst syntax trees to ``TrainingProgram`` facts."""

from convlint.program.extract import extract_program
from convlint.program.index import ProjectIndex, SourceSyntaxError

__all__ = ["ProjectIndex", "SourceSyntaxError", "extract_program"]
