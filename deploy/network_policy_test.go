package deploy_test

import (
	"net/netip"
	"testing"
)

// peer is the other end of a connection: the labels of its namespace, or an
// address outside the cluster.
type peer struct {
	namespace map[string]string
	addr      string
}

// admits reports whether a rule of a NetworkPolicy lets the peer through, whose
// end the rule lists under side ("from" or "to"). A rule without peers or
// without ports admits all of them.
func admits(rule object, side string, p peer, protocol string, port int) bool {
	if ports := rule.list("ports"); len(ports) > 0 {
		found := false
		for _, r := range ports {
			proto := r.text("protocol")
			if proto == "" {
				proto = "TCP"
			}
			n, numbered := r["port"].(int)
			found = found || proto == protocol && (!numbered || n == port)
		}
		if !found {
			return false
		}
	}
	peers := rule.list(side)
	if len(peers) == 0 {
		return true
	}
	for _, r := range peers {
		if cidr := r.text("ipBlock", "cidr"); cidr != "" {
			addr, err := netip.ParseAddr(p.addr)
			if err == nil && netip.MustParsePrefix(cidr).Contains(addr) {
				return true
			}
			continue
		}
		selector := r.child("namespaceSelector")
		if selector == nil || p.namespace == nil {
			continue
		}
		match := true
		for key, want := range selector.child("matchLabels") {
			match = match && p.namespace[key] == want
		}
		if match {
			return true
		}
	}
	return false
}

// TestFlows says of every flow that matters whether network-policy.yaml lets it
// pass.
func TestFlows(t *testing.T) {
	policy := one(t, "network-policy.yaml", "NetworkPolicy", "model-serving-netpol")
	named := func(name string) peer {
		return peer{namespace: map[string]string{"kubernetes.io/metadata.name": name}}
	}
	labelled := func(key, value string) peer {
		return peer{namespace: map[string]string{"kubernetes.io/metadata.name": "some", key: value}}
	}
	internet := peer{addr: "203.0.113.9"}
	for _, c := range []struct {
		name, direction string
		peer            peer
		protocol        string
		port            int
		pass            bool
	}{
		{"ingress controller, by the guide's label", "ingress", labelled("name", "ingress-nginx"), "TCP", 8080, true},
		{"ingress controller, by the name of its namespace", "ingress", named("ingress-nginx"), "TCP", 8080, true},
		{"a gateway's namespace that was labelled", "ingress", labelled("carla-rl.io/ingress", "true"), "TCP", 8080, true},
		{"Prometheus, by the name of its namespace", "ingress", named("monitoring"), "TCP", 8080, true},
		{"Prometheus in a namespace that was labelled", "ingress", labelled("carla-rl.io/monitoring", "true"), "TCP", 8080, true},

		{"another namespace", "ingress", named("default"), "TCP", 8080, false},
		{"a label with another value", "ingress", labelled("carla-rl.io/ingress", "false"), "TCP", 8080, false},
		{"its own namespace", "ingress", peer{namespace: map[string]string{"kubernetes.io/metadata.name": "carla-rl-serving", "name": "carla-rl-serving"}}, "TCP", 8080, false},
		{"the internet", "ingress", internet, "TCP", 8080, false},
		{"ingress controller to another port", "ingress", named("ingress-nginx"), "TCP", 9090, false},
		{"ingress controller by UDP", "ingress", named("ingress-nginx"), "UDP", 8080, false},

		{"DNS of the cluster", "egress", named("kube-system"), "UDP", 53, true},
		{"DNS of the cluster by TCP", "egress", named("kube-system"), "TCP", 53, true},
		{"DNS cache of the node", "egress", peer{addr: "169.254.20.10"}, "UDP", 53, true},

		{"DNS of the internet", "egress", internet, "UDP", 53, false},
		{"kube-system on another port", "egress", named("kube-system"), "TCP", 443, false},
		{"the metadata service of a cloud", "egress", peer{addr: "169.254.169.254"}, "TCP", 80, false},
		{"a collector of spans", "egress", named("observability"), "TCP", 4318, false},
		{"a database", "egress", peer{addr: "10.0.0.5"}, "TCP", 5432, false},
		{"the internet by HTTPS", "egress", internet, "TCP", 443, false},
		{"its own namespace, out", "egress", named("carla-rl-serving"), "TCP", 8080, false},
	} {
		side := map[string]string{"ingress": "from", "egress": "to"}[c.direction]
		pass := false
		for _, rule := range policy.list("spec", c.direction) {
			pass = pass || admits(rule, side, c.peer, c.protocol, c.port)
		}
		if pass != c.pass {
			t.Errorf("%s (%s %s %d): passes is %v, want %v", c.name, c.direction, c.protocol, c.port, pass, c.pass)
		}
	}

	// A direction that policyTypes does not list is open, and a policy that
	// selects no pod holds nobody off.
	if types := policy.strings("spec", "policyTypes"); len(types) != 2 || types[0] != "Ingress" || types[1] != "Egress" {
		t.Errorf("policyTypes are %v", types)
	}
	pods := one(t, "production-deployment.yaml", "Deployment", "model-serving").child("spec", "template", "metadata", "labels")
	if !selects(policy.child("spec", "podSelector", "matchLabels"), pods) {
		t.Errorf("the policy does not select the pods: %v", pods)
	}
}

// selects reports whether every label that is asked for is there; no label at
// all is no selector.
func selects(want, labels object) bool {
	for key, value := range want {
		if labels[key] != value {
			return false
		}
	}
	return len(want) > 0
}
