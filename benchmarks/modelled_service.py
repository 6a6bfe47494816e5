"""The modelled Dataverse: the emulator in a process of its own, with a given speed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from apex_pipeline.emulator import Options, ServedEmulator, UserLimits, serve
from apex_pipeline.emulator.latency import Profile

SECRET = "benchmark"  # noqa: S105  made up
_CONTROL_SECRET = "benchmark-control"  # noqa: S105  made up; both processes know it


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the modelled service is.

    Attributes:
        request: Seconds for a request itself.
        row: Seconds for each row of a bulk request.
        single: Seconds for a request that writes one row.
        hint: `x-ms-dop-hint`.
        window_seconds: Window of the service protection limits; 0 for none.
        requests: Requests in a window.
        execution_seconds: Execution time in a window.
    """

    request: float
    row: float
    single: float
    hint: int
    window_seconds: float = 0
    requests: int = 10**9
    execution_seconds: float = 1e9

    def options(self) -> Options:
        """The emulator's options."""
        limits = UserLimits(concurrent=52, requests=10**9, execution_seconds=1e9)
        if self.window_seconds:
            limits = UserLimits(
                requests=self.requests,
                execution_seconds=self.execution_seconds,
                window_seconds=self.window_seconds,
                shortest_wait_seconds=1,
            )
        return Options(
            SECRET,
            profile=Profile(
                request=self.request,
                single=self.single,
                create=self.row,
                upsert=self.row,
                # The model charges both the same: clients differ in which they send.
                upsert_by_key=self.row,
            ),
            limits=limits,
            dop_hint=self.hint,
            # The dice of seed 0 spare the first twenty requests. These spare the first
            # alone, and then hit about as many as the probability says.
            seed=23,
            control_secret=_CONTROL_SECRET,
        )


@contextmanager
def modelled_service(speed: Speed) -> Iterator[ServedEmulator]:
    """Run the service until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(asdict(speed))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told = json.loads(process.stdout.readline() if process.stdout else "")
        with ServedEmulator(told["url"], Path(told["ca"]), speed.options()) as emulator:
            yield emulator
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Serve until standard input ends."""
    with serve(Speed(**json.loads(sys.argv[1])).options()) as emulator:
        told = {"url": emulator.url, "ca": str(emulator.ca_bundle)}
        print(json.dumps(told), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
