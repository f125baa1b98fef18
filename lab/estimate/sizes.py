"""A run's method with nothing left open, before its weights are loaded."""

import warnings

from dept.methods.contract import Facts, MethodConfig
from dept.runs.settings import TrainConfig


def sized(config: TrainConfig, facts: Facts) -> MethodConfig:
    """The method's config with "auto" as numbers. Of a budget that is exceeded the run itself will warn.

    Raises:
        ConfigError: what cannot be on this backbone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return config.method_config().resolved(facts)
