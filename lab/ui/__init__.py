"""The page: a file or a folder for each tab. Nothing here trains: `lab.service` starts processes that do."""
