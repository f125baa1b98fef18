"""The page, as `python app.py` and a Hugging Face Space start it: `dept-lab app`, with the same flags."""

import sys

from lab.ui.cli import main

if __name__ == "__main__":
    sys.exit(main())
