"""`python -m cxrssl`, the form that `accelerate launch -m` and `torchrun -m` want."""

from cxrssl.cli import main

main()
