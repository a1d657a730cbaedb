package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// predictCmd runs a policy, a bare network or a preprocessor once.
type predictCmd struct {
	Model         string `required:"" placeholder:"PATH" help:"Artifact folder, model file or preprocessor file."`
	Preprocessor  string `placeholder:"FILE" help:"Preprocessor to use with a model file."`
	VecNormalize  string `name:"vecnormalize" placeholder:"FILE" help:"VecNormalize statistics to use with a model file."`
	Engine        string `enum:"plan,reference,onnxruntime" default:"plan" help:"plan: as the server computes; reference: plain loops, in the precision of the file; onnxruntime: in the build that has it."`
	Return        string `default:"all" placeholder:"all|NAME,..." help:"Outputs to print: all of the network's, or these."`
	Deterministic *bool  `negatable:"" help:"Overrides what the input says."`
	Seed          uint64 `help:"Seed of the draws of a policy that samples."`
	Input         string `required:"" placeholder:"FILE" help:"JSON to read; - is standard input."`
}

// Help describes the input.
func (c *predictCmd) Help() string {
	return `Reads one JSON object and prints one:
  {"observations": rows, "deterministic": true,  ->  {"actions": rows, "outputs":
   "episode_start": [...], "action_masks": [...]}      {"mean": ..., "value": ..., ...}}
  {"inputs": {"x": [[0.1, 0.2]]}}                ->  {"outputs": {"out": [[0.3]]}}
  {"sequence": [{"x": ...}, ...],
   "reset_before": [3, ...]}                     ->  the outputs of each step, stacked
  {"transform": rows}                            ->  {"outputs": {"out": rows}}
The first asks a policy. Its rows are independent, and each begins an episode; with
"episode_start" the rows of a recurrent policy are one sequence, in which an episode
begins where it is true. "seed", "step" and "row" draw again what a server drew with
them. "action_masks" has a row of true and false for each
observation. Beside the action stand the outputs that the policy has, of mean, std,
log_std, logits, probs, q_values, value, log_prob, entropy and others that its network
gives; raw_action and normalized_observation only where --return names them.
The second asks a bare network for its outputs, in its own order and names, and a
single input needs no name. The third carries the state of a network from step to
step and resets it before those of reset_before; a state that is given is taken
instead. The last asks a preprocessor.
NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".

Example:
  carla-rl predict --model ./artifacts --input obs.json`
}

// question is the input of predict.
type question struct {
	Observations  jsontext.Value `json:"observations"`
	Deterministic *bool          `json:"deterministic"`
	Seed          *uint64        `json:"seed"`
	Step          uint64         `json:"step"`
	Row           uint64         `json:"row"`
	Inputs        ordered        `json:"inputs"`
	Sequence      []ordered      `json:"sequence"`
	ResetBefore   []int          `json:"reset_before"`
	Transform     jsontext.Value `json:"transform"`
	EpisodeStart  jsontext.Value `json:"episode_start"`
	ActionMasks   jsontext.Value `json:"action_masks"`
}

// ordered is a JSON object of values.
type ordered map[string]jsontext.Value

// Run reads the question, asks, and prints the answer.
func (c *predictCmd) Run(s stdio) error {
	q, err := c.read(s.in)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	var answer []byte
	switch {
	case q.Observations != nil:
		answer, err = c.act(q)
	case q.Inputs != nil:
		answer, err = c.forward(q)
	case q.Sequence != nil:
		answer, err = c.sequence(q)
	case q.Transform != nil:
		answer, err = c.transform(q.Transform)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s\n", answer)
	return err
}

// read parses the input strictly: unknown and duplicate keys, trailing bytes
// and more than one question are refused.
func (c *predictCmd) read(stdin io.Reader) (*question, error) {
	in := stdin
	if c.Input != "-" {
		f, err := os.Open(c.Input)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, inputBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(data) > inputBytesMax {
		return nil, fmt.Errorf("has more than %d MiB", inputBytesMax>>20)
	}
	var q question
	if err := json.Unmarshal(data, &q, json.RejectUnknownMembers(true)); err != nil {
		return nil, plainJSON(err)
	}
	asked := 0
	for _, given := range []bool{q.Observations != nil, q.Inputs != nil, q.Sequence != nil, q.Transform != nil} {
		if given {
			asked++
		}
	}
	if asked != 1 {
		return nil, fmt.Errorf("expected one of observations, inputs, sequence and transform, got %d of them", asked)
	}
	switch {
	case q.Observations == nil && (q.EpisodeStart != nil || q.ActionMasks != nil || q.Step != 0 || q.Row != 0):
		return nil, errors.New("episode_start, action_masks, step and row go with observations")
	case q.Sequence == nil && q.ResetBefore != nil:
		return nil, errors.New("reset_before goes with a sequence")
	}
	if c.Deterministic != nil {
		q.Deterministic = c.Deterministic
	}
	if q.Seed == nil {
		q.Seed = &c.Seed
	}
	return &q, nil
}

// plainJSON tells of an error of the JSON library without its Go types.
func plainJSON(err error) error {
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return err
	}
	where := "the input"
	if semantic.JSONPointer != "" {
		where = string(semantic.JSONPointer)
	}
	if semantic.Err != nil {
		return fmt.Errorf("%s: %w", where, semantic.Err)
	}
	got := map[jsontext.Kind]string{'{': "an object", '[': "an array", '"': "a string", '0': "a number", 'n': "null", 't': "true", 'f': "false"}[semantic.JSONKind]
	return fmt.Errorf("%s: %s is not what is expected there", where, got)
}

// returnable are outputs that policies have; one that a policy lacks may be
// asked for all the same.
var returnable = []string{
	"mean", "std", "log_std", "logits", "probs", "q_values", "value", "log_prob", "entropy", "distribution",
	policy.RawAction, policy.NormalizedObservation,
}

// named tells whether an output is shown only where it is asked for by name.
func named(output string) bool {
	base, _, _ := strings.Cut(output, ".")
	return base == policy.NormalizedObservation || base == policy.RawAction
}

// shown tells whether an output is one of those that are asked for.
func shown(output string, wanted []string) bool {
	base, _, _ := strings.Cut(output, ".")
	parameter := slices.Contains([]string{"mean", "std", "logits", "probs", "alpha", "beta"}, output)
	return slices.Contains(wanted, output) ||
		named(output) && slices.Contains(wanted, base) ||
		!named(output) && slices.Contains(wanted, "all") ||
		parameter && slices.Contains(wanted, "distribution")
}

// selected appends those outputs that are asked for as a JSON object.
func (c *predictCmd) selected(b []byte, names []string, vs []values) ([]byte, error) {
	wanted := strings.Split(c.Return, ",")
	for _, name := range wanted {
		if name != "all" && !slices.Contains(names, name) && !slices.Contains(returnable, name) {
			return nil, usage(fmt.Errorf("--return %s: there is no such output, the outputs are %s", name, strings.Join(names, ", ")))
		}
	}
	var chosen []string
	var chosenValues []values
	for i, name := range names {
		if shown(name, wanted) {
			chosen, chosenValues = append(chosen, name), append(chosenValues, vs[i])
		}
	}
	return object(b, chosen, chosenValues), nil
}

// outputsAnswer is an answer of outputs alone.
func (c *predictCmd) outputsAnswer(names []string, vs []values) ([]byte, error) {
	b, err := c.selected([]byte(`{"outputs":`), names, vs)
	return append(b, '}'), err
}

// object appends a JSON object of named values in their order.
func object(b []byte, names []string, vs []values) []byte {
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, name)
		b = append(b, ':')
		b = vs[i].append(b)
	}
	return append(b, '}')
}
