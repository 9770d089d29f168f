"""Batches: padded or end to end, on the device or made for each, they hold the same texts."""

from __future__ import annotations

import pytest
import torch

from peftcore.data.batches import Feed, Span, Tokenised

CPU = torch.device("cpu")
TEXTS = Tokenised([[5], [6, 7, 8], [9, 9], [4, 4]], [0, 1, 0, 1], pad_id=1)

either = pytest.mark.parametrize("resident", [False, True])


@either
def test_padded_batches_are_as_long_as_their_longest_text(resident: bool) -> None:
    feed = Feed(TEXTS, CPU, resident=resident)
    first, last = feed.batches([3, 1, 0], size=2)
    assert first.input_ids.tolist() == [[4, 4, 1], [6, 7, 8]]
    assert first.attention_mask is not None
    assert first.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert first.position_ids is None
    assert first.spans == (Span(0, 0, 2), Span(1, 0, 3))
    assert first.labels.tolist() == [1, 1]
    assert last.input_ids.tolist() == [[5]]
    assert last.labels.tolist() == [0]


@either
def test_texts_stand_end_to_end_each_with_positions_of_its_own(resident: bool) -> None:
    feed = Feed(TEXTS, CPU, end_to_end=True, resident=resident, first_position=2)
    first, last = feed.batches([3, 1, 0], size=2)
    # Filled up to one size of several.
    assert first.input_ids.tolist() == [[4, 4, 6, 7, 8, *11 * [1]]]
    assert first.position_ids is not None
    assert first.position_ids.tolist() == [[2, 3, 2, 3, 4, *11 * [2]]]
    assert first.attention_mask is None
    assert first.spans == (Span(0, 0, 2), Span(0, 2, 5))
    assert first.labels.tolist() == [1, 1]
    assert last.input_ids.tolist() == [[5, *15 * [1]]]
    assert last.spans == (Span(0, 0, 1),)


@pytest.mark.parametrize(
    ("tokens", "size"),
    [(1, 16), (16, 16), (17, 32), (160, 160), (170, 176), (300, 320), (1640, 1664), (9000, 9088)],
)
def test_batches_come_in_few_sizes(tokens: int, size: int) -> None:
    feed = Feed(Tokenised([[5] * tokens], [0], pad_id=1), CPU, end_to_end=True)
    assert feed.batch([0]).input_ids.shape == (1, size)


def test_the_padding_id_within_a_text_is_a_token_like_any_other() -> None:
    feed = Feed(Tokenised([[1, 5, 1], [5]], [0, 1], pad_id=1), CPU)
    mask = feed.batch([0, 1]).attention_mask
    assert mask is not None
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_positions_are_numbered_as_the_model_does_that_counts_past_padding() -> None:
    """RoBERTa takes its padding id within a text for padding, and so must we."""
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    rows = [[0, 1, 7, 1, 2], [0, 5, 2]]
    feed = Feed(Tokenised(rows, [0, 1], pad_id=1), CPU, end_to_end=True, first_position=2)
    positions = feed.batch([0, 1]).position_ids
    assert positions is not None
    expected = [
        RobertaEmbeddings.create_position_ids_from_input_ids(torch.tensor([row]), 1)[0].tolist()
        for row in rows
    ]
    assert positions[0, :8].tolist() == [*expected[0], *expected[1]]


def test_by_length_names_every_text_once_the_longest_first() -> None:
    order = Feed(TEXTS, CPU).by_length()
    assert sorted(order) == [0, 1, 2, 3]
    assert [len(TEXTS.ids[i]) for i in order] == [3, 2, 2, 1]
