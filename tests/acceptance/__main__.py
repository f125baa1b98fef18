"""Run the sections, keep their figures in docs/acceptance.json, write docs/acceptance.md from them.

python -m tests.acceptance                 every section that is not measured by name only, in about an hour
python -m tests.acceptance smollm2 golden  only these; the others keep the figures that they had
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from dept.basics.files import write_json, write_text
from tests.acceptance import (
    adapters,
    golden,
    methods,
    mini_clip_t5,
    mini_t5,
    mini_t5_again,
    page_hostile,
    page_kills,
    page_visitors,
    profile,
    reproduce,
    smollm2,
    speed,
    walkthroughs,
)
from tests.acceptance.section import Section

SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        golden.SECTION,
        adapters.SECTION,
        methods.SECTION,
        mini_t5.SECTION,
        mini_t5_again.SECTION,
        mini_clip_t5.SECTION,
        smollm2.SECTION,
        speed.PADDED,
        speed.GROUPED,
        profile.SECTION,
        reproduce.WHOLE,
        reproduce.INTERRUPTED,
        walkthroughs.SECTION,
        page_kills.SECTION,
        page_visitors.SECTION,
        page_hostile.SECTION,
    )
}
ROOT = Path(__file__).resolve().parents[2]
FIGURES, REPORT = ROOT / "docs" / "acceptance.json", ROOT / "docs" / "acceptance.md"


def machine() -> str:
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, "
        f"torch {version('torch')}, transformers {version('transformers')}"
    )


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(f"error: no section {unknown[0]!r}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    kept: dict[str, dict[str, object]] = {}
    for name in names or [name for name, section in SECTIONS.items() if not section.by_name]:
        print(f"== {SECTIONS[name].title}", flush=True)
        started = time.monotonic()
        outcome = SECTIONS[name].measure()
        # Read now: other sections may have been measured meanwhile.
        kept = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
        kept[name] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine(),
            "minutes": round((time.monotonic() - started) / 60, 1),
            "asked": SECTIONS[name].asked,
            "passed": outcome.passed,
            "text": outcome.text,
        }
        print(outcome.text, flush=True)
        write_json(FIGURES, kept)
        write_text(REPORT, report(kept))
    failed = [name for name in SECTIONS if name in kept and not kept[name]["passed"]]
    print(f"{len(kept) - len(failed)} passed, {len(failed)} failed")
    if not names:
        print(f"measured by name only: {', '.join(name for name, section in SECTIONS.items() if section.by_name)}")
    return 1 if failed else 0


def report(kept: dict[str, dict[str, object]]) -> str:
    parts = [
        "# Acceptance\n\nWhat `make acceptance` measured, and by name the sections that take long. Scores are per "
        "cent unless said; every number says where its data and its backbone came from. None of them is comparable "
        "with the paper's tables.\n"
    ]
    for name, section in SECTIONS.items():
        if name in kept:
            it = kept[name]
            verdict = "met" if it["passed"] else "NOT met"
            parts.append(
                f"## {section.title}\n\n{it['date']}, {it['machine']}, {it['minutes']} minutes. "
                f"Asked: {it['asked']} **{verdict}**\n\n{it['text']}\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
