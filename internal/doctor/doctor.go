// Package doctor names what keeps a deployment from working: the traps of a
// configuration, of a folder of artifacts and of Kubernetes manifests.
//
// What enters are parsed objects, a configuration and an artifact; what leaves
// are findings, each with the place, the reason and the mend. One trap is one
// small check in the table, a function over what was parsed: nothing is
// fetched, no cluster is asked. The package imports artifact and spelling, and
// is told by its caller what the server reads, answers and measures.
package doctor

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// Severity says what a finding leads to.
type Severity int

// The severities, from the least.
const (
	Note    Severity = iota // Works, and is worth knowing.
	Warning                 // Works at first, and fails later or under load.
	Error                   // Does not work, or is refused.
)

// String names the severity.
func (s Severity) String() string { return [...]string{"note", "warning", "error"}[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one trap that applies.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Where    string   `json:"where"` // file:line: Kind namespace/name: key
	What     string   `json:"what"`
	Why      string   `json:"why"`
	Mend     string   `json:"mend"` // to paste, or a sentence
}

// Setting is one setting of the server.
type Setting struct {
	Key     string // "server.drain_delay"
	Env     string // "CARLA_RL_DRAIN_DELAY", or ""
	Default string
	Idle    bool // read and checked, without an effect
}

// Metric is one family that the server exposes.
type Metric struct {
	Name    string // of a sample: with _bucket, _sum or _count where it has them
	Labels  []string
	Buckets []float64 // upper bounds in its unit, of a histogram's _bucket
}

// Text is a file that was read.
type Text struct {
	Name string
	Data string
}

// Server is what the doctor must know of the server that is deployed.
type Server struct {
	Settings []Setting
	Metrics  []Metric
	Routes   []string // templates, the values of the label endpoint

	// LockLimit is how many bytes a process of this user may lock on this
	// machine; 0 or less where it is not known, math.MaxInt64 for no limit.
	LockLimit int64

	// CheckConfig returns what is wrong with a configuration file and an
	// environment, as lines without the name of the file, and what is worth
	// knowing. Files that settings name are not looked for. gpu tells of an
	// image with ONNX Runtime.
	CheckConfig func(file string, environ []string, gpu bool) (problems, notes []string)
}

// Artifacts is a folder that will be served.
type Artifacts struct {
	Name string
	// Open finds what a server would answer with that is asked for version
	// ("" is the newest stable one). The error is of finding it; problems are
	// of what was found.
	Open func(version string) (a *artifact.Artifact, problems []artifact.Problem, err error)
}

// Input is what is examined; each part may be absent.
type Input struct {
	Objects   []*Object
	Config    *Text
	Artifacts *Artifacts
	Server    Server
}

// check is one trap.
type check struct {
	name string
	why  string // one sentence: what happens to whoever walks into it
	find func(e *examination)
}

// Examine runs every check and returns what they find, in the order of the
// table and then of the input.
func Examine(in Input) []Finding {
	e := &examination{Input: in}
	e.workloads = workloads(in.Objects)
	for _, c := range checks {
		e.check = c
		c.find(e)
	}
	return e.findings
}

// Checks returns the names of all checks, in the order of the table.
func Checks() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// examination is one run over an input.
type examination struct {
	Input
	workloads []*workload
	check     check
	findings  []Finding
}

// add notes a finding of the check that runs. A second finding of the same at
// the same place is dropped.
func (e *examination) add(s Severity, where, what, mend string) {
	f := Finding{Check: e.check.name, Severity: s, Where: where, What: what, Why: e.check.why, Mend: mend}
	if !slices.Contains(e.findings, f) {
		e.findings = append(e.findings, f)
	}
}

// Worst returns the highest severity, and false where there is no finding.
func Worst(findings []Finding) (Severity, bool) {
	if len(findings) == 0 {
		return Note, false
	}
	worst := slices.MaxFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	return worst.Severity, true
}

// plural counts things.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
