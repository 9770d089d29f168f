"""The summary for a pull request, as a whole and in its parts.

``golden/gate.md`` is a run with a bit of everything. After a change that is meant, renew it with

    PEFTCORE_RENEW_GOLDEN=1 pytest tests/gate/test_summary.py

and read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peftcore.errors import UsageError
from peftcore.gate.judging import judge
from peftcore.gate.metrics import GROUPS
from peftcore.gate.summary import headline, to_lines, to_markdown, write_markdown
from peftcore.gate.verdicts import Look, Verdicts
from peftcore.report.metrics import ACCURACY
from tests.gate.runs import METHODS, run, trial, with_environment, with_measured, with_trial, worse

GOLDEN = Path(__file__).parent / "golden" / "gate.md"
ALONE = (ACCURACY,)


def a_bit_of_everything() -> Verdicts:
    """LoRA worse, IA3 incomplete, Full with fewer operations, a changed rank, another package."""
    before = run(range(42, 52), (*METHODS, "bow"), of="baseline")
    hyperparameters = {"trains": "everything", "r": 4}
    now = [
        *(with_measured(r, operations=4_000) for r in run(of="now", methods=("full",))),
        *worse(run(methods=("lora",)), 4),
        *run([42, 43], methods=("ia3",), of="now"),
        *(with_trial(r, hyperparameters=hyperparameters) for r in run(methods=("bow",), of="now")),
    ]
    packages = {**before[0].environment["packages"], "numpy": "2.4.6"}
    before = [with_environment(r, packages=packages) for r in before]
    now = [with_environment(r, packages={**packages, "numpy": "2.4.7"}) for r in now]
    return judge(before, now, metrics=(ACCURACY, *GROUPS["memory"], *GROUPS["counts"]))


def test_golden() -> None:
    text = to_markdown(a_bit_of_everything())
    if os.environ.get("PEFTCORE_RENEW_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text == GOLDEN.read_text(encoding="utf-8"), "see the top of this file"


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (judge(run(), run(), metrics=ALONE), "PASS (identical): nothing changed, to the bit."),
        (
            judge(run(range(42, 52)), worse(run(of="now"), 4), metrics=ALONE),
            "REGRESSION: worse than the baseline: accuracy of Full, accuracy of LoRA, "
            "accuracy of IA3 and accuracy of Mean of all methods.",
        ),
        (
            judge(run(), [], metrics=ALONE, methods=["lora"]),
            "INVALID: not comparable: accuracy of LoRA.",
        ),
        (
            judge(run(), run([70], of="now"), metrics=ALONE, methods=["lora"]),
            "INCONCLUSIVE: nothing is shown to be worse; still open: accuracy of LoRA.",
        ),
    ],
)
def test_the_headline_is_one_sentence(verdicts: Verdicts, words: str) -> None:
    assert headline(verdicts) == words


def test_what_came_from_data_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>|`*[a](http://b)\n# c"
    before = [with_trial(r, hyperparameters={evil: 1}) for r in run(methods=("lora",))]
    now = [with_trial(r, hyperparameters={evil: evil}) for r in run(methods=("lora",))]
    packages = {"torch": "2.13.0"}
    before = [with_environment(r, packages=packages) for r in before]
    now = [with_environment(r, packages={"torch": evil}) for r in now]
    # A method of somebody's own, of which only its records tell.
    before += [with_trial(r, method="mine|<b>", id=f"m{r.seed}") for r in run(methods=("full",))]
    text = to_markdown(judge(before, now))
    assert "<img" not in text
    assert "<b>" not in text
    assert "mine\\|&lt;b&gt;" in text
    assert "[a](" not in text
    assert "\n# c" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {9}


def test_a_look_says_that_it_is_one_of_several() -> None:
    verdicts = judge(run(), run(of="now"), metrics=ALONE, look=Look(seeds=3, share=0.25))
    assert "one of several looks, with 3 seeds a method; it spends 25% of both" in to_markdown(
        verdicts
    )


def test_lines_for_a_terminal_leave_out_what_is_identical() -> None:
    lines = to_lines(judge(run(), [*run(methods=("full", "lora"))], metrics=ALONE))
    assert lines[0] == "gate on imdb-roberta: INVALID"
    assert any(line.startswith("IA3") and "no trial with seed" in line for line in lines)
    assert not any(line.startswith("LoRA") for line in lines)
    assert lines[-1] == "2 of 3 numbers are identical, and not listed"


def test_a_summary_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    verdicts = judge([trial()], [trial()])
    with pytest.raises(UsageError, match=r"file/gate.md can't be written"):
        write_markdown(tmp_path / "file" / "gate.md", verdicts)
