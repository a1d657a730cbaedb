package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func (b *bench) rowBudget() time.Duration {
	if b.few {
		return time.Millisecond
	}
	return time.Duration(min(b.seconds, 5) * float64(b.runs) / 25 * 2.5 * float64(time.Second))
}

// engineResult is what bench/engine writes, as far as it is used here.
type engineResult struct {
	Core    int         `json:"core"`
	Runtime string      `json:"onnxruntime,omitempty"`
	Torch   string      `json:"torch,omitempty"`
	Sample  string      `json:"sample"`
	Rows    []engineRow `json:"rows"`
}

type engineRow struct {
	Case        string        `json:"case"`
	Name        string        `json:"name"`
	Batch       int           `json:"batch"`
	Samples     int           `json:"samples"`
	Ours        engineTimes   `json:"ours"`
	Runtime     *engineTimes  `json:"onnxruntime,omitempty"`
	Eager       *engineTimes  `json:"torch_eager,omitempty"`
	JIT         *engineTimes  `json:"torch_jit,omitempty"`
	Ratio       float64       `json:"ratio,omitempty"`
	Paired      float64       `json:"ratio_paired_median,omitempty"`
	ReadBytes   int           `json:"read_bytes"`
	ReadCeiling float64       `json:"read_ceiling_gb_s,omitempty"`
	ReadShare   float64       `json:"read_share,omitempty"`
	FMACeiling  float64       `json:"fma_ceiling_gflops,omitempty"`
	FMAShare    float64       `json:"fma_share,omitempty"`
	Limits      []engineLimit `json:"limits,omitempty"`
}

type engineTimes struct {
	Min    float64 `json:"min_ns"`
	Median float64 `json:"median_ns"`
	Max    float64 `json:"max_ns"`
}

type engineLimit struct {
	What     string  `json:"what"`
	Measured float64 `json:"measured"`
	Bound    float64 `json:"bound"`
	AtMost   bool    `json:"at_most"`
	Pass     bool    `json:"pass"`
}

// engine runs bench/engine: with ONNX Runtime and torch, unless there are to be
// no peers.
func (b *bench) engine() error {
	name := filepath.Join(b.tools, "engine")
	args := []string{"build", "-trimpath", "-o", name}
	out := filepath.Join(b.scratch, "engine.json")
	run := []string{"-json", out, "-budget", b.rowBudget().String()}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if len(b.peerNames) > 0 {
		b.progress.say("ONNX Runtime and torch")
		if err := b.command(filepath.Join(b.root, "tools/need"), "gcc", "onnxruntime").Run(); err != nil {
			return fmt.Errorf("tools/need gcc onnxruntime: %w", err)
		}
		args, env = append(args, "-tags", "ort"), append(os.Environ(), "CGO_ENABLED=1")
		python, err := b.command(filepath.Join(b.root, "training/venv.sh"), "training", filepath.Join(b.root, "training/requirements.txt")).Output()
		if err != nil {
			return fmt.Errorf("environment of torch: %w", err)
		}
		run = append(run, "-torch", strings.TrimSpace(string(python)))
	}
	if b.few {
		run = append(run, "-batch", "1", "-sample", "50us", "-run", "driving|mlp256")
	}
	c := b.command("go", append(args, "./bench/engine")...)
	c.Env = env
	if err := c.Run(); err != nil {
		return fmt.Errorf("build bench/engine: %w", err)
	}
	c = b.command(name, run...)
	c.Stderr = os.Stderr
	lines, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	for s := bufio.NewScanner(lines); s.Scan(); {
		b.progress.say("%s", s.Text())
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("bench/engine: %w", err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	var r engineResult
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	b.results.Engine = &r
	return nil
}

// footRow is a line of bench/footprint.
type footRow struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Least float64 `json:"min,omitempty"`
	Most  float64 `json:"max,omitempty"`
	Runs  int     `json:"runs,omitempty"`
}

// footprint runs one measurement of bench/footprint.
func (b *bench) footprint(name string, n int) ([]footRow, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("%s is measured on Linux alone", name)
	}
	out, err := b.command(filepath.Join(b.tools, "footprint"), name, "-json", "-binary", b.binary, "-n", strconv.Itoa(n)).Output()
	if err != nil {
		return nil, fmt.Errorf("bench/footprint %s: %w", name, err)
	}
	var rows []footRow
	for line := range strings.Lines(string(out)) {
		var r footRow
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, err
		}
		rows = append(rows, r)
		b.progress.say("%s: %.4g %s", r.What, r.Value, r.Unit)
	}
	return rows, nil
}

// started is how long servers take to their first answer, and how large they
// are.
type started struct {
	// Ours are the rows of bench/footprint.
	Ours []footRow `json:"ours"`
	Rows []size    `json:"servers"`
}

// size is what one server takes, with one worker, on all cores.
type size struct {
	Subject string  `json:"subject"`
	Name    string  `json:"name"`
	Start   float64 `json:"start_ms"` // to the first answer
	Idle    float64 `json:"resident_mib"`
	Loaded  float64 `json:"resident_after_mib"` // after a run of 16 connections
	Disk    float64 `json:"disk_mib"`           // the program, or its environment without Python
}

func (b *bench) start() error {
	n := 20
	if b.few {
		n = 2
	}
	s := &started{}
	var err error
	if runtime.GOOS == "linux" {
		if s.Ours, err = b.footprint("start", n); err != nil {
			return err
		}
	}
	p, err := b.launch(ours, 1, nil)
	if err != nil {
		return err
	}
	defer p.stop()
	subjects := append([]*subject{ours, noop("fasthttp", "no-op, fasthttp", p.address), noop("nethttp", "no-op, net/http", p.address)}, b.chosenPeers()...)
	for _, x := range subjects {
		row, err := b.size(x)
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(b.out, "left out: %v\n", err)
			continue
		}
		s.Rows = append(s.Rows, *row)
		b.progress.say("%-24s first answer after %.0f ms, resident %.0f and %.0f MiB, %.0f MiB on disk", row.Name, row.Start, row.Idle, row.Loaded, row.Disk)
	}
	b.results.Start = s
	return nil
}

func (b *bench) size(s *subject) (*size, error) {
	row := &size{Subject: s.key, Name: s.name}
	path := filepath.Join(b.tools, "noop")
	if s == ours {
		path = b.binary
	}
	if s.venv {
		python, err := b.venv(s.key)
		if err != nil {
			return nil, err
		}
		path = filepath.Dir(filepath.Dir(python))
	}
	var err error
	if row.Disk, err = mebibytes(path); err != nil {
		return nil, err
	}
	// The first start reads the disk, the second is the one that counts.
	for range 2 {
		p, err := b.launch(s, 1, nil)
		if err != nil {
			return nil, err
		}
		row.Start = p.took.Seconds() * 1e3
		if runtime.GOOS == "linux" {
			row.Idle, err = residentMiB(p.cmd)
			if err == nil {
				_, err = b.put(p, ask{16, 0, min(2, b.seconds), false})
			}
			if err == nil {
				row.Loaded, err = residentMiB(p.cmd)
			}
		}
		p.stop()
		if err != nil {
			return nil, err
		}
	}
	return row, nil
}

// mebibytes of a file or of all files below a folder.
func mebibytes(path string) (float64, error) {
	var n int64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return float64(n) / (1 << 20), err
}

func (b *bench) memory() (err error) {
	n := 1_000_000
	if b.few {
		n = 1000
	}
	b.results.Memory, err = b.footprint("memory", n)
	return err
}

func (b *bench) models() (err error) {
	n := 1000
	if b.few {
		n = 3
	}
	b.results.Models, err = b.footprint("models", n)
	return err
}
