"""What SARIF 2.1.0 asks of a log: names and required properties by the object model that is
generated from its official schema (sarif-om), values by what the standard says of them."""

from __future__ import annotations

from typing import Any

import attr
import sarif_om

CHILDREN: dict[str, dict[str, str]] = {
    "SarifLog": {"runs": "Run"},
    "Run": {"tool": "Tool", "results": "Result", "invocations": "Invocation"},
    "Tool": {"driver": "ToolComponent"},
    "ToolComponent": {
        "rules": "ReportingDescriptor",
        "shortDescription": "MultiformatMessageString",
    },
    "ReportingDescriptor": {
        "shortDescription": "MultiformatMessageString",
        "fullDescription": "MultiformatMessageString",
        "help": "MultiformatMessageString",
        "defaultConfiguration": "ReportingConfiguration",
    },
    "Invocation": {"toolExecutionNotifications": "Notification"},
    "Notification": {"message": "Message", "locations": "Location"},
    "Result": {
        "message": "Message",
        "locations": "Location",
        "relatedLocations": "Location",
        "fixes": "Fix",
    },
    "Location": {"physicalLocation": "PhysicalLocation", "message": "Message"},
    "PhysicalLocation": {"artifactLocation": "ArtifactLocation", "region": "Region"},
    "Fix": {"description": "Message", "artifactChanges": "ArtifactChange"},
    "ArtifactChange": {"artifactLocation": "ArtifactLocation", "replacements": "Replacement"},
    "Replacement": {"deletedRegion": "Region", "insertedContent": "ArtifactContent"},
}
"""Which properties of an object hold objects (or lists of them), and of which class."""


def faults(value: dict[str, Any], cls: str = "SarifLog", where: str = "$") -> list[str]:
    """What the standard has against ``value``; empty when it is a valid object of the class."""
    fields = {
        field.metadata.get("schema_property_name"): field
        for field in attr.fields(getattr(sarif_om, cls))
    }
    found = [f"{where}: unknown property {name}" for name in value if name not in fields]
    found += [
        f"{where}: {name} is required"
        for name, field in fields.items()
        if field.default is attr.NOTHING and name not in value
    ]
    found += [f"{where}: {fault}" for fault in _value_faults(value, cls)]
    for name, child in CHILDREN.get(cls, {}).items():
        inner = value.get(name)
        if isinstance(inner, list):
            for number, entry in enumerate(inner):
                found += faults(entry, child, f"{where}.{name}[{number}]")
        elif inner is not None:
            found += faults(inner, child, f"{where}.{name}")
    known = CHILDREN.get(cls, {})
    free = ("properties", "partialFingerprints", "originalUriBaseIds", "$schema")
    found += [
        f"{where}.{name}: the check does not look inside"
        for name, inner in value.items()
        if name not in known
        and name not in free
        and (isinstance(inner, dict) or (isinstance(inner, list) and inner))
    ]
    return found


def _value_faults(value: dict[str, Any], cls: str) -> list[str]:
    found = []
    if value.get("level", "none") not in ("none", "note", "warning", "error"):
        found.append(f"level {value['level']}")
    if cls == "Result" and not 0 <= value.get("rank", 0) <= 100:
        found.append(f"rank {value['rank']}")
    if cls == "SarifLog" and value.get("version") != "2.1.0":
        found.append("version")
    if cls == "Run" and value.get("columnKind") not in ("utf16CodeUnits", "unicodeCodePoints"):
        found.append("columnKind")
    if cls == "Region":
        numbers = [value.get(name, 1) for name in ("startLine", "startColumn", "endLine")]
        if not all(isinstance(n, int) and n >= 1 for n in (*numbers, value.get("endColumn", 1))):
            found.append(f"region {value}")
        start = (value["startLine"], value.get("startColumn", 1))
        end = (value.get("endLine", start[0]), value.get("endColumn", start[1]))
        if end < start:
            found.append(f"region ends before it starts: {value}")
    if cls in ("Message", "MultiformatMessageString", "ArtifactContent"):
        text = value.get("text")
        if not isinstance(text, str) or (cls == "Message" and not text):
            found.append("text")
    if cls in ("ReportingDescriptor", "ToolComponent"):
        key = "id" if cls == "ReportingDescriptor" else "name"
        if not isinstance(value.get(key), str):
            found.append(key)
        if "helpUri" in value and "://" not in value["helpUri"]:
            found.append("helpUri is no absolute address")
    if cls == "ArtifactLocation" and (" " in value["uri"] or "\\" in value["uri"]):
        found.append(f"uri {value['uri']}")
    if cls in ("Fix", "ArtifactChange"):
        key = "artifactChanges" if cls == "Fix" else "replacements"
        if not value.get(key):
            found.append(f"{key} is empty")
    return found
