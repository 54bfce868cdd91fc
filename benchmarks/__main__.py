"""`make bench`: measures all of it, and writes docs/benchmarks.md.

python -m benchmarks [--only engine,peers] [--short] [--out docs]
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.asked import Asked, say
from benchmarks.machine import machine
from benchmarks.report import PLOT, Section, gpu_section, page, plot

PARTS: Final = ("engine", "peers", "around", "paths", "memory")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measures, and writes docs/benchmarks.md."
    )
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument(
        "--short", action="store_true", help="tiny sizes: to see that all of it runs; says nothing of speed"
    )
    parser.add_argument("--out", type=Path, default=Path("docs"), help="the folder of benchmarks.md")
    given = parser.parse_args(arguments)
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    os.environ["OMP_NUM_THREADS"] = "1"  # one thread decodes, in each of what is compared
    with tempfile.TemporaryDirectory(prefix="unembed-bench-") as folder:
        asked = Asked.short(Path(folder)) if given.short else Asked.full(Path(folder))
        sections, missing = _measured(chosen, asked)
    _write(given.out, sections, missing)
    return 1 if missing else 0


def _measured(chosen: Sequence[str], asked: Asked) -> tuple[list[Section], list[str]]:
    """What could be measured; a part that fails does not take the others' results with it."""
    sections: list[Section] = []
    missing: list[str] = []
    for name in chosen:
        begun = time.monotonic()
        try:
            sections.append(importlib.import_module(f"benchmarks.{name}").measure(asked))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            missing.append(f"{name}: {type(error).__name__}: {error}")
        say(f"{name} took {time.monotonic() - begun:.0f} s")
    return sections, missing


def _write(out: Path, sections: Sequence[Section], missing: Sequence[str]) -> None:
    path = out / "benchmarks.md"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    text = page(machine(), sections, missing, gpu_section(before))
    headlines = {name: spread for section in sections for name, spread in section.headlines.items()}
    (out / PLOT).parent.mkdir(parents=True, exist_ok=True)
    if headlines:
        (out / PLOT).write_text(plot(headlines), encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    print(text)
    say(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
