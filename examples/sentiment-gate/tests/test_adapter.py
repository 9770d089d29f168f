from sentiment_gate.methods import THIN_LORA


def test_adapter(peft_trial):
    result = peft_trial(method=THIN_LORA, data="data", name="workshop", max_length=64)
    assert result.accuracy > 0.75
