"""Run a benchmark within the web process, for ZeroGPU Spaces: only that process can be lent a GPU."""

import threading
from pathlib import Path

from rich.console import Console

from dept.errors import DeptError
from lab.bench.config import BenchConfig
from lab.bench.plan import MeasureJob, Measurement
from lab.bench.run import run_bench
from lab.service.zero_gpu import lent_gpu

_GPU_SECONDS = 120  # for one measurement


@lent_gpu(_GPU_SECONDS)
def measure_here(job: MeasureJob) -> Measurement:
    """Do one measurement, in this process or where the lent GPU is."""
    from lab.bench.worker import measure

    return measure(job)


class LentBench(threading.Thread):
    """A benchmark that runs in a thread.

    Args:
        output_dir: the folder for bench.json and the output (log.txt).
    """

    def __init__(self, config: BenchConfig, output_dir: Path) -> None:
        super().__init__(name=f"bench-{output_dir.name}", daemon=True)
        self._config, self._folder = config, output_dir
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the benchmark after the current measurement."""
        self._stopped.set()

    def run(self) -> None:
        with (self._folder / "log.txt").open("w", encoding="utf-8") as log:
            try:
                run_bench(self._config, self._folder, Console(file=log), measure=self._measure)
            except DeptError as fault:
                print(f"error: {fault}", file=log)

    def _measure(self, job: MeasureJob) -> Measurement:
        if self._stopped.is_set():
            raise KeyboardInterrupt
        return measure_here(job)
