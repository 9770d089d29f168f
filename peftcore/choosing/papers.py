"""Write what goes with a trained model: card, report, records, figure."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from peftcore.choosing.card import write_card
from peftcore.choosing.choice import Choice
from peftcore.choosing.delivering import CARD_FILE, RECORDS_FILE, REPORT_FILE, kept_in
from peftcore.choosing.drawing import draw_race
from peftcore.choosing.reporting import report
from peftcore.choosing.trialling import store_of
from peftcore.report.figures import write_drawn
from peftcore.results.records import write_records
from peftcore.writing import write_whole


def write_papers(choice: Choice) -> Path:
    """Write all of them into the output folder, and return the report's place.

    The card is written twice: the folder of the model is then one that the hub takes as it is.

    Raises:
        StoreError: one can't be written.
    """
    out = choice.request.out
    with kept_in(store_of(choice.request.store)):
        plots = write_drawn([partial(draw_race, choice)], out / "figures")
        card = write_card(choice)
        for folder in (out, choice.delivered.folder):
            write_whole(folder / CARD_FILE, card)
        write_records(out / RECORDS_FILE, choice.records)
        write_whole(out / REPORT_FILE, report(choice, plots))
    return out / REPORT_FILE
