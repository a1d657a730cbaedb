package replay_test

import (
	"fmt"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// both replays steps against what was recorded and against a second copy of the
// version, on one lane and on three.
func both(t *testing.T, path string, steps []experience.Step) {
	t.Helper()
	for _, lanes := range []int{1, 3} {
		wantSame(t, run(t, steps, replay.Options{New: open(t, path), Lanes: lanes}), len(steps))
		wantSame(t, run(t, steps, replay.Options{New: open(t, path), Against: open(t, path), Lanes: lanes}), len(steps))
	}
}

func TestAVersionIsTheSameAsItself(t *testing.T) {
	path := newMLP(1).write(t, "v0.1.0", "")
	r := newRecorder(t, open(t, path), "v1")
	for range 5000 { // More than a chunk.
		r.act("", false, nil)
	}
	both(t, path, r.steps)
}

// TestSessionsGoThroughInTheirOrder has interleaved sessions of recurrent agents,
// with episodes that end.
func TestSessionsGoThroughInTheirOrder(t *testing.T) {
	for _, agent := range []string{"rppo_two_layers", "rppo_shared", "old_rppo"} {
		t.Run(agent, func(t *testing.T) {
			path := agents + agent + "/model.zip"
			r := newRecorder(t, open(t, path), "v1")
			for i := range 300 {
				name := fmt.Sprintf("s%d", r.rng.IntN(5))
				r.act(name, r.rng.IntN(10) == 0, nil)
				if i%50 == 0 {
					r.act("", false, nil) // one that carries no state
				}
			}
			both(t, path, r.steps)
		})
	}
}

// TestDrawnActionsAreDrawnAgain has agents of every kind of distribution, with
// rows of one request, which are of one seed.
func TestDrawnActionsAreDrawnAgain(t *testing.T) {
	for _, agent := range []string{"ppo_box", "ppo_gsde_squashed", "ppo_multidiscrete", "ppo_multibinary", "sac_her", "dqn"} {
		t.Run(agent, func(t *testing.T) {
			path := agents + agent + "/model.zip"
			r := newRecorder(t, open(t, path), "v1")
			drawn := 0
			for i := range 400 {
				r.act("", false, func(s *experience.Step, _ *policy.Call) {
					s.Deterministic = i%3 == 0
					s.Seed, s.DrawStep, s.DrawRow = uint64(i/7), 5, uint64(i%7)
				})
				if i%3 != 0 {
					drawn++
				}
			}
			both(t, path, r.steps)
			if got := run(t, r.steps, replay.Options{New: open(t, path)}).Steps.Drawn; got != uint64(drawn) {
				t.Errorf("%d steps were drawn, want %d", got, drawn)
			}
			// Without the noise there is a difference, or the test shows nothing.
			if r := run(t, r.steps, replay.Options{New: open(t, path), Against: open(t, path), Deterministic: true}); r.Steps.Different != 0 {
				t.Errorf("%d deterministic steps differ", r.Steps.Different)
			}
			for i := range r.steps {
				r.steps[i].Seed += 1000
			}
			if agent != "dqn" && run(t, r.steps, replay.Options{New: open(t, path)}).Steps.Different == 0 {
				t.Error("other draws give the same actions")
			}
		})
	}
}

func TestMaskedStepsAreReplayedWithTheirMasks(t *testing.T) {
	for _, agent := range []string{"maskable_discrete", "maskable_multidiscrete"} {
		path := agents + agent + "/model.zip"
		r := newRecorder(t, open(t, path), "v1")
		for i := range 200 {
			r.act("", false, func(s *experience.Step, _ *policy.Call) {
				if i%4 == 0 {
					return
				}
				at := 0
				for _, n := range r.policy.Contract().MaskParts {
					part := make([]float32, n)
					for j := range part {
						part[j] = float32(r.rng.IntN(2))
					}
					part[r.rng.IntN(n)] = 1
					s.Masks = append(s.Masks, part...)
					at += n
				}
				s.Deterministic = i%2 == 0
				s.Seed = uint64(i)
			})
		}
		both(t, path, r.steps)
		for i := range r.steps {
			r.steps[i].Masks = nil
		}
		if run(t, r.steps, replay.Options{New: open(t, path)}).Steps.Different == 0 {
			t.Errorf("%s: the masks change nothing", agent)
		}
	}
}

const limits = `control_hz: 10
fallback: hold
envelope:
  limits:
    steer: {rate: 1, jerk: 20}
    throttle: {high: 0.7}
`

// TestEnvelopesGoAlong has an envelope that counts from the action before: of
// sessions, and of requests of none, which have bounds only.
func TestEnvelopesGoAlong(t *testing.T) {
	path := newMLP(2).write(t, "v0.1.0", limits)
	r := newRecorder(t, open(t, path), "v1")
	for range 600 {
		r.act([]string{"", "a", "b"}[r.rng.IntN(3)], r.rng.IntN(12) == 0, nil)
	}
	both(t, path, r.steps)
	rep := run(t, r.steps, replay.Options{New: open(t, path)})
	steer, throttle := rep.Actions[2], rep.Actions[0]
	if steer.Kinds["rate"].New == 0 || steer.Kinds["rate"] != (replay.Pair{Base: steer.Kinds["rate"].New, New: steer.Kinds["rate"].New}) || throttle.Kinds["bound"].New == 0 {
		t.Errorf("%+v %+v", steer, throttle)
	}
	rep = run(t, r.steps, replay.Options{New: open(t, path), Raw: true})
	wantSame(t, rep, len(r.steps))
	// What the policies say is the same without an envelope, what leaves is not.
	plain := newMLP(2).write(t, "v0.2.0", "")
	wantRaw := run(t, r.steps, replay.Options{New: open(t, plain), Raw: true})
	if wantRaw.Steps.Different != 0 {
		t.Errorf("%d raw actions differ", wantRaw.Steps.Different)
	}
	left := run(t, r.steps, replay.Options{New: open(t, plain)})
	if left.Actions[2].Different == 0 || left.Actions[2].Interventions.New != 0 || left.Actions[2].Interventions.Base != steer.Interventions.New {
		t.Errorf("%+v", left.Actions[2])
	}
}

// TestStepsWithExtrasAreTheSame has requests that asked for all that the policy
// can give beside its action, which another form of it computes.
func TestStepsWithExtrasAreTheSame(t *testing.T) {
	paths := map[string]string{"mlp": newMLP(1).write(t, "v0.1.0", ""), "demo": "../demo/artifact"}
	for _, agent := range []string{"ppo_box", "ppo_dict", "ppo_multidiscrete", "sac_her", "td3", "dqn", "rppo_two_layers"} {
		paths[agent] = agents + agent + "/model.zip"
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, open(t, path), "v1")
			for i := range 100 {
				r.act("", false, func(s *experience.Step, c *policy.Call) {
					s.Deterministic, s.Seed = i%2 == 0, uint64(i)
					for _, e := range r.policy.Contract().Extras {
						c.Extras = append(c.Extras, make([]float32, e.Width))
					}
				})
			}
			both(t, path, r.steps)
		})
	}
}
