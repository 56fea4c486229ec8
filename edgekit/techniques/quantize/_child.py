"""The process for work that may crash: opens a file, or converts; `_process` starts it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError

__all__ = ["main"]


def main() -> None:
    """Reads a request from stdin and writes the answer to the file that it names."""
    request = json.load(sys.stdin)
    answer = {"open": _open, "convert": _convert}[request["job"]](request)
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def _open(request: dict[str, Any]) -> dict[str, str]:
    from edgekit.techniques.quantize._opening import open_here

    return {"reason": open_here(Path(request["model"]).read_bytes(), once=True)}


def _convert(request: dict[str, Any]) -> dict[str, str]:
    from edgekit.techniques.quantize._converter import ConverterError, convert_here

    try:
        content = convert_here(request)
    except ConverterError as error:
        return {"error": str(error)}
    except UsageError as error:
        return {"usage": error.message, "hint": error.hint}
    Path(request["output"]).write_bytes(content)
    return {}


if __name__ == "__main__":
    main()
