"""`python -m visionkit VERB ...` is `visionkit VERB ...`."""

import sys

from visionkit.cli import main

sys.exit(main())
