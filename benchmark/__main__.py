"""`python -m benchmark`: the same program as the console script `particlebench`."""

from benchmark.cli import main

if __name__ == "__main__":
    main()
