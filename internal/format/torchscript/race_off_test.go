//go:build !race

package torchscript_test

// slowdown is how much longer a test may take under the race detector.
const slowdown = 1
