package server

import (
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// AppendInterventions appends what an envelope changed of an answer as a JSON
// array:
//
//	[{"row":0,"action":"steer","kind":"bound","from":1.3,"to":1.0},
//	 {"row":1,"action":"steer","kind":"out_of_distribution","fallback":"brake","feature":"speed","score":12.5,"from":0.3,"to":0.0}]
//
// A number that JSON cannot say is null.
func AppendInterventions(b []byte, c *policy.Contract, list []envelope.Intervention) []byte {
	b = append(b, '[')
	for i := range list {
		v := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"row":`...)
		b = strconv.AppendInt(b, int64(v.Row), 10)
		b = append(b, `,"action":`...)
		b = appendString(b, c.ActionName(v.Value))
		b = append(b, `,"kind":`...)
		b = appendString(b, string(v.Kind))
		if v.Fallback != envelope.FallbackError {
			b = append(b, `,"fallback":`...)
			b = appendString(b, v.Fallback.String())
		}
		if v.Kind == envelope.Unlike {
			if v.Feature != envelope.NoFeature {
				b = append(b, `,"feature":`...)
				b = appendString(b, c.FeatureName(v.Feature))
			}
			b = append(b, `,"score":`...)
			b = appendNumber(b, float32(min(v.Score, maxScore)))
		}
		b = append(b, `,"from":`...)
		b = appendNumber(b, v.From)
		b = append(b, `,"to":`...)
		b = appendNumber(b, v.To)
		b = append(b, '}')
	}
	return append(b, ']')
}

// AppendUnheld appends as a JSON array the limits that an answer was not held to,
// because its request is of no stream, which has an action before:
//
//	["rate","jerk"]
func AppendUnheld(b []byte, moving []string) []byte {
	b = append(b, '[')
	for i, kind := range moving {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, kind)
	}
	return append(b, ']')
}

// appendNumber appends v, or null where JSON cannot say it.
func appendNumber(b []byte, v float32) []byte {
	if v-v != 0 {
		return append(b, "null"...)
	}
	return appendFloat32(b, v)
}

// maxScore is the largest score that is told: how far beyond does not matter.
const maxScore = 1e30

// logPeriod is the least time between two log lines of one version's
// interventions. A policy that has lost its way has one in every step.
const logPeriod = 10 * time.Second

// interventionLog is what the last line of one version left unsaid.
type interventionLog struct {
	next   atomic.Int64 // nanoseconds since the server began, before which nothing is written
	unsaid atomic.Int64
}

// observeInterventions counts what the envelope changed, and writes a line of
// the first of it at most every logPeriod.
func (a *act) observeInterventions(o *versionObserver, id []byte) {
	list := a.req.Interventions
	for i := range list {
		o.interventions(list[i].Value, string(list[i].Kind))
	}
	now := time.Since(processStart).Nanoseconds()
	next := o.log.next.Load()
	if now < next || !o.log.next.CompareAndSwap(next, now+logPeriod.Nanoseconds()) {
		o.log.unsaid.Add(int64(len(list)))
		return
	}
	t, v := &a.target, &list[0]
	attrs := []any{
		slog.String("event_type", "intervention"), slog.String("model", t.Model), slog.String("version", t.Version),
		slog.String("action", t.Contract.ActionName(v.Value)), slog.String("kind", string(v.Kind)),
		number("from", float64(v.From)), number("to", float64(v.To)),
		slog.Int("in_answer", len(list)), slog.Int64("before", o.log.unsaid.Swap(0)), slog.String("request_id", string(id)),
	}
	if v.Fallback != envelope.FallbackError {
		attrs = append(attrs, slog.String("fallback", v.Fallback.String()))
	}
	if v.Kind == envelope.Unlike && v.Feature != envelope.NoFeature {
		attrs = append(attrs, slog.String("feature", t.Contract.FeatureName(v.Feature)), number("score", v.Score))
	}
	a.s.log.Warn("The envelope changed an action.", attrs...)
}

// number is an attribute that JSON can say also where v is not finite.
func number(key string, v float64) slog.Attr {
	if v-v != 0 {
		return slog.String(key, strconv.FormatFloat(v, 'g', -1, 64))
	}
	return slog.Float64(key, v)
}

var processStart = time.Now()
