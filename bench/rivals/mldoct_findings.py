"""Print what mldoct finds in the files named on the command line, as JSON.

Runs in mldoct's own virtual environment. The command ``mldoctor check`` shows what
``lint_script`` returns, one file at a time and without the lines; its package imports scikit-learn
and pandas for other commands, so the module is loaded by its file.
"""

import importlib.util
import json
import sys
import sysconfig
from pathlib import Path

location = Path(sysconfig.get_path("purelib"), "mldoctor", "linter.py")
spec = importlib.util.spec_from_file_location("linter", location)
assert spec is not None and spec.loader is not None
linter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(linter)

found = []
for path in sys.argv[1:]:
    try:
        findings = linter.lint_script(path)[0]
    except Exception as error:  # whatever it is, it is the peer's result on this file
        print(f"{path}: {error!r}", file=sys.stderr)
        continue
    found += [{"path": path, **finding} for finding in findings]
print(json.dumps(found))
