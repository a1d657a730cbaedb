package replay_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

const recurrent = agents + "rppo_two_layers/model.zip"

// left returns how many steps a report left out, by reason.
func left(r *replay.Report) map[replay.Reason]uint64 {
	m := map[replay.Reason]uint64{}
	for _, l := range r.LeftOut {
		m[l.Reason] += l.Steps
	}
	return m
}

// compared wants so many steps the same and others left out.
func compared(t *testing.T, steps []experience.Step, want uint64, out map[replay.Reason]uint64) *replay.Report {
	t.Helper()
	r := run(t, steps, replay.Options{New: open(t, recurrent)})
	if r.Steps.Compared != want || r.Steps.Different != 0 || r.Steps.Read != uint64(len(steps)) {
		t.Errorf("%+v, want %d compared and the same", r.Steps, want)
	}
	if got := left(r); len(got) != len(out) || fmt.Sprint(got) != fmt.Sprint(out) {
		t.Errorf("left out %v, want %v", got, out)
	}
	return r
}

// episodes records one session of three episodes of ten steps.
func episodes(t *testing.T) []experience.Step {
	t.Helper()
	r := newRecorder(t, open(t, recurrent), "v1")
	for i := range 30 {
		r.act("robot", i%10 == 0, nil)
	}
	return r.steps
}

func TestAGapEndsTheEpisodeAndNotTheNext(t *testing.T) {
	steps := episodes(t)
	steps = slices.Delete(steps, 13, 15) // Steps 13 and 14: 15 to 19 cannot be rebuilt.
	r := compared(t, steps, 23, map[replay.Reason]uint64{replay.StepsMissing: 5})
	if f := r.LeftOut[0].First; f.Sequence != 16 || f.Session != "robot" || f.SessionStep != 15 {
		t.Errorf("%+v", f)
	}
}

func TestALogThatBeginsWithinAnEpisode(t *testing.T) {
	compared(t, episodes(t)[4:], 20, map[replay.Reason]uint64{replay.NoBeginning: 6})
}

func TestAVersionWithoutStateNeedsNoOrder(t *testing.T) {
	path := newMLP(1).write(t, "v0.1.0", "")
	rec := newRecorder(t, open(t, path), "v1")
	for i := range 30 {
		rec.act("robot", i%10 == 0, nil)
	}
	wantSame(t, run(t, rec.steps[7:], replay.Options{New: open(t, path)}), 23)
}

// TestASessionOfAnotherRunIsAnother has the same name in two runs, of which the
// second lacks its beginning.
func TestASessionOfAnotherRunIsAnother(t *testing.T) {
	steps := episodes(t)[:10]
	for _, s := range episodes(t)[5:10] {
		s.Run = "run2"
		steps = append(steps, s)
	}
	compared(t, steps, 10, map[replay.Reason]uint64{replay.NoBeginning: 5})
}

// TestAnAnswerThatWasNotUsed has a step twice: the first time its answer came
// too late, and the session did not go on with it.
func TestAnAnswerThatWasNotUsed(t *testing.T) {
	steps := episodes(t)[:10]
	late := steps[6]
	late.Observation = slices.Clone(steps[2].Observation)
	p := open(t, recurrent)
	// What the policy gives for the late one, from the state behind step 5.
	c := p.Contract()
	call := &policy.Call{Rows: 1, Deterministic: true, Actions: make([]float32, c.ActionWidth()), State: c.NewState(1)}
	for _, s := range append(slices.Clone(steps[:6]), late) {
		call.In = [][]float32{s.Observation}
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
	}
	late.Action = call.Actions
	steps = slices.Insert(steps, 6, late, late)
	for i := range steps {
		steps[i].Sequence = uint64(i + 1)
	}
	compared(t, steps, 12, map[replay.Reason]uint64{})
}

// token makes of steps of a session those of a client that carries its state.
func token(steps []experience.Step, seed uint64) []experience.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		s := &steps[i]
		s.Seed, s.DrawStep, s.DrawRow = seed, s.SessionStep, 0
		s.Session, s.Episode, s.SessionStep = "", 0, 0
	}
	return steps
}

func TestStateThatClientsCarry(t *testing.T) {
	compared(t, token(episodes(t), 7), 30, map[replay.Reason]uint64{})
	// Two clients with seeds of their own, step by step.
	var steps []experience.Step
	a, b := token(episodes(t), 7), token(episodes(t), 8)
	for i := range a {
		steps = append(steps, a[i], b[i])
	}
	compared(t, steps, 60, map[replay.Reason]uint64{})
	// With one seed they cannot be told apart: the beginnings of their episodes
	// alone are sure, and what comes before the second begins.
	steps = nil
	b = token(episodes(t), 7)
	for i := range a {
		steps = append(steps, a[i], b[i])
	}
	compared(t, steps, 6, map[replay.Reason]uint64{replay.SharedSeed: 54})
}

func TestATokenThatIsUsedTwice(t *testing.T) {
	steps := token(episodes(t)[:10], 7)
	steps = slices.Insert(steps, 5, steps[4]) // Both are known; which of them goes on is not.
	compared(t, steps, 6, map[replay.Reason]uint64{replay.SharedSeed: 5})
}

func TestStepsOfNoSessionNeedOne(t *testing.T) {
	steps := episodes(t)[:10]
	for i := range steps {
		steps[i].Session, steps[i].First, steps[i].DrawStep, steps[i].SessionStep = "", false, 0, 0
	}
	compared(t, steps, 0, map[replay.Reason]uint64{replay.NoSession: 10})
}

func TestStreamsBeyondTheMaximumAreForgotten(t *testing.T) {
	rec := newRecorder(t, open(t, recurrent), "v1")
	for i := range 40 {
		rec.act(fmt.Sprintf("s%d", i%4), false, nil)
	}
	for most, want := range map[int]uint64{3: 4, 4: 40} {
		r := run(t, rec.steps, replay.Options{New: open(t, recurrent), MaxStreams: most})
		if r.Steps.Compared != want || r.Steps.Different != 0 || (r.Steps.Forgotten > 0) != (most == 3) {
			t.Errorf("at most %d streams: %+v", most, r.Steps)
		}
	}
}

// TestStepsOfAnotherKindAreLeftOut has other widths, other names, and the same
// names in another order, which are found.
func TestStepsOfAnotherKindAreLeftOut(t *testing.T) {
	path := newMLP(1).write(t, "v0.1.0", "")
	rec := newRecorder(t, open(t, path), "v1")
	for range 20 {
		rec.act("", false, nil)
	}
	one := 1.0
	number := func(name string, offset, size int) experience.Part {
		return experience.Part{Name: name, Offset: offset, Size: size}
	}
	actions := []experience.Part{number("throttle", 0, 1), number("brake", 1, 1), number("steer", 2, 1)}
	layout := func(features, actions []experience.Part) []experience.Layout {
		return []experience.Layout{{Digest: "digest-v1", Inputs: []experience.Input{{Name: "x", Width: 7}}, Features: features, Actions: actions}}
	}
	for _, c := range []struct {
		name     string
		features []experience.Part
		actions  []experience.Part
		why      replay.Reason
	}{
		{"the same", []experience.Part{number("speed", 0, 1), number("steering", 1, 1), number("sensors", 2, 5)}, actions, ""},
		{"no names", nil, actions, ""},
		{"other features", []experience.Part{number("speed", 0, 1), number("yaw", 1, 1), number("sensors", 2, 5)}, actions, replay.OtherObservation},
		{"other sizes", []experience.Part{number("speed", 0, 2), number("sensors", 2, 5)}, actions, replay.OtherObservation},
		{"other actions", nil, []experience.Part{number("steer", 0, 1), number("throttle", 1, 1), number("brake", 2, 1)}, replay.OtherAction},
		{"a choice", nil, []experience.Part{{Name: "throttle", Size: 1, Discrete: true, High: &one}, actions[1], actions[2]}, replay.OtherAction},
	} {
		r := run(t, rec.steps, replay.Options{New: open(t, path), Layouts: layout(c.features, c.actions)})
		if c.why == "" && (r.Steps.Compared != 20 || r.Steps.Different != 0) || c.why != "" && left(r)[c.why] != 20 {
			t.Errorf("%s: %+v %+v", c.name, r.Steps, r.LeftOut)
		}
	}
	moved := slices.Clone(rec.steps)
	for i := range moved {
		x := moved[i].Observation
		moved[i].Observation = append(slices.Clone(x[2:]), x[1], x[0])
	}
	features := []experience.Part{number("sensors", 0, 5), number("steering", 5, 1), number("speed", 6, 1)}
	wantSame(t, run(t, moved, replay.Options{New: open(t, path), Layouts: layout(features, actions)}), 20)
	for i := range moved {
		moved[i].Observation = moved[i].Observation[:6]
	}
	if r := run(t, moved, replay.Options{New: open(t, path)}); left(r)[replay.OtherObservation] != 20 || r.Empty() == nil {
		t.Errorf("%+v", r.LeftOut)
	}
}
