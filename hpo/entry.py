"""Where the command begins: out of the process list first, then everything else."""


def main() -> None:
    """Run `hpo` and exit with its code."""
    from hpo.process_list import leave_the_process_list

    leave_the_process_list()
    from hpo.cli import main as run

    run()
