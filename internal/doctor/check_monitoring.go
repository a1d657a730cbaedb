package doctor

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

// query is an expression of PromQL and where it stands.
type query struct {
	where string
	expr  string
	alert bool
}

// queries returns the expressions of rules and dashboards, and the names that
// rules record.
func (e *examination) queries() (out []query, recorded []string) {
	for _, o := range e.of("PrometheusRule") {
		for _, g := range list(at(o.m, "spec", "groups")) {
			for _, r := range list(at(g, "rules")) {
				name, kind := text(at(r, "alert")), "alert"
				if name == "" {
					name, kind = text(at(r, "record")), "record"
					recorded = append(recorded, name)
				}
				out = append(out, query{o.where("spec.groups["+text(at(g, "name"))+"]", kind+" "+name), text(at(r, "expr")), kind == "alert"})
			}
		}
	}
	for _, d := range e.dashboards() {
		walkPanels(d.panels(), func(title string, p any) {
			for _, t := range list(at(p, "targets")) {
				if expr := text(at(t, "expr")); expr != "" {
					out = append(out, query{d.where + ": panel " + strconv.Quote(title), expr, false})
				}
			}
		})
	}
	return out, recorded
}

// dashboard is one of Grafana, in a ConfigMap.
type dashboard struct {
	where string
	doc   any // nil where it is not JSON
	err   error
}

// dashboards finds the ConfigMaps that the sidecar of Grafana reads.
func (e *examination) dashboards() []dashboard {
	var out []dashboard
	for _, o := range e.of("ConfigMap") {
		if _, ok := o.labels()["grafana_dashboard"]; !ok {
			continue
		}
		for _, key := range sortedKeys(mapping(o.m["data"])) {
			if !strings.HasSuffix(key, ".json") {
				continue
			}
			d := dashboard{where: o.where("data", key)}
			d.err = json.Unmarshal([]byte(text(at(o.m, "data", key))), &d.doc)
			out = append(out, d)
		}
	}
	return out
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// panels are those of the dashboard, wrapped or not.
func (d dashboard) panels() []any {
	if inner := at(d.doc, "dashboard"); inner != nil {
		return list(at(inner, "panels"))
	}
	return list(at(d.doc, "panels"))
}

// walkPanels visits panels and those inside rows.
func walkPanels(panels []any, visit func(title string, panel any)) {
	for _, p := range panels {
		visit(text(at(p, "title")), p)
		for _, q := range list(at(p, "panels")) {
			visit(text(at(q, "title")), q)
		}
	}
}

// dashboard looks at what Grafana refuses or has removed.
func (e *examination) dashboard() {
	for _, d := range e.dashboards() {
		if d.err != nil {
			e.add(Error, d.where, "it is not JSON: "+d.err.Error(), "Export the dashboard from Grafana as JSON.")
			continue
		}
		top := d.doc
		if inner := at(d.doc, "dashboard"); inner != nil && at(d.doc, "title") == nil {
			e.add(Error, d.where, `the dashboard is wrapped in {"dashboard": ...}, as the HTTP API takes it: the sidecar's file must be the dashboard itself ("Dashboard title cannot be empty")`, `{"title": "...", "uid": "...", "schemaVersion": 39, "panels": [...]}`)
			top = inner
		}
		walkPanels(d.panels(), func(title string, p any) {
			if text(at(p, "type")) == "graph" {
				e.add(Error, d.where+": panel "+strconv.Quote(title), "its type is graph, which was removed", `"type": "timeseries"`)
			}
		})
		for _, key := range []string{"uid", "schemaVersion"} {
			if text(at(top, key)) == "" {
				e.add(Note, d.where, "it has no "+key+", so that each import may make another dashboard", `"uid": "carla-rl-serving", "schemaVersion": 39`)
			}
		}
	}
}

// family are the names that only this server exposes.
func family(name string) bool {
	return strings.HasPrefix(name, "carla_rl_") || strings.HasPrefix(name, "http_request")
}

// metricNames holds the names and labels of queries against what is exposed.
func (e *examination) metricNames() {
	queries, recorded := e.queries()
	byName := map[string]Metric{}
	var known []string
	for _, m := range e.Server.Metrics {
		byName[m.Name] = m
		known = append(known, m.Name)
	}
	for _, q := range queries {
		for _, name := range metricNames(q.expr) {
			if _, ok := byName[name]; ok || !family(name) || slices.Contains(recorded, name) {
				continue
			}
			mend := "docs/operations.md lists the metrics."
			if near := spelling.Nearest(name, known); near != "" {
				mend = near
			}
			e.add(Error, q.where, "there is no metric "+name, mend)
		}
		for _, m := range labelMatches(q.expr) {
			if metric, ok := byName[m.metric]; ok && !slices.Contains(metric.Labels, m.label) && !target(m.label) && m.value != "" {
				e.add(Error, q.where, fmt.Sprintf("%s has no label %s", m.metric, m.label), "Its labels are "+strings.Join(metric.Labels, ", ")+".")
			}
		}
	}
}

// target reports whether a label may come from the scrape and not from the
// server.
func target(label string) bool {
	return slices.Contains([]string{"job", "instance", "pod", "namespace", "service", "container", "endpoint", "node", "cluster", "le", "quantile", "app"}, label) ||
		strings.HasPrefix(label, "exported_") || strings.HasPrefix(label, "app_kubernetes_io_") || strings.HasPrefix(label, "kubernetes_") || label == "__name__"
}

// endpointLabel looks for paths that the label endpoint never has.
func (e *examination) endpointLabel() {
	queries, _ := e.queries()
	for _, q := range queries {
		for _, m := range labelMatches(q.expr) {
			if m.label != "endpoint" || m.op != "=" && m.op != "!=" || !family(m.metric) || !strings.HasPrefix(m.value, "/") || slices.Contains(e.Server.Routes, m.value) {
				continue
			}
			e.add(Error, q.where, fmt.Sprintf("no request is counted under endpoint %q", m.value), `endpoint="/v1/models/{model}/predict"   # the template of the route`)
		}
	}
}

// errorRatio looks for rates that are divided series by series.
func (e *examination) errorRatio() {
	queries, _ := e.queries()
	for _, q := range queries {
		if dividesPerSeries(q.expr) {
			e.add(Error, q.where, "it divides a rate by a rate without summing either", `sum(rate(http_requests_total{status=~"5.."}[5m])) / sum(rate(http_requests_total[5m])) > 0.05`)
		}
	}
}

// quantile looks at quantiles of single series, and between bounds.
func (e *examination) quantile() {
	queries, _ := e.queries()
	for _, q := range queries {
		if m := perSeries().FindStringSubmatch(q.expr); m != nil {
			e.add(Warning, q.where, "the quantile is taken of each series by itself", fmt.Sprintf("histogram_quantile(0.95, sum by (le) (%s(%s[5m])))", m[1], m[2]))
		}
		limit := threshold().FindStringSubmatch(q.expr)
		if limit == nil || !strings.HasPrefix(strings.TrimSpace(q.expr), "histogram_quantile") {
			continue
		}
		v, err := strconv.ParseFloat(limit[1], 64)
		if err != nil {
			continue
		}
		for _, m := range e.Server.Metrics {
			if len(m.Buckets) == 0 || !slices.Contains(metricNames(q.expr), m.Name) {
				continue
			}
			if !slices.ContainsFunc(m.Buckets, func(b float64) bool { return math.Abs(b-v) <= 1e-9*b }) {
				e.add(Note, q.where, fmt.Sprintf("%g is between two bounds of %s", v, m.Name), fmt.Sprintf("The bounds are %v.", m.Buckets))
			}
		}
	}
}

// scrapedTwice looks for pods that are scraped as two targets.
func (e *examination) scrapedTwice() {
	for _, o := range e.of("ServiceMonitor") {
		for i, ep := range list(at(o.m, "spec", "endpoints")) {
			var hit []*Object
			for _, s := range e.of("Service") {
				if e.inReach(o, s) && matches(at(o.m, "spec", "selector"), s.labels()) && servicePort(s, text(at(ep, "port"))) {
					hit = append(hit, s)
				}
			}
			for _, w := range e.workloads {
				var of []string
				for _, s := range hit {
					if s.Namespace() == w.Namespace() && matchesService(at(s.m, "spec", "selector"), w.labels) {
						of = append(of, s.Name())
					}
				}
				if len(of) > 1 {
					e.add(Error, o.where(fmt.Sprintf("spec.endpoints[%d]", i)), fmt.Sprintf("it selects %s, which send to the same pods", strings.Join(of, " and ")),
						fmt.Sprintf("selector: {matchLabels: {app: model-serving, carla-rl.io/scrape: \"true\"}}   # and the label carla-rl.io/scrape: \"true\" on %s only", of[0]))
				}
			}
		}
		if n := len(list(at(o.m, "spec", "endpoints"))); n > 1 {
			e.add(Warning, o.where("spec.endpoints"), fmt.Sprintf("it has %d endpoints, and each makes a target of every pod", n), "endpoints: [{port: metrics, path: /metrics}]")
		}
	}
	for _, c := range e.servers() {
		pod := c.w.annotations["prometheus.io/scrape"] == "true"
		for _, s := range e.selected(c.w) {
			if pod && s.annotations()["prometheus.io/scrape"] == "true" {
				e.add(Warning, s.where("metadata", "annotations", "prometheus.io/scrape"), "the pods and their Service carry the annotation: a Prometheus that follows both scrapes each pod twice", "Keep the annotation on the pods only.")
			}
		}
		if pod && len(e.of("ServiceMonitor")) > 0 {
			e.add(Note, c.w.where("template", "annotations", "prometheus.io/scrape"), "there are a ServiceMonitor and the annotation: a Prometheus that follows both scrapes each pod twice", "Use the one that your Prometheus follows.")
		}
	}
}

// inReach reports whether a monitor looks into the namespace of a Service.
func (e *examination) inReach(monitor, s *Object) bool {
	ns := at(monitor.m, "spec", "namespaceSelector")
	if at(ns, "any") == true {
		return true
	}
	if l := texts(at(ns, "matchNames")); len(l) > 0 {
		return slices.Contains(l, s.Namespace())
	}
	return monitor.Namespace() == s.Namespace()
}

// servicePort reports whether a Service has a port of the name.
func servicePort(s *Object, name string) bool {
	return slices.ContainsFunc(list(at(s.m, "spec", "ports")), func(p any) bool { return text(at(p, "name")) == name })
}
