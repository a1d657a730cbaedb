package envelope

// History is the last two actions of one stream, such as a session. It belongs
// to that stream, which acts once at a time. A nil History has none and keeps
// none.
type History struct {
	last, before []float32
	begun        bool
}

// NewHistory returns the history of a stream that begins, with actions of width
// values.
func NewHistory(width int) *History {
	return &History{last: make([]float32, width), before: make([]float32, width)}
}

// Width returns the number of values of an action.
func (h *History) Width() int { return len(h.last) }

// Begun tells whether there was an action.
func (h *History) Begun() bool { return h != nil && h.begun }

// Reset forgets all actions: an episode begins.
func (h *History) Reset() {
	if h != nil {
		h.begun = false
	}
}

// Copy makes h what from is. Both have actions of the same width.
func (h *History) Copy(from *History) {
	copy(h.last, from.last)
	copy(h.before, from.before)
	h.begun = from.begun
}

// Actions returns the last two actions, which must not be changed; ok tells
// whether there was any.
func (h *History) Actions() (last, before []float32, ok bool) { return h.last, h.before, h.begun }

// Restore makes h a history whose last two actions are these, of the width of h.
func (h *History) Restore(last, before []float32) {
	copy(h.last, last)
	copy(h.before, before)
	h.begun = true
}

// add makes the action the last one. The first of a stream comes from rest.
func (h *History) add(action []float32) {
	if !h.Begun() {
		h.rest(action)
		return
	}
	copy(h.before, h.last)
	copy(h.last, action)
}

// rest makes the action the last one, with nothing moving.
func (h *History) rest(action []float32) {
	if h == nil {
		return
	}
	copy(h.last, action)
	copy(h.before, action)
	h.begun = true
}
