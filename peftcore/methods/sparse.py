"""Methods that train few entries of a weight: of itself, or of its transform."""

from __future__ import annotations

from peftcore.methods.declaring import Method, Trains, on_query_and_value

SPARSE: tuple[Method, ...] = (
    Method(
        slug="shira",
        name="SHiRA",
        summary="Trains a random few entries of each weight, as many as a LoRA has.",
        paper="https://arxiv.org/abs/2406.13175",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("ShiraConfig", r=16, random_seed=0),
        rate_of="lora",
    ),
    Method(
        slug="supertuning",
        name="Super-Tuning",
        summary="Trains the entries of each weight that are largest, and leaves the others.",
        paper="https://arxiv.org/abs/2607.09287",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("SupertuningConfig", sparsity=0.917),
        rate_of="lora",
    ),
    Method(
        slug="fourierft",
        name="FourierFT",
        summary="Trains a thousand coefficients of the update's Fourier transform.",
        paper="https://arxiv.org/abs/2405.03003",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("FourierFTConfig", n_frequency=1000, scaling=150.0),
        rate_of="ia3",
        rate_times=5.0,
    ),
    Method(
        slug="waveft",
        name="WaveFT",
        summary="Trains a few coefficients of the update's wavelet transform.",
        paper="https://arxiv.org/abs/2505.12532",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("WaveFTConfig", n_frequency=2592),
        rate_of="lora",
    ),
    Method(
        slug="c3a",
        name="C3A",
        summary="Adds a matrix of circulant blocks: circular convolutions with trained kernels.",
        paper="https://arxiv.org/abs/2407.19342",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("C3AConfig", block_size=16),
        rate_of="lora",
        rate_times=50.0,
    ),
)
