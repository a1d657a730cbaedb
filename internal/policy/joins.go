package policy

import "sync/atomic"

// serials counts the policies that were opened.
var serials atomic.Uint64

// Serial is the number of the policy in this process. No other has it, not even
// the same files opened again: what is kept of one version's answers is never
// taken for another's.
func (p *Policy) Serial() uint64 { return p.serial }

// Draws tells whether chance has a part in the answers of a form: two calls
// with the same observation differ by what keys their draws. It is true of a
// form that there is not.
func (p *Policy) Draws(deterministic, masked bool) bool {
	f := p.form(deterministic, masked)
	return f == nil || f.draws
}

// Joins tells whether rows of different callers may be one call of a form: its
// rows go through the policy together, by an engine to which their number is
// all the same, and draw nothing. A call has one key for the draws of all its
// rows.
func (p *Policy) Joins(deterministic, masked bool) bool {
	return p.batchable && !p.Draws(deterministic, masked) && (!RunsWhole(p.engine) || p.Plan() != nil)
}
