"""QLoRA's kin: other adapters that have 4-bit code of their own, over a quantised backbone."""

from __future__ import annotations

from dataclasses import replace

from peftcore.methods.declaring import Method, Quantisation
from peftcore.methods.lora_variants import LORA_VARIANTS
from peftcore.methods.low_rank import ADALORA, HIRA, PVERA, RANDLORA
from peftcore.methods.rotations import ROAD
from peftcore.methods.study import STUDIED


def _in_four_bits(method: Method) -> Method:
    return replace(
        method,
        slug=f"q{method.slug}",
        name=f"Q{method.name}",
        summary=f"{method.name} over a backbone that is stored in 4 bits.",
        quantisation=Quantisation(),
        groups=(),
        rate_of=method.rate_of or method.slug,
    )


_DORA = next(method for method in LORA_VARIANTS if method.slug == "dora")
_IA3 = next(method for method in STUDIED if method.slug == "ia3")

FOUR_BIT: tuple[Method, ...] = tuple(
    _in_four_bits(method) for method in (_DORA, ADALORA, HIRA, _IA3, PVERA, RANDLORA, ROAD)
)
