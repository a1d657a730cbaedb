package export

import (
	"context"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// outcome is what came of one step, of all that was told of it: the sum of its
// rewards, whether the episode ended, and the last info.
type outcome struct {
	reward                          float64
	rewarded, terminated, truncated bool
	info                            string
	time                            time.Time
}

func (o *outcome) add(from *experience.Outcome) {
	if from.Reward != nil {
		o.reward += *from.Reward
		o.rewarded = true
	}
	o.terminated = o.terminated || from.Terminated
	o.truncated = o.truncated || from.Truncated
	if len(from.Info) > 0 {
		o.info = string(from.Info)
	}
	o.time = from.Time
}

// place is the step of a session that an outcome is of. The number of a step
// goes on over episodes, so that it needs none.
type place struct {
	session string
	step    uint64
}

// outcomes are those of a query, by step, in the order in which they were told.
type outcomes map[place][]*experience.Outcome

// readOutcomes reads those of a query's session. They may be told long after
// the steps, so that the query's end is not theirs.
func readOutcomes(ctx context.Context, s experience.Store, q experience.Query) (outcomes, error) {
	all := outcomes{}
	for o, err := range s.Outcomes(ctx, experience.Query{Session: q.Session, Since: q.Since}) {
		if err != nil {
			return nil, err
		}
		kept := *o
		kept.Info = append(kept.Info[:0:0], o.Info...)
		p := place{o.Session, o.SessionStep}
		all[p] = append(all[p], &kept)
	}
	return all, nil
}

// of gives what came of a step. A name that was used by several sessions, one
// after the other, has steps of the same number: an outcome is that of the last
// of them that was taken before it was told. next is the time of the next step
// with the same place, zero where there is none.
func (o outcomes) of(s *experience.Step, next time.Time) (sum outcome) {
	if s.Session == "" {
		return sum
	}
	for _, one := range o[place{s.Session, s.SessionStep}] {
		if one.Time.Before(s.Time) || !next.IsZero() && !one.Time.Before(next) {
			continue
		}
		sum.add(one)
	}
	return sum
}

// successors finds, of steps whose place has an outcome and comes several times,
// when the next of the same place was taken.
func (o outcomes) successors(ctx context.Context, s experience.Store, q experience.Query) (map[place][]time.Time, error) {
	times := map[place][]time.Time{}
	if len(o) == 0 {
		return times, nil
	}
	q.Limit, q.Newest, q.Until, q.Episode, q.After, q.Run, q.Intervened = 0, false, time.Time{}, nil, 0, "", false
	q.Model, q.Version, q.Digest = "", "", ""
	for step, err := range s.Read(ctx, q) {
		if err != nil {
			return nil, err
		}
		if step.Session == "" {
			continue
		}
		if p := (place{step.Session, step.SessionStep}); o[p] != nil {
			times[p] = append(times[p], step.Time)
		}
	}
	for p, list := range times {
		if len(list) < 2 {
			delete(times, p)
		}
	}
	return times, nil
}

// after is the first of the times that is after one, zero where there is none.
func after(times []time.Time, t time.Time) (next time.Time) {
	for _, other := range times {
		if other.After(t) && (next.IsZero() || other.Before(next)) {
			next = other
		}
	}
	return next
}
