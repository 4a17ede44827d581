"""`python -m maillog_forensics`."""

from maillog_forensics.cli import main

main()
