"""A run that is made up, for the tests of the commands around it."""

from __future__ import annotations

import dataclasses
import json

import jsonschema
from observed import observations

from convlint.report.json import output_schema

HEALTHY = observations(script="a.py", steps=100, seconds=3.0, backwards=108)
NEVER = dataclasses.replace(HEALTHY, held=0, steps=0, backwards=0)


def output_of(result) -> dict:
    output = json.loads(result.stdout)
    jsonschema.Draft202012Validator(output_schema()).validate(output)
    return output
