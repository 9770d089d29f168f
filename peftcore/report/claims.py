"""The claims of the study that this suite grew from, each beside what was measured here.

A verdict is about this report's model, data and machine, not about the study's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peftcore.report import judging
from peftcore.report.judging import Finding
from peftcore.report.markdown import table
from peftcore.report.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the study.

    Attributes:
        key: its name in code.
        text: the claim.
        rule: when it counts as confirmed and when as not.
        judge: decides it.
    """

    key: str
    text: str
    rule: str
    judge: Callable[[Summary], Finding]


_NEVER_YET = "open until it is measured"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        key="lora-accuracy",
        text="LoRA reproduces 99.7% of Full's accuracy",
        rule="confirmed if the whole 95% interval of LoRA's difference from Full on texts like "
        "these is at or above −0.3% of Full's accuracy, not confirmed if all of it is below; one "
        "seed decides nothing",
        judge=judging.lora_reproduces_full,
    ),
    Claim(
        key="full-beats-lora",
        text="Full beats LoRA by 0.25 points",
        rule="confirmed if Full is told apart above LoRA on texts like these (p < 0.05 after "
        "Holm's correction), not confirmed if it is below; one seed decides nothing",
        judge=judging.full_beats_lora,
    ),
    Claim(
        key="lora-parameters",
        text="LoRA trains under 1% of the weights",
        rule="confirmed if trainable parameters, head included, are under 1% of all, not confirmed "
        "otherwise",
        judge=judging.lora_trains_little,
    ),
    Claim(
        key="lora-time",
        text="LoRA takes 25% less train time than Full",
        rule=f"confirmed from {judging.TIME_CONFIRMED_PERCENT:.0f}% less, not confirmed under "
        f"{judging.TIME_REFUTED_PERCENT:.0f}%; with every seed, none of them beside other trials",
        judge=judging.lora_saves_time,
    ),
    Claim(
        key="lora-memory",
        text="LoRA takes 44% less GPU memory than Full",
        rule=f"confirmed from {judging.MEMORY_CONFIRMED_PERCENT:.0f}% less allocated on a GPU, "
        "not confirmed otherwise; with every seed",
        judge=judging.lora_saves_memory,
    ),
    Claim(
        key="qlora-memory",
        text="QLoRA has the lowest GPU memory",
        rule="confirmed if none of Full, LoRA and IA3 allocates less on a GPU, not confirmed if "
        "one does",
        judge=judging.qlora_is_leanest,
    ),
    Claim(
        key="qlora-steps",
        text="QLoRA's steps are slower than LoRA's",
        rule=f"confirmed from {judging.SLOWER_CONFIRMED_PERCENT:.0f}% slower, not confirmed if "
        "faster; with every seed, none of them beside other trials",
        judge=judging.qlora_steps_are_slower,
    ),
    Claim(
        key="ia3-accuracy",
        text="IA3 has the largest accuracy gap",
        rule="confirmed if IA3 is told apart below each of Full, LoRA and QLoRA on texts like "
        "these (p < 0.05 after Holm's correction), not confirmed if it is above one; one seed "
        "decides nothing",
        judge=judging.ia3_has_the_largest_gap,
    ),
    Claim(
        key="adapter-files",
        text="Adapters are under 10 MB",
        rule="confirmed if what LoRA, QLoRA and IA3 must keep is under 10 MB each, not confirmed "
        "if one is larger",
        judge=judging.adapters_are_small,
    ),
    Claim(
        key="ia3-inference",
        text="IA3 gives fast inference",
        rule=_NEVER_YET,
        judge=judging.not_measured("the latency of inference"),
    ),
    Claim(
        key="carbon",
        text="PEFT saves carbon",
        rule=f"confirmed from {judging.CO2_CONFIRMED_PERCENT:.0f}% less CO2 in training than Full, "
        "by LoRA, QLoRA and IA3 each, not confirmed if one takes more; with every seed",
        judge=judging.adapters_save_carbon,
    ),
    Claim(
        key="model-size",
        text="Benefits grow with model size",
        rule=_NEVER_YET,
        judge=judging.not_measured("a report holds one model size"),
    ),
)


INTRODUCTION = (
    "Each claim of the study that this suite grew from, beside what was measured here: on this "
    "model, this data and this machine."
)


def claims_table(summary: Summary) -> str:
    """Return each claim with the measured figure, the verdict and the reason."""
    rows = []
    for claim in CLAIMS:
        finding = claim.judge(summary)
        rows.append([claim.text, finding.measured, f"**{finding.verdict}**", finding.why])
    headings = ["Claim of the source study", "Measured here", "Verdict", "Why"]
    return table(headings, rows, text_columns=4)


def rules() -> str:
    """Return the rule of each claim that can be decided, as a list in Markdown."""
    decidable = [claim for claim in CLAIMS if claim.rule != _NEVER_YET]
    return "\n".join(f"- {claim.text}: {claim.rule}." for claim in decidable)
