"""Figures and ratios.

`python -m bench [ingest|stored|close|simulate|usage|visible|eventlog|storage|documents|long|entitlements]`
"""

import argparse
import json
import sys
from pathlib import Path

from bench import close, documents, entitlements, eventlog, ingest, long, simulate, storage, stored, usage, visible

MEASUREMENTS = {
    "ingest": ingest, "stored": stored, "close": close, "simulate": simulate, "usage": usage, "visible": visible,
    "eventlog": eventlog, "storage": storage, "documents": documents, "long": long,
    "entitlements": entitlements,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parts = parser.add_subparsers(dest="part")
    for name, module in MEASUREMENTS.items():
        module.add_arguments(parts.add_parser(name, description=module.__doc__))
    arguments = parser.parse_args()
    chosen = [arguments.part] if arguments.part else list(MEASUREMENTS)
    figures = {}
    for name in chosen:
        own = arguments if arguments.part else parser.parse_args([name])
        figures[name] = MEASUREMENTS[name].run(own)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
