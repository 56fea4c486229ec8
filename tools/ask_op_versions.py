"""Runs in a runtime's own environment for make_op_tables.py: which models does it not refuse?"""

import base64
import importlib
import json
import re
import sys

LACKS = re.compile(r"Didn't find op for builtin opcode|builtin_code out of range")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    runtime = importlib.import_module(asked["module"])
    models = {key: base64.b64decode(text) for key, text in asked["models"].items()}
    known = {}
    for name in ("AUTO", "BUILTIN_REF"):
        resolver = getattr(runtime.OpResolverType, name)
        known[name] = [key for key, content in models.items() if has(runtime, content, resolver)]
    with open(asked["answer"], "w", encoding="utf-8") as file:
        json.dump({"known": known}, file)


def has(runtime, content, resolver) -> bool:
    try:
        runtime.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    except ValueError as error:
        if LACKS.search(str(error)):
            return False
        raise
    return True


if __name__ == "__main__":
    main()
