"""``python -m benchmarks.page``: write ``docs/benchmarks.md`` and its plots."""

from benchmarks.page.render import write

if __name__ == "__main__":
    for written in write():
        print(written)
