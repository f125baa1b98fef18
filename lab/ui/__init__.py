"""The page: one file per tab. Nothing here trains; `lab.queue` and `lab.bench_jobs` start processes that do."""
