package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Pin keeps all threads of the process to some of the cores that it may use: to
// those of a list, or, with "auto", to as many as there are lanes. Threads that
// begin later are those of one that has been pinned, and inherit it. Go then
// runs on as many threads at a time as there are cores, where GOMAXPROCS is not
// set. "off" leaves all as it is.
//
// It is the process that is pinned and not each lane: a lane runs on the
// goroutine of its request, and to hand it to a thread of its own costs more
// than a policy takes.
func Pin(spec string, lanes int) (Pinned, error) {
	if spec == PinOff {
		return Pinned{}, nil
	}
	allowed, err := affinity()
	if err != nil {
		return Pinned{}, err
	}
	var cores []int
	if spec == PinAuto {
		if len(allowed) <= lanes {
			return Pinned{Note: fmt.Sprintf("there are %d lanes for the %d cores that the process may use: nothing is pinned", lanes, len(allowed))}, nil
		}
		cores = choose(allowed, lanes, siblings)
	} else if cores, err = ParseCores(spec); err != nil {
		return Pinned{}, err
	}
	for _, c := range cores {
		if !slices.Contains(allowed, c) {
			return Pinned{}, fmt.Errorf("core %d is none that the process may use, which are %s", c, Cores(allowed))
		}
	}
	err = setAffinity(cores)
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS):
		return Pinned{Note: fmt.Sprintf("the system does not let the process keep to the cores %s (%v): nothing is pinned; CPUAffinity= in a unit and cpuset of a container do it from outside", Cores(cores), err)}, nil
	case err != nil:
		return Pinned{}, fmt.Errorf("keep to the cores %s: %w", Cores(cores), err)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS()
	}
	return Pinned{Cores: cores}, nil
}

// affinity lists the cores that the process may use.
func affinity() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("ask which cores the process may use: %w", err)
	}
	var cores []int
	for c := range 8 * len(set) * int(wordBytes) {
		if set.IsSet(c) {
			cores = append(cores, c)
		}
	}
	return cores, nil
}

// wordBytes is the size of a word of unix.CPUSet.
const wordBytes = 4 << (^uintptr(0) >> 63)

// setAffinity goes through the threads until there is none that it has not
// seen: one that was begun meanwhile may be that of a thread not yet pinned.
func setAffinity(cores []int) error {
	var set unix.CPUSet
	for _, c := range cores {
		set.Set(c)
	}
	seen := map[int]bool{}
	for fresh := true; fresh; {
		fresh = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || seen[id] {
				continue
			}
			seen[id], fresh = true, true
			// One that has ended meanwhile needs nothing.
			if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// siblings lists the cores that share a physical one with c, c among them.
func siblings(c int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c))
	if err != nil {
		return []int{c}
	}
	list, err := ParseCores(strings.TrimSpace(string(text)))
	if err != nil {
		return []int{c}
	}
	return list
}
