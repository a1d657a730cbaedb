package serving

import (
	"errors"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// ErrNotRecorded says that a step could not be recorded, and that nothing is to
// leave then.
var ErrNotRecorded = errors.New("the experience log takes no steps")

// Recorder keeps what a policy saw and did. It must not keep the request, which
// is reused.
type Recorder interface {
	// Ready tells why no request is to be started; nil says that they are. It
	// must be fast.
	Ready() error
	// Record is given each request that was answered and has an Origin, before
	// its answer leaves. With an error the answer does not. It blocks only where
	// an answer is to leave after it is durable.
	Record(p *policy.Policy, req *Request) error
}

// Origin is what a recorder is told of a request beside what the policy was. It
// is the caller's, who may use it again.
type Origin struct {
	RequestID []byte
	Arrived   time.Time // with the monotonic clock

	Model, Version, Digest string

	Session       string
	Episode, Step uint64 // Step is that of the session
	// First says that the state of every row begins with this request, and
	// Began lists single rows whose state does.
	First bool
	Began []int
}

// Reset makes the origin one of a request of no session.
func (o *Origin) Reset(id []byte, arrived time.Time) {
	o.RequestID, o.Arrived = id, arrived
	o.Session, o.Episode, o.Step, o.First, o.Began = "", 0, 0, false, o.Began[:0]
}

// record hands an answered request to the recorder. An answer that is late is
// none.
func (s *Service) record(p *policy.Policy, req *Request) error {
	if s.recorder == nil || req.Origin == nil {
		return nil
	}
	if !req.Deadline.IsZero() && time.Now().After(req.Deadline) {
		return nil // Whoever asked refuses it.
	}
	return s.recorder.Record(p, req)
}
