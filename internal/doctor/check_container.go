package doctor

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// probes looks at which routes decide about traffic and restarts.
func (e *examination) probes() {
	const (
		ready = "readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2}"
		live  = "livenessProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 10}"
		start = "startupProbe: {httpGet: {path: /startupz, port: http}, periodSeconds: 1, failureThreshold: 120}"
	)
	for _, c := range e.servers() {
		path, known := e.probe(c, "readinessProbe", ready)
		switch {
		case at(c.m, "readinessProbe") == nil:
			e.add(Error, c.where("readinessProbe"), "there is no readiness probe: a pod without a policy gets traffic", ready)
		case known && path != "/readyz":
			e.add(Error, c.where("readinessProbe"), path+" answers 200 also without a policy: the pod gets traffic that /predict answers with 503", ready)
		}
		path, known = e.probe(c, "livenessProbe", live)
		if known && path == "/readyz" {
			e.add(Error, c.where("livenessProbe"), "/readyz fails while a policy is missing or the server drains: the pod is killed for it, again and again", live)
		}
		path, known = e.probe(c, "startupProbe", start)
		if known && path == "/readyz" {
			e.add(Warning, c.where("startupProbe"), "/readyz never passes while a file is missing: the pod is restarted in place of saying what is missing", start)
		}
	}
}

// probe returns the route that a probe asks, where it is one of the server's.
func (e *examination) probe(c *container, name, mend string) (path string, known bool) {
	p := at(c.m, name)
	if p == nil || at(p, "httpGet") == nil {
		if at(p, "tcpSocket") != nil && name == "readinessProbe" {
			e.add(Error, c.where(name), "an open port does not mean that a policy is ready", mend)
		}
		return "", false
	}
	path, _, _ = strings.Cut(text(at(p, "httpGet", "path")), "?")
	if path == "" {
		path = "/"
	}
	if !slices.Contains(e.Server.Routes, path) {
		e.add(Error, c.where(name), path+" is no route of the server and answers 404", mend)
		return path, false
	}
	return path, true
}

// noShell looks for commands that need what the image does not have.
func (e *examination) noShell() {
	for _, c := range e.servers() {
		for _, at2 := range [][]string{{"lifecycle", "preStop"}, {"lifecycle", "postStart"}, {"readinessProbe"}, {"livenessProbe"}, {"startupProbe"}} {
			command := texts(at(c.m, append(slices.Clone(at2), "exec", "command")...))
			if len(command) == 0 || strings.HasSuffix(command[0], "carla-rl") {
				continue
			}
			mend := "httpGet: {path: /livez, port: http}"
			if at2[0] == "lifecycle" {
				mend = "- {name: CARLA_RL_DRAIN_DELAY, value: 5s}   # in place of a preStop that sleeps"
			}
			e.add(Error, c.where(at2...), fmt.Sprintf("it runs %s, which the image does not have", command[0]), mend)
		}
		if command := texts(c.m["command"]); len(command) > 0 && slices.Contains([]string{"sh", "bash", "/bin/sh", "/bin/bash", "uvicorn", "gunicorn", "python", "python3"}, command[0]) {
			e.add(Error, c.where("command"), fmt.Sprintf("it runs %s, which the image does not have", command[0]), `args: ["serve"]   # and no command`)
		}
	}
}

// warmUp looks for requests of /warmup, which the Python server needed.
func (e *examination) warmUp() {
	for _, w := range e.workloads {
		for _, c := range w.containers(e.Objects) {
			for place, v := range map[string]any{"command": c.m["command"], "args": c.m["args"], "lifecycle": c.m["lifecycle"]} {
				if strings.Contains(fmt.Sprint(v), "/warmup") {
					e.add(Note, c.where(place), "it asks for /warmup", "Leave it out.")
				}
			}
		}
	}
}

// portsAgree holds the ports of probes, Services and annotations against those
// that the server listens on.
func (e *examination) portsAgree() {
	for _, c := range e.servers() {
		server, metrics := e.ports(c)
		for _, name := range []string{"readinessProbe", "livenessProbe", "startupProbe"} {
			get := at(c.m, name, "httpGet")
			if get == nil {
				continue
			}
			if port, ok := c.portOf(at(get, "port")); !ok || port != server {
				e.add(Error, c.where(name), fmt.Sprintf("it asks port %s, and the server listens on %d", text(at(get, "port")), server), fmt.Sprintf("port: %d", server))
			}
		}
		if c.w.annotations["prometheus.io/scrape"] == "true" {
			e.scrapePort(c.w.where("template", "annotations", "prometheus.io/port"), c.w.annotations["prometheus.io/port"], metrics)
		}
		for _, s := range e.selected(c.w) {
			e.servicePorts(c, s, server, metrics)
		}
	}
}

func (e *examination) scrapePort(where, port string, metrics int) {
	if n, _ := strconv.Atoi(port); n != metrics {
		e.add(Error, where, fmt.Sprintf("it names port %s, and /metrics is on %d", orNone(port), metrics), fmt.Sprintf("prometheus.io/port: %q", strconv.Itoa(metrics)))
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (e *examination) servicePorts(c *container, s *Object, server, metrics int) {
	if s.annotations()["prometheus.io/scrape"] == "true" {
		e.scrapePort(s.where("metadata", "annotations", "prometheus.io/port"), s.annotations()["prometheus.io/port"], metrics)
	}
	for i, p := range list(at(s.m, "spec", "ports")) {
		target := at(p, "targetPort")
		if target == nil {
			target = at(p, "port")
		}
		want, what := server, "the server listens on"
		if strings.Contains(text(at(p, "name")), "metrics") {
			want, what = metrics, "/metrics is on"
		}
		if port, ok := c.portOf(target); !ok || port != want {
			e.add(Error, s.where(fmt.Sprintf("spec.ports[%d].targetPort", i)), fmt.Sprintf("it is %s, and %s %d of container %s", text(target), what, want, c.name), fmt.Sprintf("targetPort: %d", want))
		}
	}
}

// workers holds the lanes against the CPU limit.
func (e *examination) workers() {
	for _, c := range e.servers() {
		limit, limited := c.resource("limits", "cpu")
		v, given := e.setting(c, "server.workers")
		if n, err := strconv.Atoi(v); err == nil && given && limited && float64(n) > math.Ceil(limit) {
			e.add(Warning, c.where("env", "WORKERS"), fmt.Sprintf("WORKERS is %d and the CPU limit %s", n, amount("cpu", limit)), "Leave WORKERS out: it is then the CPU limit, rounded up.")
		}
		for _, name := range []string{"WEB_CONCURRENCY", "UVICORN_WORKERS", "GUNICORN_CMD_ARGS"} {
			if c.has(name) {
				e.add(Note, c.where("env", name), name+" is of the Python server and is not read", "- {name: WORKERS, value: \"2\"}")
			}
		}
	}
}

// imageTag looks for tags that move.
func (e *examination) imageTag() {
	for _, c := range e.servers() {
		_, tag := imageParts(c.image)
		if tag != "" && tag != "latest" {
			continue
		}
		what := "the image is " + c.image + ", whose content changes"
		if text(c.m["imagePullPolicy"]) == "Always" {
			what += ", and it is pulled at each start: the registry must be reached for that"
		}
		e.add(Note, c.where("image"), what, "image: your-registry/carla-rl-serving:v1.2.3   # or @sha256:...")
	}
}

// registries are those that are frozen, with what took their place.
var registries = map[string]string{"k8s.gcr.io/": "registry.k8s.io/", "gcr.io/google_containers/": "registry.k8s.io/"}

// frozenRegistry looks for images of registries that are not kept up.
func (e *examination) frozenRegistry() {
	for _, w := range e.workloads {
		for _, c := range w.containers(e.Objects) {
			for old, now := range registries {
				if rest, ok := strings.CutPrefix(c.image, old); ok {
					e.add(Error, c.where("image"), c.image+" comes from a frozen registry", "image: "+now+rest)
				}
			}
		}
	}
}
