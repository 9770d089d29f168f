"""The command line: ``peftcore``, or ``python -m peftcore``."""

from __future__ import annotations

import click

from peftcore.commands.comparing import baseline, compare, fingerprint
from peftcore.commands.listing import accelerations, doctor, methods, scenarios
from peftcore.commands.reporting import audit_report, check, flips, import_records, report
from peftcore.commands.running import choose, run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="peftcore")
def main() -> None:
    """Compare fine-tuning methods on equal terms, and say how sure the answer is."""


for command in (
    *(run, choose),
    *(report, import_records, check, audit_report, flips),
    *(baseline, compare, fingerprint),
    *(methods, scenarios, accelerations, doctor),
):
    main.add_command(command)


if __name__ == "__main__":
    main()
