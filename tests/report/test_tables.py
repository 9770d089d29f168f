from peftcore.report import tables
from peftcore.report.summary import summarise


def cells(text: str, method: str) -> dict[str, str]:
    """One row of a pipe table, by heading."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    (row,) = [row for row in rows[2:] if row[0].startswith(method)]
    return dict(zip(rows[0], row, strict=True))


def test_key_metrics_of_the_study(study):
    row = cells(tables.key_metrics(summarise(study)), "LoRA")
    assert row == {
        "Method": "LoRA",
        "Seeds": "1 of 1",
        "Accuracy (%)": "**91.15 [89.83, 92.32]**",
        "Trainable parameters": "1,181,954",
        "Trainable share (%)": "0.94",
        "Train time (s)": "**459.0**",
        "Step time (ms)": "**404.0**",
        "Peak GPU memory (GB)": "1.482",
        "File to keep (MB)": "4.73",
    }


def test_the_best_is_bold_among_methods_only(study):
    text = tables.key_metrics(summarise(study))
    assert cells(text, "Full")["Accuracy (%)"] == "**91.40 [90.09, 92.55]**"
    assert cells(text, "QLoRA")["Peak GPU memory (GB)"] == "**1.356**"
    assert "**" not in "".join(cells(text, "*Bag of words*").values())
    assert "**" not in "".join(cells(text, "*Head only*").values())


def test_ties_as_shown_are_all_bold(record):
    text = tables.key_metrics(
        summarise([record("full", train_seconds=10.01), record("lora", train_seconds=10.04)])
    )
    assert cells(text, "Full")["Train time (s)"] == "**10.0**"
    assert cells(text, "LoRA")["Train time (s)"] == "**10.0**"


def test_the_best_over_the_seeds_in_common_is_bold_whatever_another_ends_with_beyond(record):
    full = [record("full", seed=42 + n, accuracy=a) for n, a in enumerate((0.90, 0.91, 0.99))]
    lora = [record("lora", seed=42 + n, accuracy=a) for n, a in enumerate((0.92, 0.93))]
    text = tables.key_metrics(summarise([*full, *lora]))
    assert cells(text, "Full")["Accuracy (%)"].startswith("**93.")
    assert cells(text, "LoRA")["Accuracy (%)"].startswith("**92.")


def test_one_method_is_best_of_nothing(record):
    assert "**" not in tables.key_metrics(summarise([record("lora")]))


def test_references_and_methods_under_the_bag_of_words_are_marked(study):
    text = tables.key_metrics(summarise(study))
    assert "*Bag of words* (reference)" in text
    assert "*Head only* (reference)" in text
    assert [line[:8] for line in text.splitlines() if tables.UNDER_MARK in line] == ["| IA3 ▼ "]


def test_missing_is_a_dash(study):
    row = cells(tables.key_metrics(summarise(study)), "*Bag of words*")
    assert row["Trainable parameters"] == "—"
    assert row["Peak GPU memory (GB)"] == "—"
    assert row["File to keep (MB)"] == "—"


def test_a_failed_row_says_why_and_has_no_number(record):
    text = tables.key_metrics(
        summarise([record("full"), record("lora", outcome="oom", error="20.00 MiB of 4 GiB")])
    )
    row = cells(text, "LoRA")
    assert row["Accuracy (%)"] == "failed: out of memory"
    assert not any(character.isdigit() for character in "".join(row.values()))


def test_a_partly_failed_method_says_how_many_seeds_it_has(record):
    records = [record("lora", seed=seed) for seed in (1, 2)]
    records.append(record("lora", seed=3, outcome="crashed", error="killed"))
    assert cells(tables.key_metrics(summarise(records)), "LoRA")["Seeds"] == "2 of 3"


def test_one_finished_seed_among_several_states_no_error(record):
    records = [record("full", seed=seed, accuracy=0.9 + seed / 100) for seed in (1, 2)]
    records += [record("lora", seed=1), record("lora", seed=2, outcome="nan", error="x")]
    text = tables.key_metrics(summarise(records))
    assert cells(text, "LoRA")["Accuracy (%)"].strip("*") == "91.15"
    assert "[" in cells(text, "Full")["Accuracy (%)"]


def test_random_weights_show_no_accuracy_anywhere(record):
    summary = summarise([record(m, weights="random") for m in ("full", "lora", "bow")])
    text = tables.key_metrics(summary)
    for method in ("Full", "LoRA", "*Bag of words*"):
        assert cells(text, method)["Accuracy (%)"] == "—"
    assert "weights are random" in " ".join(tables.key_metrics_notes(summary))
    assert "points" not in tables.differences_from_full(summary)
    assert tables.differences_from_references(summary) is None


def test_that_trials_were_resumed_is_said(record):
    resumed = summarise([record("full", resumed=2), record("lora")])
    assert "1 trial went on from a checkpoint" in " ".join(tables.key_metrics_notes(resumed))
    assert "checkpoint" not in " ".join(tables.key_metrics_notes(summarise([record("full")])))


def test_on_a_cpu_memory_is_the_processs(record):
    summary = summarise([record("full", gpu=False), record("bow", gpu=False)])
    assert cells(tables.key_metrics(summary), "Full")["Peak memory (GB)"] == "2.639"
    assert "resident memory of the process" in " ".join(tables.key_metrics_notes(summary))
    assert "GPU" not in tables.details(summary)


def test_reserved_and_driver_memory_are_details(study):
    row = cells(tables.details(summarise(study)), "LoRA")
    assert row["GPU memory reserved (GB)"] == "1.632"
    assert row["GPU memory by the driver (GB)"] == "2.082"
    assert row["Adapter parameters"] == "589,824"


def test_differences_from_full(study):
    row = cells(tables.differences_from_full(summarise(study)), "LoRA")
    assert row["Accuracy (points)"] == "−0.25 [−1.36, +0.86]"
    assert row["Told apart from Full?"].startswith("no, p = ")
    assert row["Train time"] == "−25%"
    assert row["Peak GPU memory"] == "−44%"
    assert row["Trainable parameters"] == "−99.05%"


def test_differences_from_full_need_full(record):
    assert tables.differences_from_full(summarise([record("lora"), record("ia3")])) is None
    assert tables.differences_from_full(summarise([record("full")])) is None


def test_differences_over_seeds_have_an_interval(record):
    records = [record("full", seed=s, accuracy=0.90) for s in (1, 2)]
    records += [record("lora", seed=1, accuracy=0.91), record("lora", seed=2, accuracy=0.895)]
    summary = summarise(records)
    row = cells(tables.differences_from_full(summary), "LoRA")
    assert row["Accuracy (points)"].startswith("+0.25 [−")
    assert row["Told apart from Full?"].startswith("no, p = ")
    low, high = summary.inference.paired("lora", "full").interval_points
    # Two seeds: 12.7 standard errors, at the least.
    assert (high - low) / 2 > 12.7 * 0.75


def test_accuracies_that_can_not_be_told_apart_are_all_bold(study):
    text = tables.key_metrics(summarise(study))
    bold = [cells(text, m)["Accuracy (%)"].startswith("**") for m in ("Full", "QLoRA", "IA3")]
    assert bold == [True, True, False]
    assert "can't be told apart from it" in " ".join(tables.key_metrics_notes(summarise(study)))


def test_differences_from_references(study):
    row = cells(tables.differences_from_references(summarise(study)), "IA3")
    assert row["Above Bag of words (points)"] == "−2.05 [−3.44, −0.65]"
    assert row["Above Head only (points)"] == "+3.75 [+2.30, +5.20]"


def test_failed_trials_are_escaped_and_whole(record):
    error = "CheckFailed: a | b\n<img src=x> `rm`"
    text = tables.failed_trials(summarise([record("lora", outcome="failed", error=error)]))
    assert r"CheckFailed: a \| b &lt;img src=x&gt; \`rm\`" in text
    assert len(text.splitlines()) == 3


def test_without_failures_there_is_no_table_of_them(study):
    assert tables.failed_trials(summarise(study)) is None


def test_checks_name_the_methods_that_passed(study):
    text = tables.passed_checks(summarise(study))
    assert cells(text, "parameters")["Passed by"] == "Full, LoRA, QLoRA, IA3, Head only"


def test_the_use_of_the_machine_is_a_table_of_its_own(study):
    summary = summarise(study)
    assert cells(tables.machine_use(summary), "LoRA") == {
        "Method": "LoRA",
        "Seeds": "1 of 1",
        "Training speed (tokens/s)": "**4,325**",
        "Model FLOPs (TFLOP)": "860.0",
        "Model FLOPs a second (TFLOP/s)": "1.873",
        "Matrix-product rate (TFLOP/s)": "6.400",
        "Utilisation (%)": "29.3",
    }
    assert "padding left out" in tables.machine_use_note(summary)
    assert "Utilisation" not in tables.details(summary)
    row = cells(tables.machine_use(summary), "*Bag of words*")
    assert [row[heading] for heading in list(row)[2:]] == ["—"] * 5


def test_older_records_show_what_they_know_of_the_use_of_the_machine(record):
    unknown = dict.fromkeys(
        (
            "tokens_per_second",
            "model_flops",
            "model_flops_per_second",
            "matmul_flops_per_second",
            "utilisation",
        )
    )
    summary = summarise([record(slug, **unknown) for slug in ("full", "lora")])
    assert list(cells(tables.machine_use(summary), "LoRA")) == [
        "Method",
        "Seeds",
        "Training speed (tokens/s)",
    ]
    assert tables.machine_use_note(summary) is None
    assert tables.machine_use(summarise([record("bow")])) is None


def test_times_taken_while_other_trials_ran_are_marked(record):
    """Records of before it was known, or of a machine left alone, carry no mark."""
    records = [record("full", shared=False), record("lora", shared=True), record("ia3")]
    summary = summarise(records)
    text = tables.key_metrics(summary)
    assert cells(text, "LoRA")["Train time (s)"].strip("*").endswith(" ◊")
    assert "◊" not in cells(text, "LoRA")["Accuracy (%)"]
    assert text.count("◊") == text.split("LoRA")[1].split("\n")[0].count("◊")
    (note,) = [note for note in tables.key_metrics_notes(summary) if "◊" in note]
    assert "while other trials ran on the machine" in note
    assert "LoRA (seeds 42)" in note
    assert "Full" not in note
    less = tables.differences_from_full(summary)
    assert less is not None
    assert cells(less, "LoRA")["Train time"] == "−25% ◊"
    assert cells(less, "LoRA")["Peak GPU memory"] == "−44%"
    assert "◊" not in "".join(cells(less, "IA3").values())
    assert summary.error_bars_note.endswith("; times that have ◊ in the tables say little")
    busy = summarise([record("full", shared=True), record("lora", shared=True)])
    less = tables.differences_from_full(summarise([*busy.records, record("ia3")]))
    assert less is not None
    assert cells(less, "IA3")["Train time"] == "−23% ◊"
    assert "so that they say little: here all of them." in " ".join(tables.key_metrics_notes(busy))
    alone = summarise([record("full", shared=False), record("lora")])
    assert "◊" not in " ".join([tables.key_metrics(alone), *tables.key_metrics_notes(alone)])
    assert "◊" not in f"{tables.differences_from_full(alone)} {alone.error_bars_note}"


def test_a_difference_of_losses_is_one_in_nats_and_no_percentage(record):
    records = [record("full", train_loss=0.0323), record("lora", train_loss=0.1483)]
    row = cells(tables.differences_from_full(summarise(records)), "LoRA")
    assert row["Training loss (nats)"] == "+0.1160"
