//go:build !linux

package main

import (
	"errors"
	"os/exec"
)

// cores are those that the benchmark may use: all, because this system cannot
// say which.
type cores struct{ all, server, client []int }

func (cores) pinned() bool { return false }

func pickCores() cores { return cores{} }

func startOn(cmd *exec.Cmd, _ []int) error { return cmd.Start() }

func killTree(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func residentMiB(*exec.Cmd) (float64, error) {
	return 0, errors.New("resident memory is read on Linux alone")
}
