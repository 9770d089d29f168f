"""What is set aside when libraries are imported, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(program: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_what_was_imported_is_set_aside_and_counted_all_the_same() -> None:
    run(
        """
        import gc
        from peftcore.measuring.garbage import importing, live_objects

        class Cell:
            pass

        with importing():
            assert not gc.isenabled()
            library = Cell()
            lost = Cell()
            lost.itself = lost
            del lost
        assert gc.isenabled()
        own = Cell()

        def cells(objects):
            return [thing for thing in objects if type(thing) is Cell]

        assert cells(gc.get_objects()) == [own]
        assert sorted(map(id, cells(live_objects()))) == sorted([id(library), id(own)])
        """
    )


def test_an_import_that_fails_leaves_the_collector_at_work() -> None:
    run(
        """
        import gc
        from peftcore.measuring.garbage import importing

        try:
            with importing():
                raise ImportError
        except ImportError:
            assert gc.isenabled()
        """
    )
