"""What Unembed costs, as ratios against something else in the same run. `make bench` writes docs/benchmarks.md."""
