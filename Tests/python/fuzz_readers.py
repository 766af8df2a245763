"""Opens mutated files of every kind that SeamKit reads and reports what is not a sentence: a signal, a hang, an exception
other than SeamError.

    python Tests/python/fuzz_readers.py --mutants 20000 --seed 7 --keep .build/fuzz

Readers in libSeam run in a forked process that goes from mutant to mutant and says which one it is at; when it dies or
stands still, another goes on behind that one. Readers of the program `seam` get a process for each mutant. The same seed
gives the same mutants. What failed is kept in --keep, with what was said. Exits 1 if anything failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import mmap
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

from seam_abi import library_path  # noqa: E402

os.environ.setdefault("SEAMKIT_LIBRARY_PATH", str(library_path().parent))

import seamkit  # noqa: E402
from command_line import command  # noqa: E402
from fuzz_inputs import Subject, make, write_mutant  # noqa: E402
from seamkit.errors import one_line  # noqa: E402

# Of processor time: a loaded machine is no hang.
LIMIT_SECONDS = 20
# Above what any mutant needs, so that one that asks for too much is told so and the machine goes on.
LIMIT_BYTES = 24 << 30


class Findings:
    def __init__(self, keep: Path | None):
        self.keep, self.count = keep, 0

    def add(self, subject: Subject, number: int, folder: Path, what: str) -> None:
        self.count += 1
        print(f"{subject.name} {number}: {what}", flush=True)
        if self.keep is not None:
            kept = self.keep / f"{subject.name}-{Path(subject.files[0]).name}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept)
            (kept / "FOUND").write_text(what)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_process(good: Path, subject: Subject, numbers: range, seed: int, work: Path, findings: Findings) -> None:
    """Runs a subject's mutants in forked processes."""
    at = mmap.mmap(-1, 8)
    next_number = numbers.start
    while next_number < numbers.stop:
        at[:] = struct.pack("<q", next_number)
        said = work / "said"
        pid = os.fork()
        if pid == 0:
            child(good, subject, range(next_number, numbers.stop), seed, work, at, said)
        reached, since = next_number, 0.0
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            time.sleep(0.05)
            number, used = struct.unpack("<q", at[:])[0], cpu_seconds(pid)
            if number != reached:
                reached, since = number, used
            if used - since > LIMIT_SECONDS:
                os.kill(pid, signal.SIGKILL)
                done, status = os.waitpid(pid, 0)
                break
        reached = struct.unpack("<q", at[:])[0]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        words = said.read_text(errors="replace").strip()[-1500:]
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            hung = number == signal.SIGKILL and since > 0
            words = f"{'hangs' if hung else signal.Signals(number).name}: {words}"
        findings.add(subject, reached, work / "mutant", words)
        next_number = reached + 1


def child(good: Path, subject: Subject, numbers: range, seed: int, work: Path, at: mmap.mmap, said: Path) -> None:
    """Opens one mutant after the other; leaves with 0 at the end, with 1 behind an exception that is no sentence."""
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable(output)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    assert callable(subject.use)
    for number in numbers:
        at[:] = struct.pack("<q", number)
        write_mutant(good, subject, number, seed, work / "mutant")
        try:
            subject.use(work / "mutant")
        except seamkit.SeamError as error:
            if number < 0 or one_line(str(error)) != str(error) or isinstance(error, seamkit.InternalError):
                print(f"{type(error).__name__}: {error!s}", flush=True)
                os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os._exit(0)


def by_program(good: Path, subject: Subject, numbers: range, seed: int, work: Path, findings: Findings) -> None:
    """Runs a subject's mutants through the program."""
    assert isinstance(subject.use, list)
    for number in numbers:
        write_mutant(good, subject, number, seed, work / "mutant")
        folder = str(work / "mutant")
        process = command(*(str(each).replace("{}", folder) for each in subject.use))
        limits = {
            resource.RLIMIT_CPU: (LIMIT_SECONDS, LIMIT_SECONDS + 1),
            resource.RLIMIT_AS: (LIMIT_BYTES, LIMIT_BYTES),
        }
        done = subprocess.run(
            **{**process, "text": False},
            preexec_fn=lambda: [resource.setrlimit(which, limit) for which, limit in limits.items()],
        )
        error = done.stderr.decode(errors="backslashreplace")
        if number < 0 and done.returncode != 0:
            findings.add(subject, number, work / "mutant", f"the valid input is refused: {error[-1500:]}")
        elif done.returncode < 0:
            number_of_signal = -done.returncode
            findings.add(subject, number, work / "mutant", f"{signal.Signals(number_of_signal).name}: {error[-1500:]}")
        elif (
            done.returncode not in (0, 1)
            or done.returncode == 1
            and not (
                "Error: " in error
                and "\n" not in (said := error.partition("Error: ")[2].rstrip("\n"))
                and one_line(said) == said
            )
        ):
            findings.add(subject, number, work / "mutant", f"exit {done.returncode}: {error[-1500:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=2000, help="how many, over all subjects")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subject", action="append", help="only this subject; may be repeated")
    parser.add_argument("--number", type=int, help="only this mutant of the subjects")
    parser.add_argument("--keep", type=Path, help="where mutants that failed are kept")
    arguments = parser.parse_args()
    findings, opened = Findings(arguments.keep), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        work = Path(name)
        subjects = make(work / "good")
        if arguments.subject:
            subjects = [each for each in subjects if each.name in arguments.subject]
        # A process for each mutant takes several times as long.
        weights = [1 if isinstance(each.use, list) else 4 for each in subjects]
        for subject, weight in zip(subjects, weights, strict=True):
            count = max(1, round(arguments.mutants * weight / sum(weights)))
            # The valid input goes first.
            numbers = range(-1, count) if arguments.number is None else range(arguments.number, arguments.number + 1)
            start, before = time.monotonic(), findings.count
            run = by_program if isinstance(subject.use, list) else in_process
            run(work / "good", subject, numbers, arguments.seed, work, findings)
            opened += count
            print(
                f"{subject.name} ({', '.join(subject.files[:3])}): {count} mutants, "
                f"{findings.count - before} findings, {time.monotonic() - start:.0f} s",
                flush=True,
            )
    print(f"{opened} mutants, {findings.count} findings")
    return 1 if findings.count else 0


if __name__ == "__main__":
    sys.exit(main())
