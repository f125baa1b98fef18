"""The page, as `python app.py` and a Hugging Face Space start it; `dept-lab app` has flags for the same."""

from lab.ui.page import launch
from lab.ui.site import PageConfig

if __name__ == "__main__":
    launch(PageConfig.from_environment())
