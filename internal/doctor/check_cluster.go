package doctor

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// removed are versions of APIs that no cluster serves since a release, with
// what took their place; an empty kind is every kind.
var removed = []struct{ version, kind, since, now string }{
	{"policy/v1beta1", "PodSecurityPolicy", "1.25", "pod security labels on the namespace"},
	{"policy/v1beta1", "", "1.25", "policy/v1"},
	{"autoscaling/v2beta1", "", "1.25", "autoscaling/v2"},
	{"autoscaling/v2beta2", "", "1.26", "autoscaling/v2"},
	{"batch/v1beta1", "", "1.25", "batch/v1"},
	{"extensions/v1beta1", "Ingress", "1.22", "networking.k8s.io/v1"},
	{"extensions/v1beta1", "", "1.16", "apps/v1 or networking.k8s.io/v1"},
	{"networking.k8s.io/v1beta1", "", "1.22", "networking.k8s.io/v1"},
	{"rbac.authorization.k8s.io/v1beta1", "", "1.22", "rbac.authorization.k8s.io/v1"},
	{"apps/v1beta1", "", "1.16", "apps/v1"},
	{"apps/v1beta2", "", "1.16", "apps/v1"},
	{"autoscaling.k8s.io/v1beta2", "", "VPA 1.0", "autoscaling.k8s.io/v1"},
}

// minimum are versions of APIs that a cluster serves from a release on.
var minimum = []struct {
	version, kind string
	minor         int
}{
	{"autoscaling/v2", "", 23},
	{"batch/v1", "CronJob", 21},
	{"policy/v1", "PodDisruptionBudget", 21},
	{"networking.k8s.io/v1", "Ingress", 19},
}

// apiVersions looks for versions that are gone, and tells the oldest cluster
// that has all of them.
func (e *examination) apiVersions() {
	oldest, because := 0, ""
	for _, o := range e.Objects {
		version := text(o.m["apiVersion"])
		for _, r := range removed {
			if r.version == version && (r.kind == "" || r.kind == o.Kind()) {
				if r.kind != "PodSecurityPolicy" { // It has a check of its own.
					e.add(Error, o.where("apiVersion"), version+" is gone since "+r.since, "apiVersion: "+r.now)
				}
				break
			}
		}
		for _, m := range minimum {
			if m.version == version && (m.kind == "" || m.kind == o.Kind()) && m.minor > oldest {
				oldest, because = m.minor, version+" "+o.Kind()+" "+o.Name()
			}
		}
		if o.Kind() == "Namespace" && o.labels()[psaLabel] != "" && oldest < 25 {
			oldest, because = 25, "pod security labels of namespace "+o.Name()
		}
	}
	if oldest > 20 {
		e.add(Note, e.Objects[0].Source, fmt.Sprintf("these objects need Kubernetes 1.%d or newer (%s)", oldest, because), fmt.Sprintf("kubectl version   # in a chart: kubeVersion: \">=1.%d.0-0\"", oldest))
	}
}

// clusterAutoscaler looks at the autoscaler of nodes.
func (e *examination) clusterAutoscaler() {
	for _, w := range e.workloads {
		for _, c := range w.containers(e.Objects) {
			name, tag := imageParts(c.image)
			if name != "cluster-autoscaler" {
				continue
			}
			if text(w.spec["serviceAccountName"]) == "" {
				e.add(Error, w.where(w.path, "serviceAccountName"), "it runs as the account default, which may not read nodes", "serviceAccountName: cluster-autoscaler   # with the ClusterRole that the autoscaler's own example has")
			}
			minor, _, _ := strings.Cut(strings.TrimPrefix(tag, "v1."), ".")
			if n, err := strconv.Atoi(minor); err == nil && n < 25 {
				e.add(Warning, c.where("image"), tag+" is made for Kubernetes 1."+minor+", which is not kept up", "image: registry.k8s.io/autoscaling/cluster-autoscaler:v1.NN.N   # NN as in kubectl version")
			}
			if strings.Contains(strings.Join(append(texts(c.m["command"]), texts(c.m["args"])...), " "), "your-cluster-name") {
				e.add(Warning, c.where("command"), "your-cluster-name is a placeholder: no group of nodes is found", "--node-group-auto-discovery=asg:tag=k8s.io/cluster-autoscaler/enabled,k8s.io/cluster-autoscaler/NAME")
			}
		}
	}
}

const maxConfigMapBytes = 1 << 20

// configMapSize adds up the keys of ConfigMaps.
func (e *examination) configMapSize() {
	for _, o := range e.of("ConfigMap") {
		total := 0
		for k, v := range words(o.m["data"]) {
			total += len(k) + len(v)
		}
		for k, v := range words(o.m["binaryData"]) {
			b := strings.Join(strings.Fields(v), "")
			total += len(k) + base64.StdEncoding.DecodedLen(len(b)) - strings.Count(b, "=")
		}
		if total > maxConfigMapBytes {
			e.add(Error, o.where(), fmt.Sprintf("it holds %d bytes, at most %d are taken", total, maxConfigMapBytes), "Put the policy into the image (COPY artifacts/ /app/artifacts/), or on a volume claim.")
			continue
		}
		last := o.annotations()["kubectl.kubernetes.io/last-applied-configuration"]
		if binary := mapping(o.m["binaryData"]); last == "" && len(binary) > 0 && total > 256<<10 && o.labels()["app.kubernetes.io/managed-by"] != "Helm" {
			e.add(Note, o.where(), fmt.Sprintf("it holds %d bytes, and kubectl apply keeps a copy of at most 256 KiB in an annotation", total), "kubectl apply --server-side -f FILE")
		}
	}
}
