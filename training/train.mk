# The Python side of the project; included by the Makefile. The environments
# are made once, outside the tree, by training/venv.sh.

.PHONY: train test-client test-client-torch parity testdata

## train: train the demo policy from its fixed seed and export it (about three minutes on two cores)
train:
	training/train.sh

## test-client: tests of the Python package without torch
test-client:
	clients/python/test.sh

## test-client-torch: tests of the Python package with torch
test-client-torch:
	clients/python/test.sh --torch

## parity: compare the command with torch, Stable-Baselines3 and scikit-learn on freshly drawn policies
parity:
	parity/run.sh

## testdata: write the corpus again with five versions of torch
testdata:
	testdata/gen/run.sh
