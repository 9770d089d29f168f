"""Run two versions of this repository interleaved on one machine, and gate the second by the first.

::

    python benchmarks/base_and_head.py main .                    # the working tree against main
    python benchmarks/base_and_head.py ../base ../head --seeds 5 --out results

Times of two runs can be compared where both ran on the same machine at the same time, and on a
hosted machine never otherwise. So each trial of the base is followed, or preceded, by the same
trial of the head: seed by seed, and in each method by method, with the order of the two swapped
from one seed to the next.

It leaves ``base.jsonl`` and ``head.jsonl``, one record a trial, and ``summary.md``, which
``peftcore compare`` writes. Exit codes: 0 nothing is worse; 1 the gate failed, or a trial of the
head did not end well; 2 wrong usage; 3 the base could not run what the head ran.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FIRST_SEED = 42
EXIT_FAILED, EXIT_USAGE, EXIT_MISSING = 1, 2, 3


class Refused(Exception):
    """What was asked for can't be done; the message says what and how it can."""


@dataclass
class Version:
    """One of the two versions.

    Attributes:
        name: ``base`` or ``head``.
        sources: folder of its checkout.
        python: what runs it: an interpreter with its dependencies.
        records: its records, a line of JSON each.
        faults: in words, the trials that left no good record.
    """

    name: str
    sources: Path
    python: str
    records: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def ask(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``peftcore`` of this version, and return how it ended."""
        environment = {**os.environ, "PYTHONPATH": str(self.sources), "PYTHONUNBUFFERED": "1"}
        return subprocess.run(
            # -P: not the peftcore of the folder that this was called in.
            [self.python, "-P", "-m", "peftcore", *arguments],
            cwd=cwd,
            env=environment,
            text=True,
            encoding="utf-8",
            capture_output=True,
            check=False,
        )

    def methods(self, scenario: str) -> list[str]:
        """Return the slugs of the methods that it runs in a scenario.

        Raises:
            Refused: it has no such scenario, or can't be asked.
        """
        answer = self.ask("scenarios", "--json", "-")
        if answer.returncode:
            raise Refused(f"{self.name} can't be asked what it runs:\n{answer.stderr.strip()}")
        known = {one["name"]: one["methods"] for one in json.loads(answer.stdout)}
        if scenario not in known:
            raise Refused(f"{self.name} has no scenario {scenario!r}: it has {', '.join(known)}")
        return list(known[scenario])

    def knows(self, option: str) -> bool:
        """Return whether its command ``run`` has an option."""
        return option in self.ask("run", "--help").stdout


@dataclass(frozen=True)
class Turn:
    """One trial: whose, and which."""

    version: str
    method: str
    seed: int


def schedule(methods: Sequence[str], seeds: Sequence[int]) -> list[Turn]:
    """Return whose turn it is, trial by trial.

    Seeds are outermost, so that a run that is cut short has all methods, and a machine that grows
    slower with time does so for all. The two versions of a trial stand beside each other, and who
    goes first alternates with the seeds.
    """
    turns = []
    for place, seed in enumerate(seeds):
        order = ("head", "base") if place % 2 else ("base", "head")
        turns += [Turn(version, method, seed) for method in methods for version in order]
    return turns


def run_turn(version: Version, turn: Turn, options: Sequence[str], scratch: Path) -> None:
    """Run one trial, and keep its record or what went wrong."""
    target = scratch / "record.json"
    target.unlink(missing_ok=True)
    answer = version.ask(
        *("run", "--method", turn.method, "--seed", str(turn.seed), *options),
        # One of its own, so that no record of an earlier run can take this one's place.
        *("--store", str(scratch / f"store-{version.name}"), "--json", str(target)),
        cwd=scratch,
    )
    label = f"{version.name}: {turn.method}, seed {turn.seed}"
    last = (answer.stderr.strip().splitlines() or ["no word on why"])[-1]
    if target.is_file():
        version.records.append(target.read_text(encoding="utf-8").strip())
    if answer.returncode:
        version.faults.append(f"{label}: exit code {answer.returncode}: {last}")
    tell(f"{label}: {last}")


def tell(line: str) -> None:
    """Say something to whoever waits."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def checked_out(place: str, name: str, scratch: Path) -> Iterator[Path]:
    """Give the folder of a version: the one that was named, or a worktree of a git revision.

    Raises:
        Refused: it is neither.
    """
    if (Path(place) / "peftcore").is_dir():
        yield Path(place).resolve()
        return
    folder = scratch / name
    made = subprocess.run(
        ["git", "worktree", "add", "--detach", str(folder), place],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise Refused(
            f"{place} is neither a checkout of peftcore nor a revision of this one: "
            f"{made.stderr.strip()}"
        )
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], check=False)


def require_one_environment(base: Version, head: Version) -> None:
    """Check that versions which share an interpreter also share their dependencies.

    Raises:
        Refused: their pinned versions differ.
    """
    pins = [
        path.read_bytes() if path.is_file() else b""
        for path in (one.sources / "constraints.txt" for one in (base, head))
    ]
    if base.python == head.python and pins[0] != pins[1]:
        raise Refused(
            "constraints.txt differs between base and head: install each in an environment of its "
            "own and name both interpreters with --base-python and --head-python"
        )


def run_both(base: Version, head: Version, asked: argparse.Namespace, scratch: Path) -> list[str]:
    """Run the trials that both versions have, interleaved, and return what has to be said of them.

    Raises:
        Refused: they have none in common, or the head can't run as asked.
    """
    theirs, ours = base.methods(asked.scenario), head.methods(asked.scenario)
    wanted = ours if asked.method is None else asked.method.split(",")
    unknown = [method for method in wanted if method not in ours]
    if unknown:
        raise Refused(f"head has no method {', '.join(unknown)}: it has {', '.join(ours)}")
    methods = [method for method in wanted if method in theirs]
    if not methods:
        raise Refused(f"base has none of {', '.join(wanted)}: it has {', '.join(theirs)}")
    options = ["--scenario", asked.scenario]
    options += [part for setting in asked.settings for part in ("--set", setting)]
    for name in ("model", "data"):
        value = getattr(asked, name)
        if value is not None:
            # Trials run in another folder than this.
            options += [f"--{name}", str(Path(value).resolve()) if Path(value).is_dir() else value]
    limits: dict[str, list[str]] = {
        one.name: ["--timeout", asked.timeout] if asked.timeout and one.knows("--timeout") else []
        for one in (base, head)
    }
    turns = schedule(methods, range(FIRST_SEED, FIRST_SEED + asked.seeds))
    for number, turn in enumerate(turns, start=1):
        version = base if turn.version == "base" else head
        run_turn(version, turn, [*options, *limits[version.name]], scratch)
        tell(f"{number} of {len(turns)} trials are done")
    return [
        *(f"not compared, because only head has it: {m}" for m in wanted if m not in theirs),
        *(f"not compared, because only base has it: {m}" for m in theirs if m not in ours),
    ]


def compare(head: Version, out: Path, gate: str) -> tuple[int, str]:
    """Have the head's ``peftcore compare`` judge, and return its exit code and its summary."""
    summary = out / "verdicts.md"
    summary.unlink(missing_ok=True)
    answer = head.ask(
        *("compare", str(out / "base.jsonl"), str(out / "head.jsonl")),
        *("--markdown", str(summary), "--gate", gate),
    )
    tell((answer.stdout + answer.stderr).strip())
    if summary.is_file():
        text = summary.read_text(encoding="utf-8")
        summary.unlink()
        return answer.returncode, text
    return answer.returncode, f"No verdict:\n\n```\n{answer.stderr.strip()[-2000:]}\n```\n"


def write_summary(out: Path, blocks: Sequence[str]) -> None:
    """Write the summary out of blocks of Markdown."""
    text = "\n\n".join(block.strip() for block in blocks if block.strip())
    (out / "summary.md").write_text(f"{text}\n", encoding="utf-8")


def as_items(texts: Sequence[str]) -> str:
    """Return texts as a list."""
    return "\n".join(as_item(text) for text in texts)


def as_item(text: str) -> str:
    """Return text, which may hold anything, as an item of a list."""
    return f"- `{' '.join(text.split()).replace('`', chr(39))[:500]}`"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    option = parser.add_argument
    option("base", help="a checkout, or a git revision of this one")
    option("head", help="a checkout, or a git revision of this one")
    option("--seeds", type=int, default=3, help="how many seeds, from 42 on (default: 3)")
    option("--scenario", default="embedded", help="default: embedded")
    option("--method", metavar="NAME[,NAME…]", help="these only (default: all that both have)")
    option("--model", metavar="ID-OR-PATH", help="another backbone in the scenario's place")
    option("--data", metavar="ID-OR-PATH", help="another data set in the scenario's place")
    option("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[])
    option("--timeout", metavar="SECONDS", help="the longest a trial may take")
    option("--base-python", default=sys.executable, help="interpreter with base's dependencies")
    option("--head-python", default=sys.executable, help="interpreter with head's dependencies")
    option("--gate", default="fail", help="off, warn, fail or strict, for peftcore compare")
    option("--out", type=Path, default=Path("base-and-head"), help="where the results go")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both, compare, write the summary, and return the exit code."""
    asked = parse(arguments)
    out: Path = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-and-head-") as folder:
        scratch = Path(folder)
        try:
            if asked.seeds < 1:
                raise Refused(f"--seeds {asked.seeds} is not usable: expected at least 1")
            with (
                checked_out(asked.base, "base", scratch) as before,
                checked_out(asked.head, "head", scratch) as after,
            ):
                base = Version("base", before, asked.base_python)
                head = Version("head", after, asked.head_python)
                require_one_environment(base, head)
                notes = run_both(base, head, asked, scratch)
                for one in (base, head):
                    lines = "".join(f"{record}\n" for record in one.records)
                    (out / f"{one.name}.jsonl").write_text(lines, encoding="utf-8")
                status, verdicts = 0, ""
                if asked.gate != "off":
                    status, verdicts = compare(head, out, asked.gate)
        except Refused as error:
            tell(f"base_and_head: {error}")
            # Whoever waits for a summary gets to know why there is none.
            write_summary(out, ["Base and head were not compared:", as_item(str(error))])
            return EXIT_USAGE
    faults = [*base.faults, *head.faults]
    blocks = [verdicts, "**Trials without a good record**" if faults else ""]
    write_summary(out, [*blocks, as_items(faults), as_items(notes)])
    tell(f"{out / 'summary.md'}")
    if head.faults:
        return EXIT_FAILED
    if base.faults:
        return status or EXIT_MISSING
    return status


if __name__ == "__main__":
    sys.exit(main())
