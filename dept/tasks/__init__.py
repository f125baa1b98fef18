"""Tasks: what a row of a data set becomes (source, target, answers) and how it is scored. Cheap to import."""

from dept.tasks.registry import list_tasks, load_task
from dept.tasks.task import Example, SplitRule, Task

__all__ = ["Example", "SplitRule", "Task", "list_tasks", "load_task"]
