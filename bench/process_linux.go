package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cores are those that the benchmark may use.
type cores struct {
	all            []int
	server, client []int // one each, where there are two
}

func (c cores) pinned() bool { return len(c.all) > 1 }

func pickCores() cores {
	var set unix.CPUSet
	var c cores
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return c
	}
	for i := range 1024 {
		if set.IsSet(i) {
			c.all = append(c.all, i)
		}
	}
	if n := len(c.all); n > 0 {
		c.server, c.client = c.all[:1], c.all[n-1:]
	}
	return c
}

// startOn starts a command that may use the given cores alone; none is all. It
// leads a process group of its own.
func startOn(cmd *exec.Cmd, on []int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if len(on) == 0 {
		return cmd.Start()
	}
	// A child has the cores of the thread that starts it, from its first
	// instruction on. The thread is not given back, and ends.
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		var set unix.CPUSet
		for _, i := range on {
			set.Set(i)
		}
		err := unix.SchedSetaffinity(0, &set)
		if err == nil {
			err = cmd.Start()
		}
		failed <- err
	}()
	return <-failed
}

// tree returns the processes of a command: its group, and what is below it,
// some of which may have groups of their own.
func tree(cmd *exec.Cmd) []int {
	folders, _ := filepath.Glob("/proc/[0-9]*") // The pattern is a good one.
	type process struct{ parent, group int }
	all := map[int]process{}
	for _, f := range folders {
		pid, _ := strconv.Atoi(filepath.Base(f))
		stat, err := os.ReadFile(f + "/stat")
		if err != nil {
			continue // It has ended.
		}
		// Behind the name, which may hold anything: state, parent, group.
		rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(rest) >= 3 {
			parent, _ := strconv.Atoi(rest[1])
			group, _ := strconv.Atoi(rest[2])
			all[pid] = process{parent, group}
		}
	}
	in := map[int]bool{cmd.Process.Pid: true}
	for grown := true; grown; {
		grown = false
		for pid, p := range all {
			if !in[pid] && (p.group == cmd.Process.Pid || in[p.parent]) {
				in[pid], grown = true, true
			}
		}
	}
	return slices.Collect(maps.Keys(in))
}

func killTree(cmd *exec.Cmd) {
	below := tree(cmd)
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	for _, pid := range below {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// residentMiB is the resident memory of all processes of a command; pages that
// several of them share count in each.
func residentMiB(cmd *exec.Cmd) (float64, error) {
	sum := 0.0
	for _, pid := range tree(cmd) {
		kb, err := strconv.Atoi(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), " kB"))
		if err == nil {
			sum += float64(kb) / 1024
		}
	}
	if sum == 0 {
		return 0, fmt.Errorf("no memory of process %d", cmd.Process.Pid)
	}
	return sum, nil
}
