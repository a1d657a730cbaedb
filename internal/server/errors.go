package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Errors of a Backend's Resolve.
var (
	ErrModelNotFound   = errors.New("there is no such model")
	ErrVersionNotFound = errors.New("the model has no such version")
)

// UnknownError is one of the two, or ErrNoPrevious, with a message of its own: what there is
// instead.
type UnknownError struct {
	Err     error  // ErrModelNotFound, ErrVersionNotFound or ErrNoPrevious
	Message string // for clients; names no path of the machine
}

func (e *UnknownError) Error() string { return e.Message }

// Unwrap returns what is not found.
func (e *UnknownError) Unwrap() error { return e.Err }

// NotReadyError says that a version cannot answer yet, or not at all.
type NotReadyError struct {
	Model   string
	Version string
	State   string
	Reason  string // names no path of the machine
}

func (e *NotReadyError) Error() string {
	what := e.Model
	if e.Version != "" {
		what += " " + e.Version
	}
	if what == "" {
		what = "the server"
	}
	msg := what + " is not ready"
	if e.State != "" {
		msg += " (" + e.State + ")"
	}
	if e.Reason != "" {
		msg += ": " + e.Reason
	}
	return msg
}

// fault is one kind of error answer. It is an error itself, for the cases that
// have nothing to add to its message.
type fault struct {
	status     int
	code       string // stable; clients switch on it
	message    string
	retryAfter int    // seconds, for Retry-After; 0 sends none
	reason     string // label of the rejections counter; empty counts none
}

func (f *fault) Error() string { return f.message }

// The table of error answers: every answer that is not a success is one of
// these, and docs and the API description are made from it.
var (
	faultFraming       = &fault{status: 400, code: "BAD_REQUEST", message: "the request is not well-formed HTTP/1.1", reason: "framing"}
	faultMalformed     = &fault{status: 400, code: "MALFORMED_JSON", message: "the body is not well-formed JSON"}
	faultMalformedPack = &fault{status: 400, code: "MALFORMED_MSGPACK", message: "the body is not well-formed MessagePack"}
	faultUnauthorized  = &fault{status: 401, code: "UNAUTHORIZED", message: "a valid API key is needed: send it as X-API-Key, or as Authorization with Bearer or Api-Key", reason: "unauthorized"}
	faultOrigin        = &fault{status: 403, code: "ORIGIN_NOT_ALLOWED", message: "pages of this origin may not call the server", reason: "origin"}
	faultAdminOff      = &fault{status: 403, code: "ADMIN_DISABLED", message: "the routes of admins are off until there is a key of theirs: in security.keys_file, security.admin_key_file or security.admin_key", reason: "admin"}
	faultForbidden     = &fault{status: 403, code: "FORBIDDEN", message: "the key is good for other routes than this one", reason: "scope"}
	faultNotFound      = &fault{status: 404, code: "NOT_FOUND", message: "there is no such route; /docs lists those that there are"}
	faultModel         = &fault{status: 404, code: "MODEL_NOT_FOUND", message: "there is no such model; /versions lists those that there are"}
	faultVersion       = &fault{status: 404, code: "VERSION_NOT_FOUND", message: "the model has no such version; /versions lists those that there are"}
	faultSession       = &fault{status: 404, code: "SESSION_NOT_FOUND", message: "there is no such session: it never was, was ended, or was idle for longer than its time"}
	faultMethod        = &fault{status: 405, code: "METHOD_NOT_ALLOWED", message: "the route does not take this method"}
	faultTimeout       = &fault{status: 408, code: "REQUEST_TIMEOUT", message: "the request did not arrive in time", reason: "timeout"}
	faultSessionBusy   = &fault{status: 409, code: "SESSION_BUSY", message: "another request of the session is under way: send the next one when it is answered"}
	faultSessionExists = &fault{status: 409, code: "SESSION_EXISTS", message: "there is a session of that name"}
	faultNoPrevious    = &fault{status: 409, code: "NO_PREVIOUS_VERSION", message: "there is no version to go back to"}
	faultStep          = &fault{status: 409, code: "STEP_MISMATCH", message: "the session is at another step"}
	faultExperienceOff = &fault{status: 409, code: "EXPERIENCE_OFF", message: "the server keeps no experience log: database.url (DATABASE_URL) turns it on"}
	faultLength        = &fault{status: 411, code: "LENGTH_REQUIRED", message: "bodies are taken with Content-Length only, not with Transfer-Encoding", reason: "transfer_encoding"}
	faultTooLarge      = &fault{status: 413, code: "PAYLOAD_TOO_LARGE", message: "the body is too large", reason: "body_size"}
	faultMediaType     = &fault{status: 415, code: "UNSUPPORTED_MEDIA_TYPE", message: "the body must be sent as Content-Type: application/json, and uncompressed"}
	faultUpgrade       = &fault{status: 426, code: "UPGRADE_REQUIRED", message: "the route speaks WebSocket: ask for an upgrade to it, version 13"}
	faultHandshake     = &fault{status: 400, code: "BAD_HANDSHAKE", message: "the upgrade to WebSocket is not well-formed", reason: "handshake"}
	faultStreams       = &fault{status: 503, code: "TOO_MANY_STREAMS", message: "too many streams are open", retryAfter: 1, reason: "streams"}
	faultExpectation   = &fault{status: 417, code: "EXPECTATION_FAILED", message: "the only expectation that is met is 100-continue", reason: "framing"}
	faultHost          = &fault{status: 421, code: "HOST_NOT_ALLOWED", message: "this server does not answer for the host of the request", reason: "host"}
	faultContract      = &fault{status: 422, code: "VALIDATION_ERROR", message: "the request does not fit the policy's contract"}
	faultOverloaded    = &fault{status: 429, code: "RESOURCE_EXHAUSTED", message: "too many requests wait already", retryAfter: 1, reason: "queue_full"}
	faultSessions      = &fault{status: 429, code: "TOO_MANY_SESSIONS", message: "too many sessions are open", retryAfter: 1, reason: "sessions"}
	faultRate          = &fault{status: 429, code: "RATE_LIMITED", message: "the client has sent more requests than its rate allows", retryAfter: 1, reason: "rate"}
	faultAdminBusy     = &fault{status: 429, code: "TOO_MANY_ADMIN_ACTS", message: "too many acts of admins are under way", retryAfter: 1, reason: "admin_acts"}
	faultAddress       = &fault{status: 429, code: "TOO_MANY_CONNECTIONS", message: "too many connections are open from this address", retryAfter: 1, reason: "connections_per_ip"}
	faultHeaders       = &fault{status: 431, code: "HEADERS_TOO_LARGE", message: "the header of the request is too large", reason: "header_size"}
	faultInternal      = &fault{status: 500, code: "INTERNAL_ERROR", message: "an unexpected error occurred"}
	faultInference     = &fault{status: 500, code: "INFERENCE_ERROR", message: "the policy gave no usable action"}
	faultNotReady      = &fault{status: 503, code: "SERVICE_UNAVAILABLE", message: "the server is not ready", retryAfter: 1}
	faultDraining      = &fault{status: 503, code: "SHUTTING_DOWN", message: "the server is shutting down", retryAfter: 1}
	faultConnections   = &fault{status: 503, code: "TOO_MANY_CONNECTIONS", message: "too many connections are open", retryAfter: 1, reason: "connections"}
	faultMemory        = &fault{status: 503, code: "TOO_MANY_LARGE_BODIES", message: "too many large bodies are being read", retryAfter: 1, reason: "body_memory"}
	faultScrapes       = &fault{status: 503, code: "TOO_MANY_SCRAPES", message: "too many scrapes of the metrics run already", retryAfter: 1, reason: "scrapes"}
	faultRecorder      = &fault{status: 503, code: "EXPERIENCE_UNAVAILABLE", message: "the experience log takes no steps, and the server is set to answer nothing that it does not record", retryAfter: 1, reason: "experience"}
	faultDeadline      = &fault{status: 504, code: "DEADLINE_EXCEEDED", message: "no action could be computed before the deadline", retryAfter: 1, reason: "deadline"}
	faultHTTPVersion   = &fault{status: 505, code: "HTTP_VERSION_NOT_SUPPORTED", message: "only HTTP/1.0 and HTTP/1.1 are spoken here", reason: "framing"}
	faultHeaderTooMany = &fault{status: 431, code: "HEADERS_TOO_LARGE", message: "the request has too many header fields", reason: "header_fields"}
)

// faults lists the table for documents and tests.
var faults = []*fault{
	faultFraming, faultMalformed, faultMalformedPack, faultHandshake, faultUpgrade, faultAdminOff, faultForbidden, faultNoPrevious, faultAdminBusy, faultRate, faultStreams, faultUnauthorized, faultOrigin, faultNotFound, faultModel, faultVersion,
	faultMethod, faultTimeout, faultLength, faultTooLarge, faultMediaType, faultExpectation, faultHost,
	faultExperienceOff,
	faultSession, faultSessionBusy, faultSessionExists, faultStep, faultSessions,
	faultContract, faultOverloaded, faultAddress, faultHeaders, faultHeaderTooMany, faultInternal, faultInference,
	faultNotReady, faultDraining, faultConnections, faultMemory, faultScrapes, faultRecorder, faultDeadline, faultHTTPVersion,
}

// causes says which fault an error of the packages below is.
var causes = []struct {
	err   error
	fault *fault
}{
	{ErrModelNotFound, faultModel},
	{ErrVersionNotFound, faultVersion},
	{ErrNoPrevious, faultNoPrevious},
	{serving.ErrQueueFull, faultOverloaded},
	{serving.ErrDeadline, faultDeadline},
	{serving.ErrNotRecorded, faultRecorder},
	{serving.ErrNoSession, faultSession},
	{serving.ErrSessionBusy, faultSessionBusy},
	{serving.ErrSessionExists, faultSessionExists},
	{serving.ErrTooManySessions, faultSessions},
	{context.DeadlineExceeded, faultDeadline},
	{context.Canceled, faultDraining},
	{fasthttp.ErrBodyTooLarge, faultTooLarge},
	{fasthttp.ErrSmallReadBuffer, faultHeaders},
}

// detailed is a fault with what the case at hand adds to it.
type detailed struct {
	fault   *fault
	message string
	// details is the inside of the JSON object that the answer carries beside
	// the request's id, each member followed by a comma.
	details []byte
}

func (e *detailed) Error() string { return e.message }
func (e *detailed) Unwrap() error { return e.fault }

// explain returns f with a message of its own.
func explain(f *fault, format string, args ...any) error {
	return &detailed{fault: f, message: fmt.Sprintf(format, args...)}
}

// faultOf returns the kind of an error and what may be said of it to a client.
// An error that the table does not know is an internal one, of which nothing
// is said.
func faultOf(err error) (f *fault, message string, details []byte) {
	var d *detailed
	if errors.As(err, &d) {
		return d.fault, d.message, d.details
	}
	if errors.As(err, &f) {
		return f, f.message, nil
	}
	var late *serving.DeadlineError
	if errors.As(err, &late) {
		return faultDeadline, late.Error(), nil
	}
	var unknown *UnknownError
	for _, c := range causes {
		if errors.Is(err, c.err) {
			if errors.As(err, &unknown) {
				return c.fault, unknown.Message, nil
			}
			return c.fault, c.fault.message, nil
		}
	}
	var notReady *NotReadyError
	if errors.As(err, &notReady) {
		return faultNotReady, notReady.Error(), notReadyDetails(notReady)
	}
	var action *policy.ActionError
	if errors.As(err, &action) {
		return faultInference, action.Error(), nil
	}
	var input *policy.InputError
	if errors.As(err, &input) {
		return faultContract, input.Error(), inputDetails(input)
	}
	var token *serving.TokenError
	if errors.As(err, &token) {
		return faultContract, "state: " + token.Message, violationDetails(memberFields[memberState], token.Message, kindToken)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return faultTimeout, faultTimeout.message, nil
	}
	return faultInternal, faultInternal.message, nil
}

func notReadyDetails(e *NotReadyError) []byte {
	b := appendMember(nil, "model", e.Model)
	b = appendMember(b, "version", e.Version)
	b = appendMember(b, "state", e.State)
	return appendMember(b, "reason", e.Reason)
}

// inputDetails is the violation of an observation that the policy itself
// refused.
func inputDetails(e *policy.InputError) []byte {
	field := "body.observations." + strconv.Itoa(e.Row)
	if e.Field != "" {
		field += "." + e.Field
	}
	return violationDetails(field, "expected "+e.Expected+", got "+e.Got, kindValue)
}

// violationDetails is the list of a single violation.
func violationDetails(field, message, kind string) []byte {
	b := append([]byte(`"validation_errors":[{`), appendMember(nil, "field", field)...)
	b = appendMember(b, "message", message)
	b = append(b, `"type":`...)
	return append(appendString(b, kind), "}],"...)
}

// appendMember appends a member of a JSON object and a comma, or nothing for
// an empty value.
func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = appendString(b, name)
	b = append(b, ':')
	b = appendString(b, value)
	return append(b, ',')
}

// appendError appends the envelope of an error answer.
func appendError(b []byte, f *fault, message string, details []byte, id []byte, now time.Time) []byte {
	b = append(b, `{"error":"`...)
	b = append(b, f.code...)
	b = append(b, `","message":`...)
	b = appendString(b, message)
	b = append(b, `,"details":{`...)
	b = append(b, details...)
	b = append(b, `"request_id":"`...)
	b = append(b, id...)
	b = append(b, `"},"timestamp":`...)
	b = appendTimestamp(b, now)
	return append(b, '}')
}

// appendTimestamp appends seconds since 1970 with microseconds.
func appendTimestamp(b []byte, t time.Time) []byte {
	us := t.UnixMicro()
	b = strconv.AppendInt(b, us/1e6, 10)
	b = append(b, '.')
	return appendPadded(b, us%1e6, 6)
}
