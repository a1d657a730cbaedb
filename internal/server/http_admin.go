package server

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// The routes that change what is served. They are off until a key of their own
// is configured, and each act leaves a record in the log: who, from where, what
// and what came of it.

// Admin is what a Backend offers besides where its versions can be changed. A
// model of "" is all models of a reload, and the default one of a rollback.
type Admin interface {
	// Reload looks for changes now and returns when they were tried.
	Reload(ctx context.Context, model string) (Reloaded, error)
	// Rollback lets the version answer that answered before. It returns
	// ErrNoPrevious, wrapped or not, where there is none.
	Rollback(model string) (ModelChange, error)
}

// ErrNoPrevious says that there is no version to go back to.
var ErrNoPrevious = errors.New("there is no previous version")

// Reloaded is what came of a reload.
type Reloaded struct {
	Result string        `json:"result"` // "unchanged", "changed" or "failed"
	Error  string        `json:"error,omitempty"`
	TookMS float64       `json:"took_ms"`
	Models []ModelChange `json:"models"`
}

// ModelChange is what came of an act for one model.
type ModelChange struct {
	Model    string          `json:"model"`
	Result   string          `json:"result"`
	Version  string          `json:"version,omitempty"` // that answers now
	Digest   string          `json:"digest,omitempty"`
	Before   string          `json:"before,omitempty"` // that answered before, where it was another
	BeforeID string          `json:"before_digest,omitempty"`
	Loaded   []string        `json:"loaded,omitempty"`
	Refused  []RefusedChange `json:"refused,omitempty"`
}

// RefusedChange is a version that was tried and is not served.
type RefusedChange struct {
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

type adminActs struct{ running atomic.Int32 }

// reload looks for changed versions now.
func (x *exchange) reload() error {
	return x.administer("reload", func(a Admin, model string) (any, string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), x.s.limits.ReloadTimeout)
		defer cancel()
		r, err := a.Reload(ctx, model)
		return &r, r.Result, err
	})
}

// rollback goes back to the version before.
func (x *exchange) rollback() error {
	return x.administer("rollback", func(a Admin, model string) (any, string, error) {
		c, err := a.Rollback(model)
		return &c, c.Result, err
	})
}

// administer runs an act and leaves a record of it, whatever becomes of it.
func (x *exchange) administer(what string, do func(a Admin, model string) (answer any, result string, err error)) (err error) {
	start := time.Now()
	var model, result string
	defer func() {
		code := ""
		if err != nil {
			f, _, _ := faultOf(err)
			result, code = "refused", f.code
		}
		x.audit(what, model, result, code, time.Since(start))
	}()
	admin, ok := x.s.backend.(Admin)
	if !ok {
		return faultAdminOff
	}
	if model, err = x.readModel(); err != nil {
		return err
	}
	if x.s.admin.running.Add(1) > int32(x.s.limits.MaxAdminActs) {
		x.s.admin.running.Add(-1)
		return faultAdminBusy
	}
	defer x.s.admin.running.Add(-1)
	var answer any
	if answer, result, err = do(admin, model); err != nil {
		return err
	}
	return x.answer(answer)
}

// LevelAudit is that of records of what admins did: above every level that a log may
// be cut at, so that they are always written.
const LevelAudit = slog.LevelError + 8

// audit leaves the record of an act, in one line.
func (x *exchange) audit(what, model, result, code string, took time.Duration) {
	x.s.metrics.AdminAct(what, result)
	who := "none"
	if x.key != nil {
		who = x.key.Name
	}
	attrs := []slog.Attr{
		slog.String("event_type", "audit"), slog.String("act", what), slog.String("key", who), slog.String("from", x.ctx.RemoteAddr().String()),
		slog.String("model", model), slog.String("result", result), slog.Duration("duration", took), slog.String("request_id", string(x.id)),
	}
	if code != "" {
		attrs = append(attrs, slog.String("error", code))
	}
	x.s.log.LogAttrs(context.Background(), LevelAudit, "admin", attrs...)
}

// ofAdmins reports whether the request came to the listener of admins.
func (x *exchange) ofAdmins() bool {
	if x.ctx == nil {
		return false // nothing hot is answered there
	}
	c, ok := x.ctx.Conn().(*gatedConn)
	return ok && c.admin
}

// apart reports whether the listener of admins has the route: what they do,
// what they look at before and after it, and what probes and scrapers ask.
func (e *endpoint) apart() bool { return e.admin || e.open || e.template == "/versions" }

var adminNames = []string{"model"}

// readModel reads the body {"model": NAME}, which may be left out.
func (x *exchange) readModel() (model string, err error) {
	err = x.readMembers(adminNames, func(d *inferDecoder, _ int) bool { return d.nameAt("body.model", &model) })
	return model, err
}
