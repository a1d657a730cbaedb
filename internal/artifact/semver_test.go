package artifact_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

func version(t *testing.T, s string) artifact.Version {
	t.Helper()
	v, err := artifact.ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseVersion(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := version(t, in).String(); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("v1.2.3", "v1.2.3")
	f("1.2.3", "v1.2.3")
	f("  v0.1.0\t", "v0.1.0")
	f("v1.2.3-rc.1", "v1.2.3-rc.1")
	f("1.2.3-alpha-beta.0.x-y", "v1.2.3-alpha-beta.0.x-y")
	f("v1.2.3+build.007", "v1.2.3+build.007")
	f("v1.2.3-rc.1+sha-5", "v1.2.3-rc.1+sha-5")
	f("v0.0.0", "v0.0.0")
	f("v18446744073709551615.0.0", "v18446744073709551615.0.0")
}

func TestParseVersionRefuses(t *testing.T) {
	f := func(in string) {
		t.Helper()
		if v, err := artifact.ParseVersion(in); !errors.Is(err, artifact.ErrVersion) {
			t.Errorf("%q: got %v, %v", in, v, err)
		}
	}
	f("")
	f("v")
	f("1")
	f("1.0")
	f("1.0.0.0")
	f("V1.2.3") // a capital V
	f("vv1.2.3")
	f("v1.2.3-01") // a number with a leading zero
	f("v01.2.3")
	f("v1.02.3")
	f("v1.2.03")
	f("v1.2.3-")
	f("v1.2.3+")
	f("v1.2.3-a..b")
	f("v1.2.3-a_b")
	f("v1.2.3+a_b")
	f("v-1.2.3")
	f("v+1.2.3")
	f("v1. 2.3")
	f("v1.2.x")
	f("v18446744073709551616.0.0")
	f("v１.2.3") // full-width digit
	f("latest")
	f("v1.2.3-" + strings.Repeat("a", 300))
}

func TestVersionOrder(t *testing.T) {
	// Each is above the one before it.
	order := []string{
		"v0.0.1", "v0.1.0-alpha", "v0.1.0-alpha.1", "v0.1.0-alpha.2", "v0.1.0-alpha.10", "v0.1.0-alpha.beta", "v0.1.0-beta",
		"v0.1.0-rc.9", "v0.1.0-rc.10", "v0.1.0", "v0.1.1", "v0.10.0", "v1.0.0-1", "v1.0.0-2", "v1.0.0-10", "v1.0.0-1a", "v1.0.0", "v10.0.0",
	}
	for i := range order {
		for j := range order {
			got := version(t, order[i]).Compare(version(t, order[j]))
			// 1a is text, so that it stands between 10 and 2 as text does; the
			// pairs of numbers compare as numbers.
			if order[i] == "v1.0.0-1a" && strings.HasPrefix(order[j], "v1.0.0-") || order[j] == "v1.0.0-1a" && strings.HasPrefix(order[i], "v1.0.0-") {
				continue
			}
			if want := sign(i - j); got != want {
				t.Errorf("%s against %s: got %d, want %d", order[i], order[j], got, want)
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestVersionEquality(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if got := version(t, a).Equal(version(t, b)); got != want {
			t.Errorf("%s = %s: got %v", a, b, got)
		}
	}
	f("v1.2.3", "1.2.3", true)
	f("v1.2.3+a", "v1.2.3+b", true) // build data does not count
	f("v1.2.3-rc.1+a", "v1.2.3-rc.1", true)
	f("v1.2.3-rc.1", "v1.2.3", false)
	f("v1.2.3-rc.1", "v1.2.3-RC.1", false)
}

func TestMixedIdentifiersCompareAsText(t *testing.T) {
	if version(t, "v1.0.0-2").Compare(version(t, "v1.0.0-1a")) <= 0 {
		t.Error("2 is above 1a as text is")
	}
	if version(t, "v1.0.0-10").Compare(version(t, "v1.0.0-2a")) >= 0 {
		t.Error("10 is below 2a as text is")
	}
}

func TestConstraints(t *testing.T) {
	f := func(constraint, v string, want bool) {
		t.Helper()
		list, err := artifact.ParseConstraints(constraint)
		if err != nil {
			t.Error(err)
			return
		}
		got := !slices.ContainsFunc(list, func(c artifact.Constraint) bool { return !c.Allows(version(t, v)) })
		if got != want {
			t.Errorf("%s of %s: got %v, want %v", v, constraint, got, want)
		}
	}
	f(">=1.2.0", "v1.2.0", true)
	f(">=1.2.0", "v1.3.0-rc.1", true) // prereleases take part
	f(">=1.2.0", "v1.2.0-rc.1", false)
	f(">1.2.0", "v1.2.0", false)
	f(">1.2.0", "v1.2.1", true)
	f("<=1.2.0", "v1.2.0+b", true)
	f("<1.2.0", "v1.2.0-rc.1", true)
	f("~1.2.3", "v1.2.3", true)
	f("~1.2.3", "v1.2.9", true)
	f("~1.2.3", "v1.2.2", false)
	f("~1.2.3", "v1.3.0", false)
	f("^1.1.5", "v1.1.5", true)
	f("^1.1.5", "v1.2.0", true)
	f("^1.1.5", "v1.1.4", false)
	f("^1.1.5", "v2.0.0", false)
	f("^0.1.0", "v0.9.0", true) // unlike npm and cargo
	f("^0.1.0", "v1.0.0", false)
	f("1.2.3", "v1.2.3", true)
	f("=v1.2.3", "v1.2.3+x", true)
	f("==1.2.3", "v1.2.4", false)
	f(">=1.0.0, <2.0.0", "v1.9.0", true)
	f(">= 1.0.0 < 2.0.0", "v2.0.0", false)
}

func TestConstraintsRefuses(t *testing.T) {
	f := func(in string) {
		t.Helper()
		if c, err := artifact.ParseConstraints(in); !errors.Is(err, artifact.ErrVersion) {
			t.Errorf("%q: got %v, %v", in, c, err)
		}
	}
	f("")
	f(" , ")
	f(">=")
	f(">=1.2")
	f("=>1.2.3")
	f("~>1.2.3")
	f("1.2.3 or 2.0.0")
}

func candidates(t *testing.T, names ...string) []artifact.Candidate {
	t.Helper()
	var out []artifact.Candidate
	for _, n := range names {
		out = append(out, artifact.Candidate{Version: version(t, n)})
	}
	return out
}

func TestChoose(t *testing.T) {
	f := func(s artifact.Selection, want string, names ...string) {
		t.Helper()
		list := candidates(t, names...)
		choice, err := artifact.Choose(list, s)
		if err != nil {
			t.Error(err)
			return
		}
		if got := list[choice.Index].Version.String(); got != want {
			t.Errorf("%v: got %s, want %s", s, got, want)
		}
	}
	all := []string{"v0.9.0", "v1.0.0", "v1.2.0", "v1.3.0-rc.1", "v2.0.0", "v2.1.0-beta"}
	target := func(st artifact.Strategy, v string) artifact.Selection {
		return artifact.Selection{Strategy: st, Target: version(t, v)}
	}
	f(artifact.Selection{Strategy: artifact.StrategyLatest}, "v2.1.0-beta", all...)
	f(artifact.Selection{Strategy: artifact.StrategyStable}, "v2.0.0", all...)
	f(target(artifact.StrategyExact, "1.3.0-rc.1"), "v1.3.0-rc.1", all...)
	f(target(artifact.StrategyExact, "v1.0.0+other"), "v1.0.0", all...)
	f(target(artifact.StrategyCompatible, "1.0.0"), "v1.2.0", all...) // stable preferred to v1.3.0-rc.1
	f(target(artifact.StrategyCompatible, "1.2.1"), "v1.3.0-rc.1", all...)
	f(artifact.Selection{Strategy: artifact.StrategyFallback}, "v2.1.0-beta", all...)

	constrained := func(c string) artifact.Selection {
		list, err := artifact.ParseConstraints(c)
		if err != nil {
			t.Fatal(err)
		}
		return artifact.Selection{Strategy: artifact.StrategyLatest, Constraints: list}
	}
	f(constrained("^1.0.0"), "v1.2.0", all...) // a stable one wins where there is any
	f(constrained(">=1.2.1 <2.0.0"), "v1.3.0-rc.1", all...)
}

func TestChoosePerformance(t *testing.T) {
	list := candidates(t, "v1.0.0", "v1.1.0", "v1.2.0")
	list[0].Metrics = map[string]float64{"inference_latency_p50_ms": 5, "inference_throughput_obs_per_sec": 1000, "memory_usage_mb": 500}
	list[1].Metrics = map[string]float64{"inference_latency_p50_ms": 8, "inference_throughput_obs_per_sec": 900, "memory_usage_mb": 2500}
	if got, want := artifact.Score(list[0].Metrics), 95.0+100+15; got != want {
		t.Errorf("score: got %v, want %v", got, want)
	}
	if got, want := artifact.Score(list[1].Metrics), 92.0+90; got != want {
		t.Errorf("score: got %v, want %v", got, want)
	}
	choice, err := artifact.Choose(list, artifact.Selection{Strategy: artifact.StrategyPerformance})
	if err != nil || choice.Index != 0 {
		t.Errorf("got %v, %v, want the first", choice, err)
	}
}

func TestChooseRefuses(t *testing.T) {
	f := func(s artifact.Selection, names ...string) {
		t.Helper()
		if choice, err := artifact.Choose(candidates(t, names...), s); !errors.Is(err, artifact.ErrNoVersion) {
			t.Errorf("%v: got %v, %v", s, choice, err)
		}
	}
	f(artifact.Selection{Strategy: artifact.StrategyLatest})
	f(artifact.Selection{Strategy: artifact.StrategyStable}, "v1.0.0-rc.1")
	f(artifact.Selection{Strategy: artifact.StrategyExact, Target: version(t, "v1.0.1")}, "v1.0.0", "v1.1.0")
	f(artifact.Selection{Strategy: artifact.StrategyCompatible, Target: version(t, "v1.2.0")}, "v1.1.0", "v2.0.0")
}

func TestChooseFallsBackOnlyWhenAsked(t *testing.T) {
	list := candidates(t, "v1.0.0", "v1.1.0")
	s := artifact.Selection{Strategy: artifact.StrategyExact, Target: version(t, "v3.0.0")}
	if _, err := artifact.Choose(list, s); err == nil {
		t.Fatal("a version that is not there was replaced by another")
	}
	s.Fallback = true
	choice, err := artifact.Choose(list, s)
	if err != nil || !choice.Fallback || choice.Index != 1 || choice.Strategy != artifact.StrategyLatest || choice.Reason == nil {
		t.Errorf("got %+v, %v", choice, err)
	}
}

func TestParseStrategy(t *testing.T) {
	for in, want := range map[string]artifact.Strategy{
		"latest": artifact.StrategyLatest, "stable": artifact.StrategyStable, "LATEST_STABLE": artifact.StrategyStable,
		"exact": artifact.StrategyExact, "specific": artifact.StrategyExact, "compatible": artifact.StrategyCompatible,
		"performance_optimized": artifact.StrategyPerformance, " fallback ": artifact.StrategyFallback,
	} {
		if got, err := artifact.ParseStrategy(in); err != nil || got != want {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	if _, err := artifact.ParseStrategy("newest"); !errors.Is(err, artifact.ErrVersion) {
		t.Errorf("newest: got %v", err)
	}
}
