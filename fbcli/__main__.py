"""python -m fbcli: the same as `fb`."""

from fbcli.commands.app import main

if __name__ == "__main__":
    main()
