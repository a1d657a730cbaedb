package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The words of a choice of cores that are no list.
const (
	PinOff  = "off"
	PinAuto = "auto"
)

// maxCores is the highest number of cores that a list may name, as many as
// Linux is built for.
const maxCores = 8192

// ParseCores reads a list of cores such as "2,4-7", in order and each once.
func ParseCores(list string) ([]int, error) {
	var cores []int
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := core(low)
		last := first
		if err == nil && isRange {
			last, err = core(high)
		}
		if err != nil || last < first {
			return nil, fmt.Errorf("%q: expected off, auto or a list of cores such as 2,4-7", list)
		}
		for c := first; c <= last; c++ {
			cores = append(cores, c)
		}
	}
	slices.Sort(cores)
	return slices.Compact(cores), nil
}

func core(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && (n < 0 || n >= maxCores) {
		err = strconv.ErrRange
	}
	return n, err
}

// Pinned is what came of the wish to keep to some cores.
type Pinned struct {
	Cores []int  // that the process keeps to; nil where it was left as it is
	Note  string // why not, or what is to be known; "" where there is nothing
}

// choose picks as many cores as there are lanes among those that the process
// may use: one of each physical core before a second of any, the highest first,
// since what else a machine does begins at the lowest. siblings tells of a core
// which share a physical one with it.
func choose(allowed []int, lanes int, siblings func(core int) []int) []int {
	taken := map[int]bool{}
	var cores []int
	for _, second := range []bool{false, true} {
		for _, c := range slices.Backward(allowed) {
			if len(cores) == lanes {
				break
			}
			shared := slices.ContainsFunc(siblings(c), func(s int) bool { return taken[s] })
			if !taken[c] && (second || !shared) {
				taken[c] = true
				cores = append(cores, c)
			}
		}
	}
	slices.Sort(cores)
	return cores
}

// Cores writes a list of cores as ParseCores reads it, with ranges.
func Cores(cores []int) string {
	var b strings.Builder
	for i := 0; i < len(cores); {
		j := i
		for j+1 < len(cores) && cores[j+1] == cores[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cores[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(cores[j]))
		}
		i = j + 1
	}
	return b.String()
}
