package sb3

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Before version 1.1 the HER of the library was an algorithm around another,
// whose policy takes the observation and the desired goal as one row
// (ObsDictWrapper). What the environment gives is a dict of three parts, which
// VecNormalize normalises each by itself, and which the file holds no space of:
// their sizes are those of the last observation of the training, where it has
// one.

// The parts of an observation with a goal.
const (
	achievedGoal = "achieved_goal"
	desiredGoal  = "desired_goal"
	observation  = "observation"
)

// lastObservations are the entries of data that hold an observation.
var lastObservations = []string{"_last_original_obs", "_last_obs"}

var observationGlobals = func() pickle.AllowList {
	l := pickle.NewAllowList(pickle.NumpyGlobals()...)
	l.Add("collections.OrderedDict")
	return l
}()

// oldHER tells whether an agent is of the algorithm HER.
func (d *data) oldHER() bool { return d.has("model_class") && d.has("goal_selection_strategy") }

// goalSize returns the size of the goal in a row of the given size, 0 where the
// file does not tell it.
func (d *data) goalSize(row int) int {
	for _, key := range lastObservations {
		v, err := d.late(key, observationGlobals)
		if err != nil {
			continue
		}
		parts, _ := v.(*pickle.Dict)
		obs, achieved, desired := partSize(parts, observation), partSize(parts, achievedGoal), partSize(parts, desiredGoal)
		if obs > 0 && desired > 0 && obs+desired == row && achieved == desired {
			return desired
		}
	}
	return 0
}

// partSize is the size of a row of one part, 0 where there is no such part.
func partSize(d *pickle.Dict, key string) int {
	if d == nil {
		return 0
	}
	v, _ := d.Get(key)
	if !pickle.IsArray(v) {
		return 0
	}
	a, err := pickle.NumpyArray(v)
	if err != nil || len(a.Shape) == 0 || len(a.Shape) > 2 {
		return 0
	}
	return a.Shape[len(a.Shape)-1]
}

// readGoal makes of the row of an agent of HER the dict that the environment
// gives.
func (p *Policy) readGoal(d *data) {
	if !d.oldHER() || p.Observation.Kind != Box || len(p.Observation.Shape) != 1 {
		return
	}
	p.hasGoal = true
	if n := d.goalSize(p.Observation.Shape[0]); n > 0 {
		p.Observation = p.row.withGoal(n)
		p.Notes = append(p.Notes, fmt.Sprintf("The sizes of %s, %s and %s are those of the last observation in the file.", observation, achievedGoal, desiredGoal))
		return
	}
	p.Notes = append(p.Notes, fmt.Sprintf("The observation is %s and %s in one row: the file does not tell their sizes.", observation, desiredGoal))
}

// goalOf returns the space of the three parts where the caller gives their
// shapes and the file does not.
func (p *Policy) goalOf(shapes map[string][]int) *Space {
	goal, obs := shapes[desiredGoal], shapes[observation]
	if !p.hasGoal || p.Observation.Kind == Dict || len(goal) != 2 || len(obs) != 2 || goal[1] < 1 || obs[1] < 1 || goal[1]+obs[1] != p.row.Shape[0] {
		return p.Observation
	}
	return p.row.withGoal(goal[1])
}

// withGoal is the dict whose row s is, with goals of a size. Its keys have the
// order in which a Dict sorts them.
func (s *Space) withGoal(size int) *Space {
	at := s.Shape[0] - size
	part := func(from, to int) *Space {
		return &Space{Kind: Box, DType: s.DType, Shape: []int{to - from}, Low: s.Low[from:to], High: s.High[from:to]}
	}
	goal := part(at, s.Shape[0])
	return &Space{Kind: Dict, Keys: []string{achievedGoal, desiredGoal, observation}, Spaces: []*Space{goal, goal, part(0, at)}}
}

// joinGoal makes the row of a policy of HER of the parts of the observation; the
// goal that is achieved is not in it.
func (b *builder) joinGoal(in []Input, parts []*graph.Value) []*graph.Value {
	if b.err != nil || !b.p.hasGoal || len(parts) != 3 {
		return parts
	}
	at := func(name string) *graph.Value {
		return parts[slices.IndexFunc(in, func(i Input) bool { return i.Name == name })]
	}
	return []*graph.Value{b.concat(at(observation), at(desiredGoal))}
}
