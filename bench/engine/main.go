// Command engine measures the plan on named networks against ONNX Runtime's C
// API with bound buffers, against torch, and against what the core can do at
// most: one thread each, pinned to one core, in short samples that alternate.
//
//	go run -tags ort ./bench/engine            # all cases, about a minute
//	go run -tags ort ./bench/engine -run mlp256 -batch 1 -budget 5s
//
//	go run -tags ort ./bench/engine -run 'mlp256|lstm|nature' -weights bf16
//
// Without the build tag ort there is no column of ONNX Runtime. -torch takes a
// Python that has torch.
//
// The share of bandwidth is the bytes of the weights, once, over the time,
// against the fastest of several loops that read a set of that size again and
// again; the share of FMA peak is the network's multiply-adds, two operations
// each, against the fastest loop of multiply-adds in registers. Which of both
// is the wall depends on the batch.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

// Result is what -json writes.
type Result struct {
	Core    int    `json:"core"` // -1 where threads cannot be pinned
	Runtime string `json:"onnxruntime,omitempty"`
	Torch   string `json:"torch,omitempty"`
	Sample  string `json:"sample"`
	Rows    []*Row `json:"rows"`
}

func run(args []string, w io.Writer) error {
	f := flag.NewFlagSet("engine", flag.ContinueOnError)
	match := f.String("run", "", "measure only the cases whose key or name matches")
	batches := f.String("batch", "", "measure only these batch sizes, with commas between them")
	budget := f.Duration("budget", 3*time.Second, "time of one row")
	sample := f.Duration("sample", 2*time.Millisecond, "time of one sample")
	core := f.Int("core", -1, "core to be pinned to; -1 is the last")
	python := f.String("torch", "", "a Python with torch, to measure that as well")
	out := f.String("json", "", "write the result to this file")
	weights := f.String("weights", "float32", "weights of the plan's dense layers: float32, bf16 or int8")
	progress := f.Bool("progress", false, "say on standard error what is measured")
	if err := f.Parse(args); err != nil {
		return err
	}
	only, err := regexp.Compile(*match)
	if err != nil {
		return err
	}
	sizes, err := list(*batches)
	if err != nil {
		return err
	}
	res := &Result{Sample: sample.String()}
	if res.Core, err = pin(*core); err != nil {
		return err
	}
	// A collection in the middle of a sample would be part of it.
	debug.SetGCPercent(-1)
	kind, ok := narrowKinds[*weights]
	if !ok {
		return fmt.Errorf("-weights %q: float32, bf16 and int8 are known", *weights)
	}
	b := &bench{sample: *sample, budget: *budget, weights: kind}
	if b.runtime, res.Runtime, err = openRuntime(); err != nil {
		return err
	}
	if *python != "" {
		if b.torch, err = openTorch(*python, res.Core); err != nil {
			return err
		}
		defer b.torch.close()
		res.Torch = b.torch.version
	}
	fmt.Fprintf(w, "%s/%s, core %d; ONNX Runtime %s; torch %s; samples of %v in turn, %v a row\n", runtime.GOOS, runtime.GOARCH,
		res.Core, orNone(res.Runtime), orNone(res.Torch), *sample, *budget)
	fmt.Fprintln(w, heading)
	failed := 0
	for _, n := range networks() {
		for _, batch := range n.batches {
			if !only.MatchString(n.key+" "+n.name) || len(sizes) > 0 && !slices.Contains(sizes, batch) {
				continue
			}
			if *progress {
				fmt.Fprintf(os.Stderr, "engine: %s, batch %d\n", n.name, batch)
			}
			row, err := b.measure(&n, batch)
			if errors.Is(err, errNothingNarrow) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s, batch %d: %w", n.name, batch, err)
			}
			res.Rows = append(res.Rows, row)
			fmt.Fprintln(w, row)
			for _, l := range row.Limits {
				if !l.Pass {
					failed++
				}
			}
		}
	}
	if len(res.Rows) == 0 {
		return fmt.Errorf("no case matches -run %q and -batch %q", *match, *batches)
	}
	fmt.Fprintf(w, "%d rows; %d limits missed\n", len(res.Rows), failed)
	if *out == "" {
		return nil
	}
	data, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(data, '\n'), 0o644)
}

func orNone(s string) string {
	if s == "" {
		return "not measured"
	}
	return s
}

func list(s string) ([]int, error) {
	var all []int
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("-batch: %w", err)
		}
		all = append(all, n)
	}
	return all, nil
}

var heading = fmt.Sprintf("%-38s %5s %12s %12s %12s %7s %12s %12s %9s %9s  %s", "case", "batch",
	"ours ns", "median", "ONNX Rt ns", "ratio", "torch eager", "torch jit", "bandwidth", "FMA peak", "limits")

// String is the row's line of the table.
func (r *Row) String() string {
	ns := func(t *Times) string {
		if t == nil {
			return "-"
		}
		return strconv.FormatFloat(t.Min, 'f', 0, 64)
	}
	part := func(x float64, form string) string {
		if x == 0 {
			return "-"
		}
		return fmt.Sprintf(form, x)
	}
	var limits []string
	for _, l := range r.Limits {
		limits = append(limits, l.String())
	}
	return fmt.Sprintf("%-38s %5d %12.0f %12.0f %12s %7s %12s %12s %9s %9s  %s", r.Name, r.Batch, r.Ours.Min, r.Ours.Median, ns(r.Runtime),
		part(r.Ratio, "%.3f"), ns(r.Eager), ns(r.JIT), part(100*r.ReadShare, "%.0f%%"), part(100*r.ArithmShare, "%.0f%%"), strings.Join(limits, "; "))
}

// String says what is asked, and whether it is so.
func (l Limit) String() string {
	sign, verdict := ">=", "MISSED"
	if l.AtMost {
		sign = "<="
	}
	if l.Pass {
		verdict = "ok"
	}
	return fmt.Sprintf("%s %s %.4g %s", l.What, sign, l.Bound, verdict)
}
