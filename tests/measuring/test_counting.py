import pytest
import torch

from peftcore.measuring.counting import count_operations, tensor_bytes, weights_sha256


def test_operations_of_forward_and_backward_are_counted():
    weight = torch.ones(3, 3, requires_grad=True)
    text = torch.ones(2, 3)

    forward = count_operations(lambda: text @ weight)
    both = count_operations(lambda: (text @ weight).sum().backward())

    assert forward == 1
    # The product, the sum and, at least, the gradients of both.
    assert both >= 4


def test_the_same_work_counts_the_same_and_one_more_operation_counts():
    weight = torch.ones(3, 3, requires_grad=True)

    def work():
        (weight @ weight).sum().backward()

    def more_work():
        (weight @ weight).relu().sum().backward()

    assert count_operations(work) == count_operations(work) < count_operations(more_work)


def test_each_storage_counts_once_and_only_while_it_is_held():
    before = tensor_bytes()
    held = torch.zeros(1000, dtype=torch.float32)
    views = [held[:500], held.view(10, 100)]

    assert tensor_bytes() - before == 4000
    del held, views
    assert tensor_bytes() == before


def test_the_states_of_an_optimiser_are_seen():
    parameter = torch.nn.Parameter(torch.ones(1000))
    parameter.grad = torch.ones(1000)
    before = tensor_bytes()
    optimiser = torch.optim.AdamW([parameter])
    optimiser.step()

    # Two moments of 32 bits each, and the count of steps.
    assert tensor_bytes() - before == pytest.approx(8000, abs=16)


def test_a_hash_tells_numbers_names_and_shapes_apart():
    weights = {"a": torch.ones(4), "b": torch.zeros(2)}
    same = {"b": torch.zeros(2), "a": torch.ones(4)}
    others = [
        {"a": torch.ones(4), "b": torch.tensor([0.0, 1e-30])},
        {"a": torch.ones(4), "c": torch.zeros(2)},
        {"a": torch.ones(2, 2), "b": torch.zeros(2)},
        {"a": torch.ones(4).double(), "b": torch.zeros(2)},
    ]

    assert weights_sha256(weights) == weights_sha256(same)
    assert len({weights_sha256(other) for other in [weights, *others]}) == 5
