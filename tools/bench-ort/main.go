//go:build ort && cgo

// Command bench-ort measures the plan against ONNX Runtime, by families of
// operators, at batch 1 on one thread. Both read the same ONNX file, which is
// written here in the operators that exporters use; both have their inputs and
// outputs bound before the clock runs, and their runs alternate. What is
// printed is a table of medians; the exit code is 1 where the plan takes more
// than twice as long.
//
//	bench-ort [-match regexp] [-samples 21] [-sample 2ms]
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// ceiling is the most that the plan may take, in times of ONNX Runtime.
const ceiling = 2.0

func main() {
	match := flag.String("match", "", "measure only the families whose line matches")
	samples := flag.Int("samples", 21, "samples of each engine")
	length := flag.Duration("sample", 2*time.Millisecond, "time of one sample")
	flag.Parse()
	only, err := regexp.Compile(*match)
	if err != nil {
		fail(err)
	}
	e, err := ort.Open(ort.Options{Library: os.Getenv(ort.LibraryVariable)})
	if err != nil {
		fail(err)
	}
	fmt.Printf("machine: %s/%s, %d CPUs, %s, %s; commit %s; ONNX Runtime %s\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor(), runtime.Version(), commit(), e.Version())
	fmt.Printf("batch 1, one thread each, bound buffers; median of %d samples of %v, alternating\n\n", *samples, *length)
	fmt.Printf("%-24s %-38s %12s %12s %7s\n", "family", "model", "plan µs", "ONNX Rt µs", "ratio")
	var ratios []float64
	slow := 0
	for _, f := range families() {
		if !only.MatchString(f.group + " " + f.name) {
			continue
		}
		a, b, err := measure(e, f, *samples, *length)
		if err != nil {
			fmt.Printf("%-24s %-38s %v\n", f.group, f.name, err)
			slow++
			continue
		}
		mark := ""
		if a/b > ceiling {
			mark = "  slow"
			slow++
		}
		ratios = append(ratios, a/b)
		fmt.Printf("%-24s %-38s %12.2f %12.2f %7.2f%s\n", f.group, f.name, a*1e6, b*1e6, a/b, mark)
	}
	if len(ratios) == 0 {
		fail(errors.New("no family was measured"))
	}
	sum := 0.0
	for _, r := range ratios {
		sum += math.Log(r)
	}
	fmt.Printf("\n%d models; geometric mean of the ratios %.2f, largest %.2f; ceiling %.0f\n",
		len(ratios), math.Exp(sum/float64(len(ratios))), slices.Max(ratios), ceiling)
	if slow > 0 {
		fmt.Printf("%d above the ceiling or not measured\n", slow)
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench-ort:", err)
	os.Exit(2)
}

// measure returns the median seconds of a run of the plan and of ONNX Runtime.
func measure(e *ort.Engine, f family, samples int, length time.Duration) (ours, theirs float64, err error) {
	m := onnxmodel.New(f.name)
	for _, out := range f.build(m) {
		kind := int64(onnxmodel.Float)
		if f.integers {
			kind = onnxmodel.Int64s
		}
		m.Output(out, kind)
	}
	a, b, err := prepare(e, m.Bytes())
	if err != nil {
		return 0, 0, err
	}
	runsA, runsB := calibrate(a, length), calibrate(b, length)
	var timesA, timesB []float64
	for range samples {
		timesA = append(timesA, sample(runsA, a))
		timesB = append(timesB, sample(runsB, b))
	}
	return median(timesA), median(timesB), nil
}

// prepare compiles the model for both engines and holds their answers against
// each other.
func prepare(e *ort.Engine, data []byte) (ours, theirs func(), err error) {
	n, err := format.Decode("model.onnx", data)
	if err != nil {
		return nil, nil, err
	}
	g, err := n.Lower(format.LowerOptions{})
	if err != nil {
		return nil, nil, err
	}
	if err := graph.Optimize(g); err != nil {
		return nil, nil, err
	}
	p, err := plan.Compile(g, plan.Options{})
	if err != nil {
		return nil, nil, err
	}
	s, err := e.Load(data)
	if err != nil {
		return nil, nil, err
	}
	r := rand.New(rand.NewPCG(1, 2))
	var in, out, other [][]float32
	var inShapes, outShapes []graph.Shape
	for _, v := range g.Inputs {
		x := make([]float32, v.Shape.RowElements())
		for i := range x {
			x[i] = r.Float32() + 0.1
			if !v.DType.IsFloat() {
				x[i] = float32(r.IntN(64))
			}
		}
		in, inShapes = append(in, x), append(inShapes, v.Shape)
	}
	for _, o := range g.Outputs {
		n := o.Value.Shape.RowElements()
		out, other = append(out, make([]float32, n)), append(other, make([]float32, n))
		outShapes = append(outShapes, o.Value.Shape)
	}
	bound, err := s.NewRunner(inShapes, outShapes)
	if err != nil {
		return nil, nil, err
	}
	run := p.NewRunner()
	if err := errors.Join(run.Run(1, in, out, plan.Noise{}), bound.Run(1, in, other)); err != nil {
		return nil, nil, err
	}
	for i := range out {
		for j, x := range out[i] {
			if y := other[i][j]; !(math.Abs(float64(x-y)) <= 1e-3+1e-3*math.Abs(float64(y))) {
				return nil, nil, fmt.Errorf("output %d: element %d is %v and %v", i, j, x, y)
			}
		}
	}
	return func() { _ = run.Run(1, in, out, plan.Noise{}) }, func() { _ = bound.Run(1, in, other) }, nil
}

// calibrate returns how many runs take the length of a sample.
func calibrate(f func(), length time.Duration) int {
	for n := 1; ; n *= 2 {
		if t := sample(n, f) * float64(n); t >= length.Seconds()/2 {
			return max(1, int(float64(n)*length.Seconds()/t))
		}
	}
}

// sample returns the seconds of one of n runs.
func sample(n int, f func()) float64 {
	start := time.Now()
	for range n {
		f()
	}
	return time.Since(start).Seconds() / float64(n)
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// processor is the name of the CPU, where the system tells it.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "model name"); ok {
			return strings.TrimLeft(name, "\t :")
		}
	}
	return "unknown processor"
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=8").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
