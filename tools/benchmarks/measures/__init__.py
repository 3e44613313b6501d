"""What the benchmarks measure, in a module for each; they import torch, the tools do not."""
