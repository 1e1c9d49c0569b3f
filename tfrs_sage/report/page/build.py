"""Writes a run's report: every section that there is something for, and the model card."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

import tfrs_sage
from tfrs_sage.artefacts import read_manifest, whole_file
from tfrs_sage.errors import InputError
from tfrs_sage.report.page.ablations_section import ablations_section
from tfrs_sage.report.page.attention_section import attention_section
from tfrs_sage.report.page.card import card_facts, head
from tfrs_sage.report.page.checks_section import checks_section
from tfrs_sage.report.page.curves_section import curves_section
from tfrs_sage.report.page.data_section import data_section
from tfrs_sage.report.page.figures_section import (
    best_baseline,
    figures_section,
    named_figures,
    prefixes_section,
    slices_section,
    verdict,
)
from tfrs_sage.report.page.index_section import index_section
from tfrs_sage.report.page.map_section import map_section
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.page.neighbours_section import neighbours_section
from tfrs_sage.report.page.scales import told
from tfrs_sage.report.page.users_section import users_section
from tfrs_sage.schema.features import SPLITS

logger = logging.getLogger(__name__)
PAGE, CARD = "report.html", "model_card.md"

# Name in the page's addresses and of the template, title, what it shows.
SECTIONS: tuple[tuple[str, str, Callable[[Material], Mapping[str, Any] | Absent]], ...] = (
    ("data", "Data", data_section),
    ("checks", "Checks of the data", checks_section),
    ("curves", "Training", curves_section),
    ("figures", "How good it is", figures_section),
    ("slices", "For whom", slices_section),
    ("prefixes", "Shorter embeddings", prefixes_section),
    ("ablations", "What each part gives", ablations_section),
    ("neighbours", "What is found", neighbours_section),
    ("map", "The space", map_section),
    ("attention", "What the product tower looks at", attention_section),
    ("index", "Index", index_section),
    ("users", "Users", users_section),
)


def write_report(
    run_dir: Path, root: Path, input: str | None = None, split: str = "test", seed: int = 0
) -> dict[str, Any]:
    """Writes `RUN/report/report.html` and `RUN/report/model_card.md`.

    The page needs no other file and no network. Sections without anything to show say so, with
    the command that makes it.

    Args:
        run_dir: a run whose tables were preprocessed.
        root: the folder of its exported models.
        input: the tables, for pictures; None for none.
        split: `validation` or `test`.
        seed: of everything that is drawn.

    Returns:
        `report` and `model_card` (paths), `bytes` of the page, `seconds`, `sections` (by name
        `shown`, or why not), `warnings` of the data checks.

    Raises:
        InputError: another split, or a run that was not preprocessed.
    """
    if split not in SPLITS[1:]:
        raise InputError(
            f"--split must be {' or '.join(SPLITS[1:])}, which was not trained on. Received: "
            f"{split!r}."
        )
    read_manifest(run_dir / "examples")
    began = time.monotonic()
    run = Material(run_dir, root, input, split, seed)
    sections = {}
    for number, (name, title, make) in enumerate(SECTIONS, 1):
        logger.info("report: %s (%d of %d)", title.lower(), number, len(SECTIONS))
        sections[name] = make(run)
    checks = sections["checks"]
    warnings = [] if isinstance(checks, Absent) else list(checks["warnings"])
    facts = card_facts(run, warnings)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            summary=_summary(run),
            sections=[(name, title, sections[name]) for name, title, _ in SECTIONS],
            warnings=warnings,
            grouped=[] if isinstance(checks, Absent) else checks["grouped"],
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            program=tfrs_sage.__version__,
        )
    )
    card = _environment().get_template("model_card.md.j2").render(facts=facts, head=head(facts))
    folder = run_dir / "report"
    for name, text in ((PAGE, page), (CARD, card)):
        with whole_file(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return {
        "report": str(folder / PAGE),
        "model_card": str(folder / CARD),
        "bytes": (folder / PAGE).stat().st_size,
        "seconds": round(time.monotonic() - began, 1),
        "sections": {
            name: one.reason if isinstance(one, Absent) else "shown"
            for name, one in sections.items()
        },
        "warnings": warnings,
    }


def _summary(run: Material) -> list[dict[str, Any]]:
    """The main figure of every task, and how the model stands to the best baseline."""
    return [
        {
            "name": name,
            "recall": one["recall@10"],
            "interval": one["intervals"]["recall@10"],
            "baseline": best_baseline(one)[0],
            "baseline_recall": best_baseline(one)[1]["recall@10"],
            "verdict": verdict(one),
        }
        for name, one in named_figures(run).items()
    ]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tfrs_sage.report.page"),
        autoescape=select_autoescape(["html.j2", "html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["absent"] = lambda value: isinstance(value, Absent)
    environment.filters["told"] = told
    environment.filters["share"] = lambda value: f"{value:.1%}"
    return environment
