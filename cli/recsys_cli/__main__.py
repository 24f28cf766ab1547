"""``python -m recsys_cli``."""

from recsys_cli.app import main

if __name__ == "__main__":
    main()
