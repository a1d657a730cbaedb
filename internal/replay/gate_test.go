package replay_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// small is the report of TestMeasuresByHand.
func small(t *testing.T) *replay.Report {
	t.Helper()
	base := [][3]float32{{0, -0.5, 10}, {1, 0.25, -10}, {0.5, 0, 0}, {0.5, 1, 3}}
	now := [][3]float32{{0.25, 0.5, 10}, {1, 0.5, 10}, {0, 0.25, 0}, {0.5, -1, 3}}
	return run(t, pairs(base, now), replay.Options{New: open(t, mirror(t, "")), Margin: 0.001, Worst: 3})
}

func TestThresholds(t *testing.T) {
	r := small(t)
	f := func(set func(*replay.Thresholds), passed bool, checks int) {
		t.Helper()
		var th replay.Thresholds
		set(&th)
		if err := r.Hold(th); err != nil {
			t.Fatal(err)
		}
		if r.Gate.Passed != passed || len(r.Gate.Checks) != checks {
			t.Errorf("%+v, want %v of %d", r.Gate, passed, checks)
		}
	}
	limit := func(texts ...string) (limits []replay.Limit) {
		for _, text := range texts {
			l, err := replay.ParseLimit(text)
			if err != nil {
				t.Fatal(err)
			}
			limits = append(limits, l)
		}
		return limits
	}
	f(func(*replay.Thresholds) {}, true, 0)
	f(func(th *replay.Thresholds) { th.Abs = limit("20") }, true, 3)
	f(func(th *replay.Thresholds) { th.Abs = limit("19.9") }, false, 3)
	f(func(th *replay.Thresholds) { th.Abs = limit("free=20", "2") }, true, 3)
	f(func(th *replay.Thresholds) { th.Abs = limit("throttle=0.5") }, true, 1)
	f(func(th *replay.Thresholds) { th.Abs = limit("throttle=0.5", "throttle=0.4") }, false, 1)
	f(func(th *replay.Thresholds) { th.Mean = limit("steer=0.874") }, false, 1)
	f(func(th *replay.Thresholds) { th.Mean = limit("steer=0.875") }, true, 1)
	f(func(th *replay.Thresholds) { th.P99 = limit("free=20") }, true, 1)
	f(func(th *replay.Thresholds) { th.SignFlips = limit("steer=0.5", "0.25") }, true, 3)
	f(func(th *replay.Thresholds) { th.SignFlips = limit("0.25") }, false, 3)
	f(func(th *replay.Thresholds) { th.SaturationRise = limit("0") }, true, 3)
	f(func(th *replay.Thresholds) { th.InterventionRise = limit("0") }, true, 3)
	f(func(th *replay.Thresholds) { th.Disagree = limit("0") }, true, 0)
	f(func(th *replay.Thresholds) { th.MinSteps = 4 }, true, 1)
	f(func(th *replay.Thresholds) { th.MinSteps = 5 }, false, 1)
	zero := 0.0
	f(func(th *replay.Thresholds) { th.Refused, th.LeftOut = &zero, &zero }, true, 2)
	if err := r.Hold(replay.Thresholds{Mean: limit("yaw=1")}); !errors.Is(err, replay.ErrNoAction) || !strings.Contains(err.Error(), "throttle, steer, free") {
		t.Error(err)
	}
	if err := r.Hold(replay.Thresholds{Disagree: limit("steer=1")}); !errors.Is(err, replay.ErrNoAction) {
		t.Error(err)
	}
	for _, text := range []string{"", "x", "=1", "steer=", "-1", "NaN", "Inf", "steer=-0.1"} {
		if l, err := replay.ParseLimit(text); err == nil {
			t.Errorf("%q is taken for %+v", text, l)
		}
	}
}

// TestRefusedSteps has observations that the contract of the new version does
// not have, and actions that are outside of it.
func TestRefusedSteps(t *testing.T) {
	base := [][3]float32{{0.5, 0, 0}, {0.5, 0, 0}, {0.5, 0, 0}, {0.5, 0, 0}}
	now := [][3]float32{{0.5, 0, 0}, {7, 0, 0}, {0.5, -2, 0}, {0.5, 0, 1}}
	r := run(t, pairs(base, now), replay.Options{New: open(t, mirror(t, ""))})
	if r.Steps.Compared != 2 || r.Steps.Refused != 2 || len(r.RefusedNew) != 2 || r.RefusedNew[0].First.Sequence+r.RefusedNew[1].First.Sequence != 5 {
		t.Errorf("%+v %+v", r.Steps, r.RefusedNew)
	}
	if !strings.Contains(r.RefusedNew[0].Text+r.RefusedNew[1].Text, "steer is outside its contract of -1 to 1") {
		t.Errorf("%+v", r.RefusedNew)
	}
	zero := 0.0
	if err := r.Hold(replay.Thresholds{Refused: &zero}); err != nil || r.Gate.Passed {
		t.Errorf("%v %+v", err, r.Gate)
	}
	// The base is refused too where it is a version.
	r = run(t, pairs(base, now), replay.Options{New: open(t, mirror(t, "")), Against: open(t, mirror(t, ""))})
	if r.Steps.Compared != 2 || r.RefusedBase[0].Steps+r.RefusedBase[1].Steps != 2 {
		t.Errorf("%+v %+v", r.Steps, r.RefusedBase)
	}
	path := newMLP(1).write(t, "v0.1.0", "")
	rec := newRecorder(t, open(t, path), "v1")
	for range 3 {
		rec.act("", false, nil)
	}
	rec.steps[1].Observation[0] = 300 // The speed is from 0 to 200.
	r = run(t, rec.steps, replay.Options{New: open(t, path)})
	if r.Steps.Compared != 2 || r.RefusedNew[0].Text != "observation: speed: expected 0 to 200" {
		t.Errorf("%+v %+v", r.Steps, r.RefusedNew)
	}
}

func TestErrorsEndAReplay(t *testing.T) {
	path := newMLP(1).write(t, "v0.1.0", "")
	p := open(t, path)
	broken := errors.New("broken")
	steps := func(yield func(*experience.Step, error) bool) { yield(nil, broken) }
	if _, err := replay.Run(t.Context(), steps, replay.Options{New: p}); !errors.Is(err, broken) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := replay.Run(ctx, all(nil), replay.Options{New: p}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := replay.Run(t.Context(), all(nil), replay.Options{New: p, Against: open(t, recurrent)}); !errors.Is(err, replay.ErrIncomparable) {
		t.Error(err)
	}
	if _, err := replay.Run(t.Context(), all(nil), replay.Options{New: p, Deterministic: true}); !errors.Is(err, replay.ErrIncomparable) {
		t.Error(err)
	}
	if _, err := replay.Run(t.Context(), all(nil), replay.Options{New: p, Against: p}); err == nil {
		t.Error("one policy on both sides is taken")
	}
	if r := run(t, nil, replay.Options{New: p}); !errors.Is(r.Empty(), replay.ErrNothing) {
		t.Error(r.Empty())
	}
}

// TestPage holds the page to what it promises: it is well-formed, loads nothing,
// and shows names as text, whatever they are.
func TestPage(t *testing.T) {
	base := [][3]float32{{0, -0.5, 10}, {1, 0.25, -10}}
	now := [][3]float32{{0.25, 0.5, 10}, {1, 0.5, 10}}
	steps := pairs(base, now)
	const name = `<script>alert(1)</script>"'&`
	for i := range steps {
		steps[i].RequestID, steps[i].Session, steps[i].Version = name, name, name
	}
	r := run(t, steps, replay.Options{New: open(t, mirror(t, ""))})
	r.New.Path, r.From = name, name
	if err := r.Hold(replay.Thresholds{Abs: []replay.Limit{{Most: 1}}}); err != nil {
		t.Fatal(err)
	}
	agent := newRecorder(t, open(t, agents+"ppo_multidiscrete/model.zip"), "v1")
	for range 20 {
		agent.act("", false, nil)
	}
	choices := run(t, agent.steps, replay.Options{New: open(t, agents+"ppo_multidiscrete/model.zip")})
	for _, r := range []*replay.Report{r, choices, run(t, nil, replay.Options{New: open(t, mirror(t, ""))})} {
		var b bytes.Buffer
		if err := r.WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		if strings.Contains(page, "<script") || regexp.MustCompile(`(src|href)="?(http|//)|url\(|@import`).MatchString(page) {
			t.Error("the page loads or runs something")
		}
		d := xml.NewDecoder(strings.NewReader(page))
		d.Strict, d.AutoClose, d.Entity = true, nil, xml.HTMLEntity
		open := 0
		for {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch e := tok.(type) {
			case xml.StartElement:
				open++
				if e.Name.Local == "svg" && (len(e.Attr) < 3 || e.Attr[2].Value == "") {
					t.Error("a drawing says nothing")
				}
			case xml.EndElement:
				open--
			}
		}
		if open != 0 {
			t.Errorf("%d elements are open", open)
		}
		if n := regexp.MustCompile(`NaN|Inf`).FindString(page); n != "" {
			t.Errorf("the page has %s", n)
		}
	}
	var text strings.Builder
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 steps read, 2 compared, 2 of them different", "FAILED  max-abs  free", "1. step 2 of run r of "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}
