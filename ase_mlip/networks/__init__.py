"""Networks of the contract; each file is one architecture and imports torch only."""
