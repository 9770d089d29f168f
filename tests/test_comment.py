from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import comment
from benchmarks.comment import MARKER, MOST_CHARACTERS, harmless, read

WORKFLOWS = Path(__file__).resolve().parents[1] / ".github" / "workflows"
SCRIPT = Path(comment.__file__)

WORD = "\u200b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("by @somebody", f"by @{WORD}somebody"),
        ("by &#64;somebody", f"by &amp;#{WORD}64;somebody"),
        ("closes #12, GH-12", f"closes #{WORD}12, GH-{WORD}12"),
        ("[here](https://a.example)", f"[here]{WORD}(https{WORD}://a.example)"),
        ("![](//a.example/seen.png)", f"![]{WORD}(//a.example/seen.png)"),
        ("[here][1]", f"[here]{WORD}[1]"),
        ("[1]: //a.example", f"[1]{WORD}: //a.example"),
        ("see www.a.example", f"see www{WORD}.a.example"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("<!-- peftcore: base and head -->", "&lt;!-- peftcore: base and head -->"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y>"),
        ("right\u202eleft\x1b[31m\x00", "rightleft[31m"),
    ],
)
def test_what_would_do_something_is_text(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_a_summary_of_the_gate_looks_as_it_did() -> None:
    text = (
        "## ✅ Gate on embedded: PASS\n\n"
        "| Method | Accuracy |\n|:---|---:|\n| thin\\_lora | 91.40 → 91.15 &lt; 92 |\n\n"
        "**What to do next.** Nothing.\n\n<sub>Times within 5%.</sub>"
    )
    assert harmless(text) == text


def test_a_long_summary_is_cut_at_a_line() -> None:
    shown = harmless("a line and more\n" * 10_000)
    assert len(shown) < 65_536 - 1_000
    assert shown.endswith(" and more\n\n*Cut here: the artifact has all of it.*")
    assert len(harmless("x" * 10**6)) < MOST_CHARACTERS + 100


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    (tmp_path / "summary.md").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="no plain file"):
        read(tmp_path / "summary.md")
    with pytest.raises(ValueError, match="no plain file"):
        read(tmp_path)


def test_any_bytes_make_a_comment(tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_bytes(b"caf\xc3\xa9 \xff @all\r\n")
    command = [sys.executable, "-I", SCRIPT, tmp_path / "summary.md"]
    written = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8")
    assert written.startswith(f"{MARKER}\ncafé \ufffd @{WORD}all\n")
    assert "pull request" in written


def test_what_may_write_runs_nothing_of_a_pull_requests() -> None:
    """The workflow's rules that no schema knows."""
    text = (WORKFLOWS / "comment.yml").read_text(encoding="utf-8")
    assert MARKER in text
    for action in re.findall(r"uses: (\S+)", text):
        assert re.search(r"@[0-9a-f]{40}$", action)
    # It checks out its own branch, and puts nothing from the event into a script's text.
    assert "ref:" not in text
    scripts = [step.partition("run:")[2] for step in text.partition("steps:")[2].split("- name:")]
    assert sum(map(bool, scripts)) == 3
    assert not any("${{" in script for script in scripts)
    writers = [path.name for path in WORKFLOWS.glob("*.yml") if ": write" in path.read_text()]
    assert writers == ["comment.yml"]
    for path in WORKFLOWS.glob("*.yml"):
        assert "pull_request_target" not in path.read_text()
