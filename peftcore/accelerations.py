"""How training is made cheap: one declaration an acceleration, with what it changes in the numbers.

A declaration is plain data, as a method is; ``peftcore.training.accelerating`` carries it out where
it applies, and a trial's record says where it didn't and why.
"""

from __future__ import annotations

from dataclasses import dataclass

from peftcore.errors import UsageError, unknown


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """One way to make training cheaper that leaves what is learned as it is.

    Attributes:
        name: what it is called in options and records.
        summary: what it does.
        numerics: what it changes in the numbers.
    """

    name: str
    summary: str
    numerics: str


PADDING_FREE = Acceleration(
    name="padding-free",
    summary="A batch is the tokens of its texts end to end; no time goes into padding.",
    numerics="Sums over a text's tokens run in another order: the last bits may differ.",
)
FIRST_TOKEN = Acceleration(
    name="first-token",
    summary="The last layer computes the first token alone, the only one that the head reads.",
    numerics="Nothing but rounding and which numbers dropout drops: what is left out never "
    "reaches the loss.",
)
FROZEN_WEIGHTS = Acceleration(
    name="frozen-weights",
    summary="Frozen weights of linear layers are kept in the number format they are multiplied in, "
    "unless an adapter reads them for something else.",
    numerics="Nothing: they are rounded once and not in each step, to the same numbers.",
)
CHEAP_DROPOUT = Acceleration(
    name="cheap-dropout",
    summary="Dropout draws 16 random bits a number and not a whole one, in attention too.",
    numerics="Other numbers are dropped, with a probability that is off by less than 0.00001; "
    "attention multiplies in the precision of the recipe, as it does without dropout.",
)
COMPILED_KERNELS = Acceleration(
    name="compiled-kernels",
    summary="On a processor attention, GELU, and dropout with the sum and the normalisation after "
    "it, are one pass each, compiled on this machine; masks and attention weights are computed "
    "again and not kept.",
    numerics="Attention's weights stay in 32 bits, sums run in another order, and what a "
    "normalisation keeps for its gradient is rounded to the number format of the products.",
)
FOUR_BIT_SCRATCH = Acceleration(
    name="four-bit-scratch",
    summary="4-bit layers give their output in the number format that they multiplied in, and on a "
    "GPU they dequantise into one buffer.",
    numerics="A sum with an adapter's output is rounded to that format, as it is beside a layer "
    "that isn't quantised.",
)
BF16_GRADIENTS = Acceleration(
    name="bf16-gradients",
    summary="Trained matrices are multiplied by way of a bf16 copy that each update renews, and "
    "their gradients stay in bf16.",
    numerics="Nothing but the last bits of sums: in the products the gradients are rounded to bf16 "
    "anyway.",
)
USED_ROWS = Acceleration(
    name="used-rows",
    summary="Of the token embedding only those rows are trained that some training text uses.",
    numerics="Nothing: without weight decay AdamW never moves a row that no text uses.",
)
FUSED_UPDATE = Acceleration(
    name="fused-update",
    summary="Clipping scales the gradients inside AdamW's own pass over them.",
    numerics="A clipped gradient is divided by its excess and not multiplied by its inverse: the "
    "last bit may differ.",
)
RESIDENT_TOKENS = Acceleration(
    name="resident-tokens",
    summary="All token ids are put on the device once, and a step picks its batch there.",
    numerics="Nothing.",
)
STEP_GRAPH = Acceleration(
    name="step-graph",
    summary="On a GPU a whole step is recorded once for each size of batch, and played back.",
    numerics="Nothing: the same kernels run in the same order.",
)
SORTED_EVALUATION = Acceleration(
    name="sorted-evaluation",
    summary="Test examples are evaluated by length, so that a batch holds texts of one length.",
    numerics="A text shares its batch with others: the last bits of its logits may differ.",
)

ACCELERATIONS: tuple[Acceleration, ...] = (
    PADDING_FREE,
    FIRST_TOKEN,
    FROZEN_WEIGHTS,
    CHEAP_DROPOUT,
    COMPILED_KERNELS,
    FOUR_BIT_SCRATCH,
    BF16_GRADIENTS,
    USED_ROWS,
    FUSED_UPDATE,
    RESIDENT_TOKENS,
    STEP_GRAPH,
    SORTED_EVALUATION,
)

ALL = tuple(acceleration.name for acceleration in ACCELERATIONS)
"""The names of all, in their order."""


def parse_accelerations(text: str) -> tuple[str, ...]:
    """Return the names that an option's value stands for, in the order of their declarations.

    ``all`` and ``none`` are what they say, ``a,b`` is just those two, and ``-a,-b`` is all but
    those two.

    Raises:
        UsageError: a name does not exist, or names are both given and taken away.
    """
    parts = [part.strip().lower() for part in text.split(",") if part.strip()]
    if parts == ["all"]:
        return ALL
    if parts == ["none"]:
        return ()
    named = {part.removeprefix("-") for part in parts}
    for name in sorted(named):
        if name not in ALL:
            raise unknown("acceleration", name, (*ALL, "all", "none"), where="accelerations")
    taken_away = [part.startswith("-") for part in parts]
    if not parts or (any(taken_away) and not all(taken_away)):
        raise UsageError(
            f"accelerations={text} is not usable: expected all, none, the names of those to use, "
            "or, each with a minus before it, of those to leave out"
        )
    return tuple(name for name in ALL if (name in named) is not taken_away[0])
