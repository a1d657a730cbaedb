package repository

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// choose decides which version of each model answers and which are loaded, and
// makes the first snapshot. It sorts the sources, newest first.
func (f *found) choose(o Options) (*snapshot, error) {
	sets, def, err := f.sets(o)
	if err != nil {
		return nil, err
	}
	s := &snapshot{models: map[string]*slot{}}
	for _, m := range sets {
		s.add(newSlot(m))
	}
	if def != "" {
		s.def = s.models[def]
	}
	return s, nil
}

// sets makes the models, with every version still to be loaded, and tells which
// is the default one; "" where there is none.
func (f *found) sets(o Options) (sets []*modelSet, def string, err error) {
	want := strings.TrimSpace(o.ModelVersion)
	if def, err = f.defaultModel(o.DefaultModel); err != nil {
		return nil, "", err
	}
	var lacking []string
	for _, model := range f.models {
		sources := f.sources[model]
		slices.SortStableFunc(sources, func(a, b *source) int { return compareSources(b, a) })
		order, err := pick(sources, want)
		switch {
		case err == nil:
		case model == def || !errors.Is(err, artifact.ErrNoVersion):
			return nil, "", fmt.Errorf("artifact root %s: model %s: MODEL_VERSION %q: %w", o.Root, model, want, err)
		default:
			// What was asked for is of the default model; another one that
			// does not carry it goes its own way, and says so.
			lacking = append(lacking, fmt.Sprintf("%s (there are: %s)", model, listSources(sources)))
			if order, err = pick(sources, ""); err != nil {
				return nil, "", fmt.Errorf("artifact root %s: model %s: %w", o.Root, model, err)
			}
			which := "newest"
			if sources[order[0]].stable() {
				which = "newest stable one"
			}
			f.note("MODEL_VERSION %s is for the default model %s; the model %s has no such version and serves %s, its %s.",
				want, def, model, sources[order[0]].name, which)
		}
		sets = append(sets, newModelSet(model, sources, order, o.MaxVersions))
	}
	if def == "" && len(lacking) > 0 {
		return nil, "", fmt.Errorf("artifact root %s: MODEL_VERSION %q: %w of %s: without a default model every model must carry it; name the default model with model.default, or leave MODEL_VERSION empty",
			o.Root, want, artifact.ErrNoVersion, strings.Join(lacking, ", "))
	}
	return sets, def, nil
}

// defaultModel returns the name of the default model, or "" where there are
// several and none was chosen.
func (f *found) defaultModel(name string) (string, error) {
	switch {
	case name != "":
		if _, ok := f.sources[name]; !ok {
			return "", fmt.Errorf("%w: the default model %s; there are: %s", ErrModelNotFound, name, strings.Join(f.models, ", "))
		}
		return name, nil
	case len(f.models) == 1:
		return f.models[0], nil
	case slices.Contains(f.models, "default"):
		return "default", nil
	}
	f.note("There are several models and no default one: requests must name a model, or model.default must.")
	return "", nil
}

// pick returns the indexes of the versions that may answer, the one that is
// wanted first: where it is refused, the next one does.
func pick(sources []*source, want string) ([]int, error) {
	switch strings.ToLower(want) {
	case "":
		if order := indexes(sources, (*source).stable); len(order) > 0 {
			return order, nil
		}
		return indexes(sources, func(*source) bool { return true }), nil
	case "latest":
		return indexes(sources, func(*source) bool { return true }), nil
	case "stable", "latest_stable":
		if order := indexes(sources, (*source).stable); len(order) > 0 {
			return order, nil
		}
		return nil, fmt.Errorf("%w: stable; there are: %s", artifact.ErrNoVersion, listSources(sources))
	}
	if artifact.HasOperator(want) {
		return pickConstrained(sources, want)
	}
	v, err := artifact.ParseVersion(want)
	if err == nil {
		if i := slices.IndexFunc(sources, func(s *source) bool { return s.semver != nil && s.semver.Equal(v) }); i >= 0 {
			return []int{i}, nil
		}
	}
	if i := slices.IndexFunc(sources, func(s *source) bool { return s.name == want }); i >= 0 {
		return []int{i}, nil
	}
	return nil, fmt.Errorf("%w; there are: %s", artifact.ErrNoVersion, listSources(sources))
}

func indexes(sources []*source, ok func(*source) bool) []int {
	var list []int
	for i, s := range sources {
		if ok(s) {
			list = append(list, i)
		}
	}
	return list
}

func pickConstrained(sources []*source, want string) (order []int, err error) {
	constraints, err := artifact.ParseConstraints(want)
	if err != nil {
		return nil, err
	}
	var candidates []artifact.Candidate
	var index []int
	for i, s := range sources {
		if s.semver != nil {
			candidates = append(candidates, artifact.Candidate{Version: *s.semver})
			index = append(index, i)
		}
	}
	for {
		choice, err := artifact.Choose(candidates, artifact.Selection{Strategy: artifact.StrategyLatest, Constraints: constraints})
		if err != nil && len(order) > 0 {
			return order, nil // The rest does not fit.
		}
		if err != nil {
			return nil, err
		}
		order = append(order, index[choice.Index])
		candidates = slices.Delete(candidates, choice.Index, choice.Index+1)
		index = slices.Delete(index, choice.Index, choice.Index+1)
	}
}

// isExact reports whether MODEL_VERSION names one version.
func isExact(want string) bool {
	switch strings.ToLower(strings.TrimSpace(want)) {
	case "", "latest", "stable", "latest_stable":
		return false
	}
	return !artifact.HasOperator(want) && artifact.ValidVersion(strings.TrimSpace(want))
}

func (s *source) stable() bool { return s.semver == nil || s.semver.Stable() }

// compareSources orders versions: semantic ones by their rules, above all
// others; of the others numbers by value, above text.
func compareSources(a, b *source) int {
	switch {
	case a.semver != nil && b.semver != nil:
		return cmp.Or(a.semver.Compare(*b.semver), strings.Compare(a.name, b.name))
	case a.semver != nil:
		return 1
	case b.semver != nil:
		return -1
	}
	x, errX := strconv.ParseUint(a.name, 10, 64)
	y, errY := strconv.ParseUint(b.name, 10, 64)
	switch {
	case errX == nil && errY == nil:
		return cmp.Or(cmp.Compare(x, y), strings.Compare(a.name, b.name))
	case errX == nil:
		return 1
	case errY == nil:
		return -1
	}
	return strings.Compare(a.name, b.name)
}

// compareNames orders names of semantic versions.
func compareNames(a, b string) int {
	x, errX := artifact.ParseVersion(a)
	y, errY := artifact.ParseVersion(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b)
	}
	return x.Compare(y)
}

func listSources(sources []*source) string {
	return list(sources, func(s *source) string { return s.name })
}

// list joins the names of all, or of the first sixteen.
func list[T any](all []T, name func(T) string) string {
	const most = 16
	names := make([]string, 0, most+1)
	for _, e := range all {
		if len(names) == most {
			names = append(names, "...")
			break
		}
		names = append(names, name(e))
	}
	return strings.Join(names, ", ")
}
