"""JUnit XML for CI servers: a test case for every row and metric."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from edgekit.check_reports._wording import (
    about,
    error_text,
    finding_text,
    label,
    row_name,
)
from edgekit.core.gate import Finding, GateResult, RowResult
from edgekit.text import clean

__all__ = ["SUFFIX", "render"]

SUFFIX = "junit.xml"


def render(result: GateResult) -> str:
    """Returns the file; what could not be measured is an error, which no CI counts as a pass."""
    cases = [case for row in result.rows for case in _cases(row)]
    ended = Counter(child.tag for case in cases for child in case)
    suite = Element(
        "testsuite",
        name="edgekit check",
        tests=str(len(cases)),
        failures=str(ended["failure"]),
        errors=str(ended["error"]),
        skipped=str(ended["skipped"]),
        time=_seconds(sum(row.seconds for row in result.rows)),
        timestamp=_timestamp(result.started_utc),
    )
    properties = SubElement(suite, "properties")
    for name, value in (("edgekit_version", result.edgekit_version), ("rows", len(result.rows))):
        SubElement(properties, "property", name=name, value=clean(value))
    suite.extend(cases)
    root = Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _cases(result: RowResult) -> Iterator[Element]:
    """The row's time stands in its first case, so that the cases add up to the suite's."""
    names = Counter[str]()
    seconds = result.seconds
    for finding in result.findings:
        name = label(finding) if finding.kind == "limit" else f"{label(finding)} against baseline"
        names[name] += 1
        case = _case(result, name if names[name] == 1 else f"{name} {names[name]}", seconds)
        _end(case, finding, result)
        yield case
        seconds = 0.0
    if result.error or result.skipped or not result.findings:
        case = _case(result, "measured", seconds)
        if result.error:
            SubElement(case, "error", message=error_text(result), type="unmeasured")
        elif result.skipped:
            SubElement(case, "skipped", message=error_text(result))
        yield case


def _case(result: RowResult, name: str, seconds: float) -> Element:
    return Element(
        "testcase", classname=f"edgekit.{row_name(result)}", name=name, time=_seconds(seconds)
    )


def _end(case: Element, finding: Finding, result: RowResult) -> None:
    text = finding_text(finding, result.row)
    if finding.status == "fail":
        failure = SubElement(case, "failure", message=text, type=finding.kind)
        failure.text = f"{text}\n{about(result.row)}"
    elif finding.status == "unmeasured":
        SubElement(case, "error", message=text, type="unmeasured").text = text
    else:
        SubElement(case, "system-out").text = text


def _seconds(seconds: float) -> str:
    return f"{max(0.0, seconds):.3f}"


def _timestamp(started_utc: str) -> str:
    """ISO 8601 without a zone, as the schema has it; 1970 where the text is no such time."""
    text = re.sub(r"Z$", "+00:00", started_utc)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime(1970, 1, 1)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None, microsecond=0).isoformat()
