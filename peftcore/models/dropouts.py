"""Which options of peft's configurations are an adapter's own dropout: the one place that knows."""

from __future__ import annotations

import peft

from peftcore.methods import Adapter

_OTHERWISE = {
    # All of a layer's adapter is left out of a batch, and nothing makes up for it: that is another
    # regularisation. Dropout is their rank_dropout, of a product's rows.
    ("LoHaConfig", "module_dropout"),
    ("LoKrConfig", "module_dropout"),
    # peft (0.21.2) makes a module for it, and never calls it.
    ("OFTConfig", "module_dropout"),
}
"""Options that a recipe leaves as declared. DeLoRA's, of the same name, drops inputs."""

_ONLY_WITH = {
    # Of a recurrent encoder.
    ("PromptEncoderConfig", "encoder_dropout"): "encoder_reparameterization_type",
    # Of a LoRA beside.
    ("SupertuningConfig", "lora_dropout"): "r",
}
"""By an option that does nothing by itself, the one that has to be given, too."""


def own_dropouts(adapter: Adapter) -> tuple[str, ...]:
    """Return the options by which an adapter drops something of what it computes in training.

    They are the fields of peft's class that are called so, whether or not the method declares them.
    What it declares counts, whatever it does.
    """
    found = []
    for name in getattr(peft, adapter.config).__dataclass_fields__:
        if not name.endswith("dropout"):
            continue
        option = (adapter.config, name)
        needed = _ONLY_WITH.get(option)
        drops = option not in _OTHERWISE and (needed is None or needed in adapter.options)
        if drops or name in adapter.options:
            found.append(name)
    return tuple(found)
