"""The commands of the command line that run workflows, a file each."""
