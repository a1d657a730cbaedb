package artifact

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNoVersion is wrapped where no version meets what was asked for.
var ErrNoVersion = errors.New("no such version")

// Strategy names a way of choosing one version of several.
type Strategy string

// The strategies. Stable and Exact have second names, LatestStable and
// Specific.
const (
	StrategyLatest      Strategy = "latest"                // newest of all, prereleases included
	StrategyStable      Strategy = "stable"                // newest that is no prerelease
	StrategyExact       Strategy = "specific"              // the target and no other
	StrategyCompatible  Strategy = "compatible"            // newest of the target's major, not older than it; stable preferred
	StrategyPerformance Strategy = "performance_optimized" // best Score
	StrategyFallback    Strategy = "fallback"              // latest, then stable
)

// ParseStrategy reads the name of a strategy in either of its spellings.
func ParseStrategy(s string) (Strategy, error) {
	switch name := strings.ToLower(strings.TrimSpace(s)); name {
	case "latest_stable":
		return StrategyStable, nil
	case "exact":
		return StrategyExact, nil
	default:
		switch st := Strategy(name); st {
		case StrategyLatest, StrategyStable, StrategyExact, StrategyCompatible, StrategyPerformance, StrategyFallback:
			return st, nil
		}
	}
	return "", fmt.Errorf("%w: unknown strategy %s (latest, stable, specific, compatible, performance_optimized, fallback)", ErrVersion, quote(s))
}

// Candidate is one version that may be chosen, with the metrics of its card.
type Candidate struct {
	Version Version
	Metrics map[string]float64
}

// Selection says how to choose.
type Selection struct {
	Strategy    Strategy
	Target      Version      // of StrategyExact and StrategyCompatible
	Constraints []Constraint // all must hold; where any stable version meets them, only stable ones count
	// Fallback allows latest and then stable where the strategy finds
	// nothing. It is off by default: a version that was asked for and is not
	// there is an error, never another version.
	Fallback bool
}

// Choice is the outcome of Choose.
type Choice struct {
	Index    int // into the candidates
	Strategy Strategy
	Fallback bool  // whether the strategy asked for found nothing
	Reason   error // why, where Fallback is true
}

// Choose picks one of the candidates.
func Choose(candidates []Candidate, s Selection) (Choice, error) {
	i, err := choose(candidates, s)
	if err == nil {
		return Choice{Index: i, Strategy: s.Strategy}, nil
	}
	if s.Fallback {
		for _, st := range []Strategy{StrategyLatest, StrategyStable} {
			t := s
			t.Strategy = st
			if j, err2 := choose(candidates, t); err2 == nil {
				return Choice{Index: j, Strategy: st, Fallback: true, Reason: err}, nil
			}
		}
	}
	return Choice{}, err
}

func choose(candidates []Candidate, s Selection) (int, error) {
	var left []int
	anyStable := false
	for i, c := range candidates {
		if !slices.ContainsFunc(s.Constraints, func(k Constraint) bool { return !k.Allows(c.Version) }) {
			left = append(left, i)
			anyStable = anyStable || c.Version.Stable()
		}
	}
	keep := func(ok func(Version) bool) {
		left = slices.DeleteFunc(left, func(i int) bool { return !ok(candidates[i].Version) })
	}
	if len(s.Constraints) > 0 && anyStable {
		keep(Version.Stable)
	}
	score := func(int) float64 { return 0 }
	switch s.Strategy {
	case StrategyLatest, StrategyFallback:
	case StrategyStable:
		keep(Version.Stable)
	case StrategyExact:
		keep(s.Target.Equal)
	case StrategyCompatible:
		keep(func(v Version) bool { return v.Major == s.Target.Major && v.Compare(s.Target) >= 0 })
		if slices.ContainsFunc(left, func(i int) bool { return candidates[i].Version.Stable() }) {
			keep(Version.Stable)
		}
	case StrategyPerformance:
		score = func(i int) float64 { return Score(candidates[i].Metrics) }
	default:
		return 0, fmt.Errorf("%w: unknown strategy %s", ErrVersion, quote(string(s.Strategy)))
	}
	if len(left) == 0 {
		return 0, fmt.Errorf("%w: %s; there are: %s", ErrNoVersion, s, listVersions(candidates))
	}
	return slices.MaxFunc(left, func(a, b int) int {
		if sa, sb := score(a), score(b); sa != sb {
			if sa < sb {
				return -1
			}
			return 1
		}
		return candidates[a].Version.Compare(candidates[b].Version)
	}), nil
}

// String says what is being looked for.
func (s Selection) String() string {
	words := []string{string(s.Strategy)}
	if s.Strategy == StrategyExact || s.Strategy == StrategyCompatible {
		words = append(words, s.Target.String())
	}
	for _, c := range s.Constraints {
		words = append(words, c.String())
	}
	return strings.Join(words, " ")
}

func listVersions(candidates []Candidate) string {
	if len(candidates) == 0 {
		return "none"
	}
	versions := make([]Version, len(candidates))
	for i, c := range candidates {
		versions[i] = c.Version
	}
	slices.SortFunc(versions, func(a, b Version) int { return b.Compare(a) })
	names := make([]string, 0, 16)
	for _, v := range versions {
		if len(names) == 16 {
			names = append(names, "...")
			break
		}
		names = append(names, v.String())
	}
	return strings.Join(names, ", ")
}
