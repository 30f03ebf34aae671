"""Fuzz what meets a server's bytes: ``python tests/fuzz decoder --seconds 30`` (Linux, atheris).

Targets are the functions of ``tests/support/fuzz_targets.py``; ``all`` runs one after another. A
failing input is printed, kept in a file, and replayed with
``python tests/fuzz decoder --replay FILE``. An input that found a defect becomes a line in
``tests/fuzz/test_fuzz_targets.py``.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(_ROOT))
NAMES = ("decoder", "events", "turns", "stored")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*NAMES, "all"])
    parser.add_argument("--seconds", type=int, default=30, help="how long, for each target")
    parser.add_argument("--seed", type=int, default=0, help="0: by chance, and printed")
    parser.add_argument("--corpus", type=Path, help="a folder of inputs to begin with and add to")
    parser.add_argument("--replay", type=Path, help="run the target once, on this file")
    options = parser.parse_args()
    if options.target == "all":
        command = [sys.executable, __file__, "--seconds", str(options.seconds)]
        return max(subprocess.call([*command, name]) for name in NAMES)  # noqa: S603 - our own
    if options.replay is not None:
        from tests.support.fuzz_targets import TARGETS

        TARGETS[options.target](options.replay.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[fuzz]', where it has a wheel")
        return 2
    fuzz(options.target, options.seconds, options.seed, options.corpus)
    return 0


def fuzz(name: str, seconds: int, seed: int, corpus: Path | None) -> None:
    """Run one target; libFuzzer ends the process, with a status of its own for what fails."""
    atheris = importlib.import_module("atheris")  # it is not there on every system

    # Only what is imported in here is instrumented, and so tells the fuzzer what is new.
    with atheris.instrument_imports(
        include=["trio_mix", "tests.support.fuzz_targets", "tests.support.fuzz_events"],
        enable_loader_override=False,
    ):
        from tests.support.fuzz_targets import DICTIONARY, SEEDS, TARGETS

    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    (folder / "seeds").mkdir()
    for number, data in enumerate(SEEDS[name]):
        (folder / "seeds" / str(number)).write_bytes(data)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in DICTIONARY[name]))
    folders = [str(each) for each in (corpus, folder / "seeds") if each is not None]
    arguments = [f"-max_total_time={seconds}", "-max_len=300", "-timeout=20"]
    arguments += [f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    arguments += [f"-dict={folder / 'words'}"] if DICTIONARY[name] else []
    arguments += [f"-seed={seed}"] if seed else []
    print(f"fuzzing {name}; what fails is kept in {folder}", flush=True)
    atheris.Setup([sys.argv[0], *arguments, *folders], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
