"""How fast this is, and against what: `make bench` measures, and writes docs/benchmarks.md.

    measuring  what a piece of work cost, and the ratio of two over several rounds
    subject    a process that is timed: it works when it is asked to, so that several can take turns
    ours       such a process: our engine, or that of an earlier commit
    rivals     such processes: Hugging Face and CTranslate2, on a network of the same shape
    engine, peers, around, paths, memory            the parts; each gives its tables
    whole_*, first_try                              programs that decode a whole corpus, each in its own way
    echo, results                                   the path without a decoder
    gpu                                             `make bench-gpu`, by itself
    quality                                         `make bench-quality`, by itself: quality against time
    report     the page

Only what was measured in one run, on the same vectors and the same cores, is compared.
"""
