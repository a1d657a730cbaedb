package replay

import (
	"cmp"
	"slices"
)

// Worst is one of the steps in which the actions are furthest apart.
type Worst struct {
	StepID
	// Score is the largest difference of a value, as a part of its range where
	// that has an end; two choices that are not the same are 1 apart.
	Score       float64   `json:"score"`
	Value       string    `json:"value"` // whose difference that is
	Observation []float32 `json:"observation"`
	Base        []float32 `json:"base"`
	New         []float32 `json:"new"`

	order uint64
}

// worst keeps the worst steps: of two with the same score the earlier one.
type worst struct {
	most  int
	steps []Worst // from the worst on
	order uint64
}

// wants tells whether a step with a score is among them. Steps come in the
// order of the log.
func (w *worst) wants(score float64) bool {
	return w.most > 0 && (len(w.steps) < w.most || score > w.steps[len(w.steps)-1].Score)
}

// maxObservation is how many values of an observation are kept.
const maxObservation = 4096

func (w *worst) add(c *chunk, row int, score float64, value string, x, y []float32) {
	w.order++
	obs := c.obs[row*c.width:][:c.width]
	s := Worst{
		StepID: c.rows[row].id, Score: score, Value: value, order: w.order,
		Observation: slices.Clone(obs[:min(len(obs), maxObservation)]), Base: slices.Clone(x), New: slices.Clone(y),
	}
	if len(w.steps) == w.most {
		w.steps = w.steps[:w.most-1]
	}
	at, _ := slices.BinarySearchFunc(w.steps, s, func(a, b Worst) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.order, b.order))
	})
	w.steps = slices.Insert(w.steps, at, s)
}
