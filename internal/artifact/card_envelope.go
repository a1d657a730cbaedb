package artifact

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Envelope is what a card says of the actions and observations beyond its
// contract. A card that has the key holds actions to it, an empty one to the
// bounds of the contract.
type Envelope struct {
	Limits []EnvelopeLimit
	// MaxZScore and MaxDistance bound how unlike the training an observation
	// may be; 0 is no bound.
	MaxZScore, MaxDistance float64
	Statistics             []FeatureStatistics
	Covariance             []float64 // of all values of an observation, row-major; nil where absent
}

// EnvelopeLimit bounds one action.
type EnvelopeLimit struct {
	Action     string
	Low, High  *float64 // nil where there is no bound but the contract's
	Rate, Jerk float64  // per second, and per second squared; 0 is no limit
	Line       int      // of the card
}

// FeatureStatistics are those of one feature in the training.
type FeatureStatistics struct {
	Feature   string
	Mean, Std []float64 // one for all values of the feature, or one for each
	Line      int       // of the card
}

// Fallback is what stands in for an action that the envelope refuses.
type Fallback struct {
	Word   string // error, hold, decay or brake; empty where there are Values
	Values any    // an action, as in GoldenVector
	Line   int    // of the card
}

var (
	envelopeKeys   = []string{"limits", "max_zscore", "max_distance", "statistics", "covariance"}
	limitKeys      = []string{"low", "high", "rate", "jerk"}
	statisticsKeys = []string{"mean", "std"}
)

func (r *cardReader) envelope(n *yaml.Node, field string) *Envelope {
	e := &Envelope{}
	for _, p := range r.mapping(n, field) {
		sub := dotted(field, p.name)
		switch p.name {
		case "limits":
			for _, l := range r.mapping(p.value, sub) {
				e.Limits = append(e.Limits, r.limit(l, dotted(sub, l.name)))
			}
		case "max_zscore":
			e.MaxZScore = r.above(p.value, sub)
		case "max_distance":
			e.MaxDistance = r.above(p.value, sub)
		case "statistics":
			for _, s := range r.mapping(p.value, sub) {
				e.Statistics = append(e.Statistics, r.statistics(s, dotted(sub, s.name)))
			}
		case "covariance":
			e.Covariance = flat(nil, r.values(p.value, sub))
		default:
			r.unknown(p.key, sub, envelopeKeys, false)
		}
	}
	return e
}

func (r *cardReader) limit(p pair, field string) EnvelopeLimit {
	l := EnvelopeLimit{Action: p.name, Line: p.key.Line}
	for _, q := range r.mapping(p.value, field) {
		sub := dotted(field, q.name)
		switch q.name {
		case "low":
			l.Low = r.bound(q.value, sub)
		case "high":
			l.High = r.bound(q.value, sub)
		case "rate":
			l.Rate = r.above(q.value, sub)
		case "jerk":
			l.Jerk = r.above(q.value, sub)
		default:
			r.unknown(q.key, sub, limitKeys, false)
		}
	}
	return l
}

// above reads a number above 0.
func (r *cardReader) above(n *yaml.Node, field string) float64 {
	before := len(r.problems)
	v := r.finite(n, field)
	if len(r.problems) == before && v <= 0 {
		r.fail(n, field, "want a number above 0, got %s", n.Value)
	}
	return v
}

func (r *cardReader) statistics(p pair, field string) FeatureStatistics {
	s := FeatureStatistics{Feature: p.name, Line: p.key.Line}
	m := r.mapping(p.value, field)
	for _, q := range m {
		sub := dotted(field, q.name)
		switch q.name {
		case "mean":
			s.Mean = flat(nil, r.values(q.value, sub))
		case "std":
			s.Std = flat(nil, r.values(q.value, sub))
		default:
			r.unknown(q.key, sub, statisticsKeys, false)
		}
	}
	for _, name := range statisticsKeys {
		if _, ok := find(m, name); !ok {
			r.fail(p.key, dotted(field, name), "this key is required and is not there")
		}
	}
	return s
}

// flat appends the numbers of nested lists; names are no lists.
func flat(dst []float64, v any) []float64 {
	switch v := v.(type) {
	case float64:
		return append(dst, v)
	case []float64:
		return append(dst, v...)
	case []any:
		for _, item := range v {
			dst = flat(dst, item)
		}
	}
	return dst
}

func (r *cardReader) fallback(n *yaml.Node, field string) *Fallback {
	f := &Fallback{Line: n.Line}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		f.Word = r.oneOf(n, field, "error", "hold", "decay", "brake")
		return f
	}
	f.Values = r.values(n, field)
	return f
}

// agreeEnvelope refuses a fallback that nothing would ever ask for.
func (r *cardReader) agreeEnvelope(c *Card) {
	if f := c.Fallback; f != nil && c.Envelope == nil && !strings.EqualFold(f.Word, "error") {
		r.fail(&yaml.Node{Line: f.Line}, "fallback", "it stands in for an action that the envelope refuses, and the card has no envelope; write envelope: {} to hold actions to their bounds")
	}
}
