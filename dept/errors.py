"""The faults that a user can mend. Each carries one or two lines: what is wrong, and what to do.

The command line prints such a message and exits with 2; from Python they are ordinary typed exceptions.
"""


class DeptError(Exception):
    """Base of every fault whose cause is the input: a setting, a file, a row, a name, the network."""


class ConfigError(DeptError, ValueError):
    """A setting that cannot be used; the message names the field."""


class BudgetError(ConfigError):
    """A split of the parameter budget that cannot exist (more virtual tokens than the budget, ...)."""


class TaskError(DeptError, ValueError):
    """An unknown task, or a task file that cannot be used."""


class DataError(DeptError, ValueError):
    """Rows that are missing, unreachable or not in the task's schema; the message names the first bad row."""


class BackboneError(DeptError, ValueError):
    """A backbone that is unknown, unreachable, gated or of an unsupported kind."""


class AdapterError(DeptError, ValueError):
    """An adapter folder that is damaged, truncated, malicious or made for another backbone."""


class RunError(DeptError, RuntimeError):
    """A run that cannot start, go on or resume (locked, changed settings, non-finite loss)."""
