"""Speed against named peers, all measured in the same run: python -m experiments.bench, or make bench."""
