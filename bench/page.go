package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// page writes results.md and the plots.
func (r *results) page(dir string) error {
	for name, svg := range r.plots() {
		if err := writeFile(filepath.Join(dir, name), []byte(svg)); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(dir, "results.md"), []byte(r.markdown()))
}

// markdown is the page. Times are minimum / median / maximum of the runs.
func (r *results) markdown() string {
	var s strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	m := r.Machine
	p("# Measured")
	p("")
	p("Written by `make bench`; [performance](../performance.md) says what is compared, and how to run it.")
	p("")
	memory := ""
	if m.MemoryGiB > 0 {
		memory = fmt.Sprintf(", %d GiB", m.MemoryGiB)
	}
	kernel := ""
	if m.Kernel != "" {
		kernel = ", kernel " + m.Kernel
	}
	p("Machine: %s, %d CPUs, %s%s%s; %s; commit %s.", m.System, m.CPUs, m.Processor, memory, kernel, m.Go, m.Commit)
	var parts []string
	for _, x := range partOrder() {
		if i, ok := r.Parts[x]; ok {
			parts = append(parts, fmt.Sprintf("%s (%s, commit %s, %d runs of %g s, load %.1f at its end)", x, i.Date, i.Commit, i.Runs, i.Seconds, i.Load))
		}
	}
	p("Parts: %s.", strings.Join(parts, "; "))
	if len(r.Versions) > 0 {
		var all []string
		for k, v := range r.Versions {
			all = append(all, k+" "+v)
		}
		slices.Sort(all)
		p("Others: %s.", strings.Join(all, ", "))
	}
	if len(r.LeftOut) > 0 {
		p("Left out, because they did not start or answered something else: %s.", strings.Join(r.LeftOut, ", "))
	}
	p("")
	p("## What is held")
	p("")
	p("| | measured | limit | |")
	p("|---|---|---|---|")
	for _, c := range r.Checks {
		sign := "≥"
		if c.AtMost {
			sign = "≤"
		}
		measured := "-"
		if c.Measured != 0 {
			measured = strings.TrimSpace(fmt.Sprintf("%.3g %s", c.Measured, c.Unit))
		}
		p("| %s: %s | %s | %s %s | %s |", c.Group, c.What, measured, sign, strings.TrimSpace(fmt.Sprintf("%g %s", c.Bound, c.Unit)), c.state())
	}
	r.engineTables(p)
	r.serverTables(p)
	r.footTables(p)
	return s.String()
}

func partOrder() []string {
	var all []string
	for _, x := range parts {
		all = append(all, x.name)
	}
	return all
}

func (r *results) engineTables(p func(string, ...any)) {
	e := r.Engine
	if e == nil {
		return
	}
	p("")
	p("## The engine")
	p("")
	p("Nanoseconds of a run of the whole batch, one thread, samples of %s in turn: minimum / median. The ratio is of the minima.", e.Sample)
	p("ONNX Runtime %s by its C API with bound buffers; torch %s in inference mode.", orDash(e.Runtime), orDash(e.Torch))
	p("")
	p("![Time against ONNX Runtime](engine.svg)")
	p("")
	p("| network | batch | ours | ONNX Runtime | ratio | torch | torch.jit |")
	p("|---|---|---|---|---|---|---|")
	ns := func(t *engineTimes) string {
		if t == nil {
			return "-"
		}
		return group(t.Min) + " / " + group(t.Median)
	}
	for _, x := range e.Rows {
		ratio := "-"
		if x.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f", x.Ratio)
			if x.Ratio < 0.1 {
				ratio = fmt.Sprintf("%.3f", x.Ratio)
			}
		}
		p("| %s | %d | %s | %s | %s | %s | %s |", x.Name, x.Batch, ns(&x.Ours), ns(x.Runtime), ratio, ns(x.Eager), ns(x.JIT))
	}
	p("")
	p("What the core can do at most, measured between the samples, and our share of it. Bandwidth is that of reading as many bytes as the weights have, again and again;")
	p("multiply-adds are those of the network's definition, from registers.")
	p("")
	p("| network | batch | weights | bandwidth | our share | multiply-adds | our share |")
	p("|---|---|---|---|---|---|---|")
	for _, x := range e.Rows {
		p("| %s | %d | %s kB | %.0f GB/s | %.0f %% | %.0f GFLOPS | %.0f %% |", x.Name, x.Batch, group(float64(x.ReadBytes)/1000), x.ReadCeiling, 100*x.ReadShare, x.FMACeiling, 100*x.FMAShare)
	}
}

func orDash(s string) string {
	if s == "" {
		return "(not measured)"
	}
	return s
}

func (r *results) serverTables(p func(string, ...any)) {
	if r.Server != nil {
		p("")
		p("## The server")
		p("")
		p("`POST /predict`, the demo's driving policy, one observation a request, default settings; %s. The no-ops read the same bytes and write the same bytes, headers included.", r.Server.Setting)
		p("")
		p("![Answers a second](server.svg)")
		r.Server.table(p, true)
	}
	if o := r.Open; o != nil {
		p("")
		p("## At a constant rate")
		p("")
		p("Open loop on %d connections; %s. Rates are shares of what ours answers at most, %s a second; the time counts from the planned sending. Microseconds, medians of the runs (P99 with the least and the most).", o.Connections, o.Setting, group(o.Capacity))
		p("")
		p("![Latency at a constant rate](open.svg)")
		p("")
		p("| server | share | requests/s | P50 | P90 | P99 | P99.9 | max |")
		p("|---|---|---|---|---|---|---|---|")
		for _, c := range o.Cells {
			p("| %s | %.0f %% | %s | %s | %s | %s (%s to %s) | %s | %s |", c.Name, 100*c.Share, group(c.Rate), group(c.P50.Median), group(c.P90.Median),
				group(c.P99.Median), group(c.P99.Min), group(c.P99.Max), group(c.P999.Median), group(c.Max.Median))
		}
	}
	if r.Peers != nil {
		p("")
		p("## Other servers")
		p("")
		p("The same policy, as the ONNX file that `carla-rl convert` writes; every answer was held against torch's before it counted. %s.", capital(r.Peers.Setting))
		p("")
		p("![Answers a second, other servers](peers.svg)")
		r.Peers.table(p, false)
	}
	if r.AllCores != nil {
		p("")
		p("Each with the number of workers at which it answers most; %s.", r.AllCores.Setting)
		r.AllCores.table(p, false)
	}
}

// table is one of closed loops.
func (c *closed) table(p func(string, ...any), ratios bool) {
	p("")
	head, line := "| server | workers | connections | answers/s | P50, us | P99, us |", "|---|---|---|---|---|---|"
	if ratios {
		head, line = head+" ours is |", line+"---|"
	} else {
		head, line = head+" ours, times |", line+"---|"
	}
	p("%s", head)
	p("%s", line)
	three := func(x spread) string { return group(x.Min) + " / " + group(x.Median) + " / " + group(x.Max) }
	for _, x := range c.Cells {
		workers, ratio := "", ""
		if x.Workers > 0 {
			workers = fmt.Sprint(x.Workers)
		}
		if x.Subject != ours.key {
			ratio = fmt.Sprintf("%.2f", paired(c.find(ours.key, x.Connections).Throughput, x.Throughput))
		}
		name := x.Name
		if x.Failed > 0 {
			name += fmt.Sprintf(" (%d requests failed)", x.Failed)
		}
		p("| %s | %s | %d | %s | %s | %s | %s |", name, workers, x.Connections, three(x.Throughput), three(x.P50), three(x.P99), ratio)
	}
}

func (r *results) footTables(p func(string, ...any)) {
	rows := func(title string, all []footRow) {
		if len(all) == 0 {
			return
		}
		p("")
		p("| %s | | least | most | runs |", title)
		p("|---|---|---|---|---|")
		for _, x := range all {
			least, most, runs := "", "", ""
			if x.Runs > 1 {
				least, most, runs = fmt.Sprintf("%.2f", x.Least), fmt.Sprintf("%.2f", x.Most), fmt.Sprint(x.Runs)
			}
			value := fmt.Sprintf("%.2f", x.Value)
			if x.Unit == "" {
				value = group(x.Value)
			}
			p("| %s | %s | %s | %s | %s |", strings.TrimSpace(x.What), strings.TrimSpace(value+" "+x.Unit), least, most, runs)
		}
	}
	if r.Start == nil && r.Memory == nil && r.Models == nil {
		return
	}
	p("")
	p("## Start, memory and size")
	if r.Start != nil {
		rows("from the start of the process", r.Start.Ours)
		p("")
		p("One worker each. Memory is that of all processes of a server; the size on disk that of the program, or of the packages of a virtual environment without Python itself.")
		p("")
		p("| server | first answer after | resident | after a load of 16 connections | on disk |")
		p("|---|---|---|---|---|")
		for _, x := range r.Start.Rows {
			p("| %s | %s ms | %.0f MiB | %.0f MiB | %.0f MiB |", x.Name, group(x.Start), x.Idle, x.Loaded, x.Disk)
		}
	}
	rows("a million requests", r.Memory)
	rows("a thousand models", r.Models)
	r.experiencePage(p)
}

// group writes a number of any size with three digits or more, and commas
// between thousands.
func group(x float64) string {
	s := fmt.Sprintf("%.0f", x)
	if x < 10 {
		s = fmt.Sprintf("%.2g", x)
	}
	for i := len(s) - 3; i > 0 && !strings.Contains(s, "."); i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
