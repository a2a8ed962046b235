"""`python -m ovbench` is the command line."""

from ovbench.cli.main import main

if __name__ == "__main__":
    main()
