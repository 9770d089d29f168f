"""What is trained in a parameter's place leaves the parameter as if it had been trained itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear

from peftcore.data.batches import Tokenised
from peftcore.training.standins import copies_in, only_used_rows, used_rows

EXAMPLES = Tokenised([[5, 3], [3, 9, 9]], [0, 1], pad_id=0)


def table() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(12, 4, padding_idx=0)


def test_rows_that_texts_use_and_padding_are_used() -> None:
    assert used_rows(table(), EXAMPLES).tolist() == [0, 3, 5, 9]


def test_used_rows_are_trained_as_all_would_be() -> None:
    whole, reference = table(), table()
    ids = torch.tensor([[5, 3, 0], [3, 9, 9]])
    adamw = torch.optim.AdamW([reference.weight], lr=0.1, weight_decay=0.0)
    with only_used_rows(whole, used_rows(whole, EXAMPLES)) as stand_ins:
        (small,) = stand_ins.values()
        assert list(stand_ins) == [id(whole.weight)]
        assert small.shape == (4, 4)
        mine = torch.optim.AdamW([small], lr=0.1, weight_decay=0.0)
        for _ in range(3):
            for module, optimiser in ((whole, mine), (reference, adamw)):
                optimiser.zero_grad()
                module(ids).square().sum().backward()
                optimiser.step()
        # Evaluation meets rows that training never did, and the others as trained so far.
        whole.eval()
        every = torch.arange(12)
        assert torch.equal(whole(every), reference(every))
        whole.train()
        for module, optimiser in ((whole, mine), (reference, adamw)):
            optimiser.zero_grad()
            module(ids).square().sum().backward()
            optimiser.step()
    assert torch.equal(whole.weight, reference.weight)
    assert torch.equal(whole(every), reference(every))
    assert whole.weight.grad is None


def test_evaluation_reads_rows_that_were_trained_without_a_call() -> None:
    """As where a recorded step is played back: epoch after epoch, none of it runs in Python."""
    whole = table()
    with only_used_rows(whole, used_rows(whole, EXAMPLES)) as stand_ins:
        (small,) = stand_ins.values()
        for trained in (1.0, 2.0):
            whole.train()
            small.data.fill_(trained)
            whole.eval()
            assert whole(torch.tensor([5])).tolist() == [[trained] * 4]
            assert whole.weight[9].tolist() == [trained] * 4


def test_the_row_of_padding_is_not_trained() -> None:
    whole = table()
    before = whole.weight.detach().clone()
    with only_used_rows(whole, used_rows(whole, EXAMPLES)) as stand_ins:
        (small,) = stand_ins.values()
        whole(torch.tensor([[5, 0, 0]])).sum().backward()
        assert small.grad is not None
        assert small.grad.abs().sum(-1).tolist() == [0, 0, 4, 0]
    assert torch.equal(whole.weight, before)


def test_an_error_in_the_block_loses_nothing_trained() -> None:
    whole = table()
    try:
        with only_used_rows(whole, used_rows(whole, EXAMPLES)) as stand_ins:
            (small,) = stand_ins.values()
            small.data.fill_(7.0)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert whole.weight[5].tolist() == [7.0] * 4
    assert not {"forward", "train"}.intersection(vars(whole))


def test_copies_take_the_products_and_their_gradients() -> None:
    torch.manual_seed(1)
    layers = [nn.Linear(6, 3), nn.Linear(3, 2, bias=False)]
    inputs = torch.randn(5, 6)
    with copies_in(torch.bfloat16, layers) as copies:
        parameters = [p for layer in layers for p in layer.parameters()]
        assert list(copies) == [id(p) for p in parameters]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = layers[1](layers[0](inputs))
        result.sum().backward()
        for parameter in parameters:
            copy = copies[id(parameter)]
            assert parameter.grad is None
            assert copy.grad is not None
            assert copy.grad.dtype == torch.bfloat16
            assert torch.equal(copy, parameter.bfloat16())
    weight, bias = layers[0].weight, layers[0].bias
    expected = linear(inputs.bfloat16(), weight.bfloat16(), bias.bfloat16())
    assert torch.equal(result, linear(expected, layers[1].weight.bfloat16()))
    assert not any("forward" in vars(layer) for layer in layers)
