"""The page's runs: queue, workers, owners, limits, uploads."""
