package server

import "time"

// healthz answers in the ancestor's form, always with 200: it says that the
// process answers, and only its body says how well. What sends traffic asks
// /readyz.
func (x *exchange) healthz() error {
	status := "ok"
	if !x.s.ready() {
		status = "degraded"
	}
	b := append(x.out[:0], `{"status":"`...)
	b = append(b, status...)
	b = append(b, `","version":`...)
	b = appendString(b, x.s.backend.Current())
	b = append(b, `,"git":`...)
	b = appendString(b, x.s.o.Commit)
	b = append(b, `,"device":`...)
	b = appendString(b, x.s.o.Device)
	b = append(b, `,"timestamp":`...)
	b = appendTimestamp(b, time.Now())
	x.out = append(b, '}')
	x.json(200, x.out)
	return nil
}

// livez says that requests are read and answered, and nothing else: a process
// is not restarted because of its models.
func (x *exchange) livez() error {
	x.json(200, []byte(`{"status":"ok"}`))
	return nil
}

// readyz says whether requests should be sent here.
func (x *exchange) readyz() error {
	if x.s.Draining() {
		return faultDraining
	}
	if err := x.s.backend.Readiness(); err != nil {
		return err
	}
	x.json(200, []byte(`{"status":"ready"}`))
	return nil
}

// ready is readyz for those who need no reason.
func (s *Server) ready() bool { return !s.Draining() && s.backend.Readiness() == nil }

// startupz says whether the first attempt to load the models has ended, well
// or badly.
func (x *exchange) startupz() error {
	if !x.s.backend.Started() {
		return explain(faultNotReady, "the models are still being loaded")
	}
	x.json(200, []byte(`{"status":"started"}`))
	return nil
}
