import dataclasses

from peftcore.accelerations import ALL
from peftcore.methods import find_method
from peftcore.report import setup
from peftcore.report.render import warnings
from peftcore.report.summary import summarise
from peftcore.scenarios import find_scenario


def rows(records) -> dict[str, str]:
    lines = setup.setup_table(summarise(records)).splitlines()[2:]
    pairs = [line.strip("|").replace(r"\|", "¦").split("|") for line in lines]
    return {name.strip(): value.strip().replace("¦", r"\|") for name, value in pairs}


def test_the_whole_protocol_is_there(study):
    found = rows(study)
    assert found["Backbone"] == "roberta-base, pretrained weights"
    assert found["Backbone's identity"] == "sha256:" + "1" * 64
    assert found["Backbone on the hub"].endswith("@e2da8e2f811d1448a5b465c236feacd80ffbac7b")
    assert found["Examples"].startswith("3000 for training, 2000 for accuracy")
    assert (found["Epochs"], found["Batch size"]) == ("3", "8")
    assert found["Optimiser"] == "AdamW, weight decay 0.0, gradients clipped at 1.0"
    assert found["Schedule"] == "linear decay to zero, no warm-up"
    assert found["Precision"] == "fp16"
    assert found["Seeds"] == "42"
    assert found["GPU driver and CUDA"] == "545.23, 12.3"
    assert found["Packages"] == "peft 0.21.2, torch 2.13.0, transformers 5.23.0"
    assert found["Hash of peftcore's sources"] == "ab" * 32


def test_rates_are_grouped_and_say_where_they_come_from(record):
    one = rows([record("full"), record("lora"), record("bow")])["Learning rates"]
    origin = find_scenario("imdb-roberta").rates_origin
    assert one == f"2e-05 for every method ({origin})"
    slugs = ("full", "lora", "qlora", "ia3", "bow")
    tuned = rows([record(m, scenario="embedded") for m in slugs])["Learning rates"]
    origin = find_scenario("embedded").rates_origin
    assert tuned == f"0.0001 for Full, 0.002 for LoRA and QLoRA, 0.02 for IA3 ({origin})"


def test_rates_of_another_declaration_are_not_told_to_be_todays(record):
    scenario = find_scenario("imdb-minilm")
    full, lora = (
        dataclasses.replace(
            made, trial=made.trial | {"recipe": made.trial["recipe"] | {"learning_rate": rate}}
        )
        for made, rate in (
            (record("full", scenario="imdb-minilm"), scenario.rates["full"]),
            (record("lora", scenario="imdb-minilm"), 0.004),
        )
    )
    found = rows([full, lora])["Learning rates"]
    assert found == (
        f"2.5e-05 for Full, 0.004 for LoRA ({scenario.rates_origin}, as declared then; today the "
        "scenario has 0.001 for LoRA)"
    )
    assert rows([full])["Learning rates"].endswith(f"({scenario.rates_origin})")
    studied = dataclasses.replace(lora, trial=lora.trial | {"protocol": "study"})
    assert "today" not in rows([studied])["Learning rates"]


def test_a_rate_of_another_method_is_not_told_to_be_chosen_for_this_one(record):
    scenario = find_scenario("imdb-minilm")
    records = []
    for slug in ("full", "dora", "pissa", "bow"):
        made = record(slug, scenario="imdb-minilm")
        rate = scenario.learning_rate(find_method(slug))
        recipe = made.trial["recipe"] | {"learning_rate": rate}
        records.append(dataclasses.replace(made, trial=made.trial | {"recipe": recipe}))
    full, dora, *_ = records
    assert rows(records)["Learning rates"] == (
        f"2.5e-05 for Full, 0.001 for DoRA and PiSSA ({scenario.rates_origin}, for Full; all "
        "others have that of their kin, or a multiple of it)"
    )
    (note,) = setup.rates_notes(summarise(records))
    assert note.startswith("For DoRA and PiSSA no learning rate was chosen")
    assert f"> {note}" in warnings(summarise(records))
    assert rows([dora])["Learning rates"] == (
        "0.001 for every method (that of their kin, or a multiple of it)"
    )
    assert setup.rates_notes(summarise([full])) == []
    tuned = [
        dataclasses.replace(one, trial=one.trial | {"protocol": "tuned"}) for one in (full, dora)
    ]
    assert setup.rates_notes(summarise(tuned)) == []
    (studied,) = [record("dora")]
    assert setup.rates_notes(summarise([studied])) == [], "that scenario has one for every method"


def test_overridden_rates_are_not_the_scenarios(record):
    found = rows([record("lora", overrides=("learning_rate=3e-4",))])
    assert found["Learning rates"].endswith("(changed from the scenario's)")
    assert found["Changed from the scenario as declared"] == r"learning\_rate=3e-4"


def test_a_search_over_rates_has_them_in_one_row_only(record):
    searched = []
    for slug, rate in (("full", "1e-4"), ("lora", "1e-3")):
        made = record(slug, overrides=("split=tuning", f"learning_rate={rate}"))
        task = {**made.trial["task"], "split": "tuning"}
        searched.append(dataclasses.replace(made, trial={**made.trial, "task": task}))
    found = rows(searched)
    assert found["Changed from the scenario as declared"] == "split=tuning"
    assert found["Learning rates"].endswith("(the best of those tried)")


def test_a_recipes_dropout_is_where_something_is_dropped(record):
    def shown(dropout):
        made = record("lora")
        recipe = {**made.trial["recipe"], "dropout": dropout}
        changed = dataclasses.replace(made, trial={**made.trial, "recipe": recipe})
        return rows([changed])["Dropout"]

    assert shown(None) == "the backbone's and each method's own"
    assert shown(0.2) == "0.2 in the backbone and in each adapter that has dropout of its own"


def test_accelerations_are_all_some_none_or_unknown(record):
    def shown(names):
        made = record("lora")
        recipe = dict(made.trial["recipe"])
        if names is not None:
            recipe["accelerations"] = list(names)
        return rows([dataclasses.replace(made, trial={**made.trial, "recipe": recipe})])[
            "Accelerations"
        ]

    assert shown(ALL) == "all that apply"
    assert shown(ALL[:2]) == "padding-free, first-token"
    assert shown(()) == "none"
    assert shown(None) == "—"


def test_uncommitted_changes_are_told(record):
    environment = {"git_commit": "abc", "git_dirty": True}
    assert rows([record("lora", environment=environment)])["Commit"] == (
        "abc, with changes not committed"
    )


def test_an_empty_environment_is_shown_as_missing(record):
    found = rows([record("lora", environment={})])
    assert found["Packages"] == found["GPU"] == found["Processor"] == found["Commit"] == "—"


def test_a_gpu_that_no_trial_used_is_told(record):
    environment = {"hardware": {"gpu": "RTX 3050", "gpu_memory_bytes": 4_000_000_000}}
    used = rows([record("lora", environment=environment)])["GPU"]
    idle = rows([record("lora", gpu=False, environment=environment)])["GPU"]
    assert used == "RTX 3050, 4.0 GB"
    assert idle == "RTX 3050, 4.0 GB (no trial ran on it)"


def test_values_that_differ_are_all_listed(record):
    records = [
        record(m, environment={"packages": {"torch": version}, "hardware": {"cpu": version}})
        for m, version in (("full", "2.12"), ("lora", "2.13"))
    ]
    assert rows(records)["Packages"] == "torch 2.12; torch 2.13"
    assert "different machines" in setup.notes(summarise(records))[0]


def test_a_machine_with_some_mb_more_after_a_boot_is_the_same(record):
    """Its stored trials are used again, so that both may stand in one report."""
    records = [
        record(m, environment={"hardware": {"cpu": "x", "memory_bytes": memory}})
        for m, memory in (("full", 25_258_000_000), ("lora", 25_261_000_000))
    ]
    assert setup.notes(summarise(records)) == []


def test_notes_on_sources_are_told_once_and_escaped(record):
    records = [record(m, notes=("tokenizer | replaced", None)) for m in ("full", "lora")]
    assert setup.notes(summarise(records)) == [r"Backbone: tokenizer \| replaced"]


def test_foreign_text_can_not_break_the_table(record):
    environment = {"platform": "evil | x\n| y | z", "python": "<b>"}
    found = rows([record("lora", environment=environment)])
    assert found["Platform"] == r"evil \| x \| y \| z, Python &lt;b&gt;"


def test_methods_are_described_with_their_hyperparameters(study):
    text = setup.methods_table(summarise(study))
    assert "r = 16, targets = query and value" in text
    assert "([paper](https://arxiv.org/abs/2106.09685))" in text
