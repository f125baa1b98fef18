"""The page: a file or a folder for each tab. The page does not train: `lab.service` starts processes that do."""
