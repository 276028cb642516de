"""What the tests of logs have in common."""

import pytest

from convlint.curves.assemble import assemble
from convlint.curves.readers import open_log


@pytest.fixture
def read(tmp_path):
    """The curves of a log with this text."""

    def write(text, name="train.log", encoding="utf-8"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode(encoding))
        return assemble(open_log(str(file)), str(file))

    return write
