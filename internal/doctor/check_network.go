package doctor

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// allowedHosts holds ALLOWED_HOSTS against the names by which the server is
// called.
func (e *examination) allowedHosts() {
	for _, c := range e.servers() {
		v, given := e.setting(c, "security.allowed_hosts")
		if !given || strings.TrimSpace(v) == "" {
			continue
		}
		var hosts []string
		for h := range strings.SplitSeq(v, ",") {
			hosts = append(hosts, strings.ToLower(strings.TrimSpace(h)))
		}
		var missing []string
		for _, s := range e.selected(c.w) {
			if text(at(s.m, "spec", "clusterIP")) == "None" {
				continue
			}
			ns := orDefault(s.Namespace())
			for _, name := range []string{s.Name(), s.Name() + "." + ns, s.Name() + "." + ns + ".svc", s.Name() + "." + ns + ".svc.cluster.local"} {
				if !hostAllowed(hosts, name) {
					missing = append(missing, name)
				}
			}
		}
		if len(missing) > 0 {
			e.add(Warning, c.where("env", "ALLOWED_HOSTS"), "it has no name of the Service, so that calls from inside the cluster are refused",
				fmt.Sprintf("- {name: ALLOWED_HOSTS, value: %q}", strings.Join(append(hosts, missing...), ",")))
		}
		for _, h := range e.publicHosts(c.w) {
			if !hostAllowed(hosts, h) {
				e.add(Error, c.where("env", "ALLOWED_HOSTS"), h+", under which the outside calls, is not in it",
					fmt.Sprintf("- {name: ALLOWED_HOSTS, value: %q}", strings.Join(append(hosts, h), ",")))
			}
		}
		if !hostAllowed(hosts, "localhost") {
			e.add(Note, c.where("env", "ALLOWED_HOSTS"), "localhost is not in it, so that a request through kubectl port-forward must name a host that is",
				fmt.Sprintf("curl -H 'Host: %s' http://localhost:8080/predict ...", strings.TrimPrefix(hosts[0], "*.")))
		}
	}
}

// hostAllowed reports whether a list such as a.com, *.b.com, * admits a name.
func hostAllowed(hosts []string, name string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool {
		suffix, wild := strings.CutPrefix(h, "*")
		return h == name || wild && (suffix == "" || strings.HasSuffix(name, suffix))
	})
}

// publicHosts are the names of Ingresses and routes that send to a pod.
func (e *examination) publicHosts(w *workload) []string {
	services := map[string]bool{}
	for _, s := range e.selected(w) {
		services[s.Name()] = true
	}
	var out []string
	for _, o := range e.of("Ingress") {
		for _, r := range list(at(o.m, "spec", "rules")) {
			for _, p := range list(at(r, "http", "paths")) {
				if h := text(at(r, "host")); h != "" && o.Namespace() == w.Namespace() && services[text(at(p, "backend", "service", "name"))] {
					out = append(out, strings.TrimPrefix(h, "*."))
				}
			}
		}
	}
	for _, o := range e.of("HTTPRoute") {
		for _, r := range list(at(o.m, "spec", "rules")) {
			for _, b := range list(at(r, "backendRefs")) {
				if services[text(at(b, "name"))] && o.Namespace() == w.Namespace() {
					out = append(out, texts(at(o.m, "spec", "hostnames"))...)
				}
			}
		}
	}
	return unique(out)
}

const nginx = "nginx.ingress.kubernetes.io/"

// rewriteTarget looks for paths that are thrown away.
func (e *examination) rewriteTarget() {
	for _, o := range e.of("Ingress") {
		to, ok := o.annotations()[nginx+"rewrite-target"]
		if !ok || strings.Contains(to, "$") {
			continue
		}
		e.add(Error, o.where("metadata", "annotations", nginx+"rewrite-target"), fmt.Sprintf("every path becomes %s", to), "Leave the annotation out: the server answers under the paths that clients ask for.")
	}
}

// ingressNginx looks for objects that only a retired controller understands.
func (e *examination) ingressNginx() {
	for _, o := range e.of("Ingress") {
		class := text(at(o.m, "spec", "ingressClassName"))
		owned := class == "nginx"
		for k := range o.annotations() {
			owned = owned || strings.HasPrefix(k, nginx)
		}
		if !owned {
			continue
		}
		severity := Warning
		if len(e.of("HTTPRoute")) > 0 {
			severity = Note // The successor is there.
		}
		host := text(at(first(list(at(o.m, "spec", "rules"))), "host"))
		backend := at(first(list(at(first(list(at(o.m, "spec", "rules"))), "http", "paths"))), "backend", "service")
		e.add(severity, o.where(), "it is made for ingress-nginx", fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: %s}
spec:
  parentRefs: [{name: your-gateway}]
  hostnames: [%s]
  rules: [{backendRefs: [{name: %s, port: %s}]}]`, strings.TrimSuffix(o.Name(), "-ingress"), orDefault(o.Namespace()), host, text(at(backend, "name")), text(at(backend, "port", "number"))))
	}
}

func first(l []any) any {
	if len(l) == 0 {
		return nil
	}
	return l[0]
}

// networkPolicy looks at what policies keep from and of a server.
func (e *examination) networkPolicy() {
	for _, c := range e.servers() {
		var in, out []*Object
		for _, o := range e.of("NetworkPolicy") {
			if o.Namespace() != c.w.Namespace() || !matches(at(o.m, "spec", "podSelector"), c.w.labels) {
				continue
			}
			types := texts(at(o.m, "spec", "policyTypes"))
			if len(types) == 0 || slices.Contains(types, "Ingress") {
				in = append(in, o)
			}
			if slices.Contains(types, "Egress") || len(types) == 0 && at(o.m, "spec", "egress") != nil {
				out = append(out, o)
			}
		}
		e.policyIngress(c, in)
		e.policyEgress(c, out)
	}
}

const admitPrometheus = `ingress:
- from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  ports: [{protocol: TCP, port: 8080}]`

func (e *examination) policyIngress(c *container, policies []*Object) {
	if len(policies) == 0 {
		return
	}
	_, metrics := e.ports(c)
	scraped := c.w.annotations["prometheus.io/scrape"] == "true" || len(e.of("ServiceMonitor", "PodMonitor")) > 0
	admitted := false
	for _, o := range policies {
		for i, r := range list(at(o.m, "spec", "ingress")) {
			peers := list(at(r, "from"))
			open := len(peers) == 0
			e.handMadeLabel(o, i, peers)
			for _, p := range peers {
				s := fmt.Sprint(at(p, "namespaceSelector"), at(p, "podSelector"))
				anywhere := at(p, "namespaceSelector") != nil && len(mapping(at(p, "namespaceSelector"))) == 0
				open = open || anywhere || at(p, "ipBlock") != nil || strings.Contains(s, "monitoring") || strings.Contains(s, "prometheus") || strings.Contains(s, "observability")
			}
			admitted = admitted || open && opens(r, c, metrics)
		}
	}
	if scraped && metrics != 0 && !admitted {
		e.add(Error, policies[0].where("spec.ingress"), "no rule admits Prometheus, which is to scrape the pods", admitPrometheus)
	}
}

// handMadeLabel looks for a namespace that is selected only by a label which
// somebody must have set.
func (e *examination) handMadeLabel(o *Object, i int, peers []any) {
	const own = "kubernetes.io/metadata.name"
	for _, p := range peers {
		labels := words(at(p, "namespaceSelector", "matchLabels"))
		name, ok := labels["name"]
		known := slices.ContainsFunc(peers, func(p any) bool {
			return words(at(p, "namespaceSelector", "matchLabels"))[own] == name
		}) || slices.ContainsFunc(e.of("Namespace"), func(ns *Object) bool {
			return ns.Name() == name && ns.labels()["name"] == name
		})
		if !ok || labels[own] != "" || known {
			continue
		}
		e.add(Warning, o.where(fmt.Sprintf("spec.ingress[%d].from", i)), fmt.Sprintf("it selects the namespace by the label name: %s, which is there only where someone has set it", name),
			fmt.Sprintf("namespaceSelector: {matchLabels: {%s: %s}}   # which every namespace has", own, name))
	}
}

// opens reports whether a rule of a policy is for a port.
func opens(rule any, c *container, port int) bool {
	ports := list(at(rule, "ports"))
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		if at(p, "port") == nil {
			return true
		}
		n, ok := c.portOf(at(p, "port"))
		if ok && (n == port || n <= port && port <= number(at(p, "endPort"), n)) {
			return true
		}
	}
	return false
}

func (e *examination) policyEgress(c *container, policies []*Object) {
	if len(policies) == 0 {
		return
	}
	admits := func(port int) bool {
		for _, o := range policies {
			for _, r := range list(at(o.m, "spec", "egress")) {
				if opens(r, c, port) {
					return true
				}
			}
		}
		return false
	}
	where := policies[0].where("spec.egress")
	rule := func(port int) string {
		return fmt.Sprintf("egress:\n- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]\n  ports: [{protocol: TCP, port: %d}]", port)
	}
	if v, _ := e.setting(c, "monitoring.enable_tracing"); slices.Contains([]string{"true", "1", "yes", "on"}, strings.ToLower(v)) || c.has("OTEL_EXPORTER_OTLP_ENDPOINT") {
		severity := Warning
		if !c.has("OTEL_EXPORTER_OTLP_ENDPOINT") && !c.has("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
			severity = Note // Without an endpoint the server warns once and sends none.
		}
		if port := otlpPort(c); !admits(port) {
			e.add(severity, where, fmt.Sprintf("traces are on, and no rule lets them out to port %d", port), rule(port))
		}
	}
	if port, uses := databasePort(c); uses && !admits(port) {
		e.add(Note, where, fmt.Sprintf("DATABASE_URL is set, and no rule lets the server out to port %d: experience is kept on the pod's disk as far as it goes, and then lost", port), rule(port))
	}
	if !admits(53) {
		e.add(Warning, where, "no rule lets the server ask for names", "egress:\n- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]")
	}
}

// otlpPort is where spans go to.
func otlpPort(c *container) int {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if u, err := url.Parse(c.env[name]); err == nil && c.env[name] != "" {
			if n, err := strconv.Atoi(u.Port()); err == nil {
				return n
			}
			return map[string]int{"https": 443, "http": 80}[u.Scheme]
		}
	}
	return 4318
}

// databasePort is the port of DATABASE_URL, that of PostgreSQL where it is not
// known.
func databasePort(c *container) (int, bool) {
	if v := c.env["DATABASE_URL"]; v != "" {
		u, err := url.Parse(v)
		if err != nil || strings.HasPrefix(u.Scheme, "sqlite") || u.Host == "" {
			return 0, false
		}
		if _, port, err := net.SplitHostPort(u.Host); err == nil {
			if n, err := strconv.Atoi(port); err == nil {
				return n, true
			}
		}
		return 5432, true
	}
	return 5432, c.has("DATABASE_URL")
}
