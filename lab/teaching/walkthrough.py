"""The function that the numbered notebooks call to get a run: trained once, read back afterwards."""

from pathlib import Path

from dept.runs.settings import TrainConfig
from lab.jobs.job import is_done, new_job
from lab.runs.read import Run, read_run
from lab.teaching.task_notebook import train


def trained(config: TrainConfig, runs_dir: str | Path) -> Run:
    """The finished run of these settings: read if it exists, else trained now, or resumed where it was stopped.

    Args:
        config: the settings; `output_dir` is not used, since the folder under `runs_dir` is named after the settings.

    Raises:
        DeptError: the settings, the data or the backbone cannot be used.
        RunError: the run was interrupted; the same call resumes it.
    """
    job = new_job(config, Path(runs_dir))
    return read_run(job.folder) if is_done(job) else train(job.config)
