"""``python -m devstack``: the servers and chains alone; ``… demo`` and ``… up``: with the product on them."""

import sys

from devstack.demo import main

sys.exit(main(sys.argv[1:]))
