package replay

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// StepID names a recorded step.
type StepID struct {
	Run         string `json:"run"`
	Sequence    uint64 `json:"sequence"`
	RequestID   string `json:"request_id,omitempty"`
	Row         int    `json:"row"` // of the request
	Session     string `json:"session,omitempty"`
	Episode     uint64 `json:"episode"`
	SessionStep uint64 `json:"step"`
	Version     string `json:"version,omitempty"` // that answered
}

func (id StepID) String() string { return fmt.Sprintf("step %d of run %s", id.Sequence, id.Run) }

func idOf(s *experience.Step) StepID {
	return StepID{
		Run: s.Run, Sequence: s.Sequence, RequestID: s.RequestID, Row: s.Row,
		Session: s.Session, Episode: s.Episode, SessionStep: s.SessionStep, Version: s.Version,
	}
}

// row is one step of a chunk.
type row struct {
	id            StepID
	deterministic bool
	masked        bool
	seed, step    uint64 // keys of its draws
	draw          uint64
	stream        *stream   // nil for a step of none
	begins        beginning // of the stream's state
	wave          int       // how many steps of the same stream are before it in the chunk
}

// chunk is recorded steps in the order of the log, in columns, and what the
// versions do with them.
type chunk struct {
	read     uint64 // steps of the log up to the end of this chunk
	rows     []row
	width    int       // of an observation
	obs      []float32 // rows × width, in the order of the version looked at
	masks    []float32 // rows × masks; ones where a step has none
	waves    int
	recorded outcome // what left, or what the policy gave where that is compared
	sides    [2]outcome
}

// outcome is what became of the rows of a chunk.
type outcome struct {
	actions []float32 // rows × width of an action
	marks   []mark    // in no order
	refused []refusal // in the order of the rows
}

// mark is one value of an action that an envelope changed.
type mark struct {
	row   int
	value int
	kind  string
}

// refusal is a row that a version gives no action for.
type refusal struct {
	row  int
	text string
}

// reset makes the chunk empty, and keeps its memory.
func (c *chunk) reset() *chunk {
	clear(c.rows) // which hold on to streams
	c.rows, c.obs, c.masks, c.waves = c.rows[:0], c.obs[:0], c.masks[:0], 0
	c.recorded.reset()
	for i := range c.sides {
		c.sides[i].reset()
	}
	return c
}

func (o *outcome) reset() {
	o.actions, o.marks, o.refused = o.actions[:0], o.marks[:0], o.refused[:0]
}

// add appends a step of the log, whose observation is found by from where that
// is in another order.
func (c *chunk) add(s *experience.Step, from []int, masks int, raw bool, r row) {
	i := len(c.rows)
	c.rows = append(c.rows, r)
	if from == nil {
		c.obs = append(c.obs, s.Observation...)
	} else {
		for _, at := range from {
			c.obs = append(c.obs, s.Observation[at])
		}
	}
	if masks > 0 {
		if len(s.Masks) == masks {
			c.masks = append(c.masks, s.Masks...)
		} else {
			for range masks {
				c.masks = append(c.masks, 1)
			}
		}
	}
	c.waves = max(c.waves, r.wave+1)
	left := s.Action
	if raw && s.Raw != nil {
		left = s.Raw
	}
	c.recorded.actions = append(c.recorded.actions, left...)
	for _, v := range s.Interventions {
		c.recorded.marks = append(c.recorded.marks, mark{i, v.Value, v.Kind})
	}
}
