"""`python -m hpo` is `hpo`."""

from hpo.entry import main

main()
